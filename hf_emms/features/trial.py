"""Trials of what a checkpoint brings that runs or matches: in a child process, within limits of time and memory.

Normalizers of tokenizers, chat templates, and patterns of adapters can take for ever or fill the memory on a short
text, and nothing ends them in this process.
"""

from __future__ import annotations

import json
import re
import signal
import string
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from hf_emms.errors import EmmsError, format_bytes
from hf_emms.features.trial_child import OUT_OF_MEMORY
from hf_emms.hub import Repo

# A trial takes some ten milliseconds, and that of a chat template a second, to import transformers.
SECONDS, BYTES = 3, 2 * 2**30
# Where a process cannot limit its own processor time, and for processes that wait.
_WALL_SECONDS = 40
# The longest texts of a trial have 4,000 characters; usual normalizers make no more of them than twice as many, and
# usual templates write some ten thousand for a conversation.
_MAX_CHARACTERS = 200_000
_MAX_SPECIAL_TOKENS = 1_000
# Exit codes, where negative of signals: memory that is refused ends a program in Rust with SIGABRT.
_TOO_LONG = f"takes more than {SECONDS} seconds for a short text"
_TOO_LARGE = f"needs more than {format_bytes(BYTES)} of memory for a short text"
_ENDS = {OUT_OF_MEMORY: _TOO_LARGE, -signal.SIGABRT: _TOO_LARGE}
_ENDS |= dict.fromkeys((-getattr(signal, name, 0) for name in ("SIGXCPU", "SIGKILL")), _TOO_LONG)
_DO_NOT_TRUST = "this is not how a checkpoint is saved: do not trust it"
# Steps of tokenizers whose work does not follow from their type alone.
_STEPS = ("Replace", "Prepend", "Split")
_SENTENCE = "The quick brown fox jumps over the lazy dog, as it did in 1984; who's there? Ärger, 日本語, café. "
_LENGTH = 2_000


def check_tokenizer(repo: Repo, tokenizer: Any) -> None:
    """Try the steps of a loaded tokenizer around its vocabulary; an EmmsError if any breaks a limit."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return
    added = backend.num_special_tokens_to_add(False)
    if added > _MAX_SPECIAL_TOKENS:
        raise EmmsError(f"the tokenizer of {repo.id} adds {added:,} special tokens to every text", _DO_NOT_TRUST)
    for kind in ("normalizer", "pre_tokenizer", "decoder"):
        step = getattr(backend, kind)
        state = step.__getstate__().decode() if step is not None else "null"
        described = list(_objects(json.loads(state)))
        if any(part.get("type") in _STEPS for part in described):
            replaced = [part["String"] for part in described if isinstance(part.get("String"), str)]
            _check(f"the {kind} of the tokenizer of {repo.id}", kind, state, [*_texts(), *map(_repeated, replaced)])


def check_template(repo: Repo, template: str, **settings: Any) -> None:
    """Try a chat template with its settings on some conversations; an EmmsError if it breaks a limit."""
    turns = [("user", "Hello!"), ("assistant", _SENTENCE), ("user", _repeated(_SENTENCE))]
    messages = [{"role": role, "content": text} for role, text in turns]
    conversations = [messages[:1], messages, [{"role": "system", "content": _SENTENCE}, *messages]]
    _check(f"the chat template of {repo.id}", "template", template, settings, conversations)


def check_patterns(repo: Repo, patterns: Iterable[str], names: Iterable[str]) -> None:
    """Try regular expressions on the names of a model's modules; an EmmsError if any breaks a limit."""
    repeating = sorted(pattern for pattern in patterns if re.search(r"[*+{]", pattern))
    if repeating:
        _check(f"a pattern of adapter_config.json of {repo.id}", "patterns", repeating, list(names))


def _texts() -> Iterator[str]:
    """Yield texts on which costly expressions take long: sentences, and runs of a character without an end or with."""
    yield from (_SENTENCE, _repeated(_SENTENCE), string.printable)
    for character in "aA1 \n.!-_é字":
        yield from (_repeated(character), f"{_repeated(character)}\t{_repeated('ab 1')}%")


def _repeated(text: str) -> str:
    return "".join(islice(cycle(text), max(_LENGTH, len(text))))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(part)


def _check(name: str, kind: str, *arguments: Any) -> None:
    problem = _problem(json.dumps({"kind": kind, "arguments": arguments}, default=str))
    if problem:
        raise EmmsError(f"{name} {problem}", _DO_NOT_TRUST)


@lru_cache(maxsize=256)
def _problem(trial: str) -> str | None:
    """Return which limit a trial breaks, in words, or None; equal trials of a process run once."""
    limits = {"seconds": SECONDS, "bytes": BYTES, "characters": _MAX_CHARACTERS, "path": sys.path}
    program = Path(__file__).with_name("trial_child.py")
    try:
        done = subprocess.run(
            [sys.executable, "-I", program],
            input=json.dumps(json.loads(trial) | limits),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=_WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _TOO_LONG
    if done.returncode:
        return _ENDS.get(done.returncode, "crashes")
    characters = int(done.stdout)
    return f"makes {characters:,} characters of a short text" if characters > _MAX_CHARACTERS else None
