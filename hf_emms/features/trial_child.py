"""Code and patterns of a checkpoint, tried within limits of time and memory: the program of the child process.

It is run as a file, alone: it reads a trial as JSON, and prints the length of the longest result. An error that a trial
raises is not reported: it is raised again where the checkpoint is used.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

OUT_OF_MEMORY = 3


def _limit(seconds: int, bytes: int) -> None:
    """Limit the seconds of processor time from here on, and the bytes of memory."""
    try:
        import resource
    except ImportError:  # Windows has the limit of time alone, which the parent holds
        return
    seconds += math.ceil(time.process_time())
    for kind, limit in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, bytes), (resource.RLIMIT_CORE, 0)):
        with suppress(ValueError, OSError):  # macOS refuses some
            _, hard = resource.getrlimit(kind)
            resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _normalized(normalizers: Any, state: str, texts: list[str]) -> Iterator[int]:
    normalizer = normalizers.Lowercase()
    normalizer.__setstate__(state.encode())
    for text in texts:
        yield len(normalizer.normalize_str(text))


def _split(pre_tokenizers: Any, state: str, texts: list[str]) -> Iterator[int]:
    splitter = pre_tokenizers.Whitespace()
    splitter.__setstate__(state.encode())
    for text in texts:
        yield sum(len(part) for part, _ in splitter.pre_tokenize_str(text))


def _decoded(decoders: Any, state: str, texts: list[str]) -> Iterator[int]:
    decoder = decoders.Fuse()
    decoder.__setstate__(state.encode())
    for text in texts:
        yield len(decoder.decode(re.findall(r"\s*\S+|\s+", text)))


def _written(templates: Any, template: str, settings: dict[str, Any], conversations: list[Any]) -> Iterator[int]:
    for conversation in conversations:
        try:
            (text,), _ = templates.render_jinja_template([conversation], chat_template=template, **settings)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 (a template may refuse a role, and write the next conversation)
            continue
        yield len(text)


def _matched(re: Any, patterns: list[str], names: list[str]) -> Iterator[int]:
    for pattern in patterns:
        with suppress(re.error):
            compiled = re.compile(pattern)
            yield len([compiled.fullmatch(name) for name in names])


# Each with the module that it needs, whose import the limits leave out.
_TRIALS: dict[str, tuple[Callable[..., Iterator[int]], str]] = {
    "normalizer": (_normalized, "tokenizers.normalizers"),
    "pre_tokenizer": (_split, "tokenizers.pre_tokenizers"),
    "decoder": (_decoded, "tokenizers.decoders"),
    "template": (_written, "transformers.utils.chat_template_utils"),
    "patterns": (_matched, "re"),
}


def _run() -> int:
    trial = json.load(sys.stdin)
    sys.path[:] = trial["path"]
    os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    lengths, module_name = _TRIALS[trial["kind"]]
    longest = 0
    try:
        module = import_module(module_name)
        _limit(trial["seconds"], trial["bytes"])
        for length in lengths(module, *trial["arguments"]):
            longest = max(longest, length)
            if longest > trial["characters"]:
                break
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException:  # noqa: BLE001 (a panic of Rust, or a module that only the parent finds; see above)
        pass
    print(longest, flush=True)
    return 0


if __name__ == "__main__":
    os._exit(_run())  # without freeing large results
