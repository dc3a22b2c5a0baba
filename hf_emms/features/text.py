"""Tokenizers that checkpoints with the same files share: fine-tuned ones mostly have those of what they come from.

Text batches: tokenised once, sorted by length, filled up to a budget of tokens.

Used for features and for label embeddings alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features.device import Batch
from hf_emms.features.feature_plan import ExtractionPlan

# Bytes of the files of a tokenizer that is kept after its checkpoint was closed, until the next one is read; it takes
# about twelve times as much memory, but never while the weights of a checkpoint with another one are loaded.
MOST_BYTES = 20 * 2**20
# What lies beside a tokenizer and is none of it.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".index.json")
_OTHER = ("config.json", "generation_config.json", "README.md", "LICENSE")
# Of config.json: texts that differ from repository to repository and tell a tokenizer nothing.
_NAMES = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "problem_type", "torch_dtype")

_in_use: WeakValueDictionary[str, Any] = WeakValueDictionary()
_latest: list[Any] = []


def shared_tokenizer(plan: ExtractionPlan) -> Any:
    """The checkpoint's tokenizer by `transformers`, read once for checkpoints whose files are the same byte by byte.

    Raises:
        Exception: what transformers raises for files that it cannot use.
    """
    if plan.code:  # the repository's own code may look at anything
        return _read(plan)
    files = sorted(filter(_belongs, plan.model_folder.iterdir()))
    key = _key(files, plan.config)
    tokenizer = _in_use.get(key)
    if tokenizer is None:
        tokenizer = _in_use[key] = _read(plan)
    fits = sum(file.stat().st_size for file in files) <= MOST_BYTES
    _latest[:] = [tokenizer] if fits else []
    return tokenizer


def _read(plan: ExtractionPlan) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(plan.model_folder, trust_remote_code=plan.code, local_files_only=True)


def _belongs(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_file() and not hidden and path.name not in _OTHER and not path.name.endswith(_WEIGHTS)


def _key(files: list[Path], config: dict[str, Any]) -> str:
    """Everything that decides what tokenizer transformers makes of a folder: files, and names in config.json."""
    digest = hashlib.sha256("\0".join(_words(config)).encode("utf-8", "surrogatepass"))
    for file in files:
        digest.update(f"\0{len(file.name)}:{file.name}:{file.stat().st_size}:".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _words(value: Any, name: str = "") -> Iterator[str]:
    """The texts of a configuration with their names: transformers chooses a class by them, never by sizes."""
    if isinstance(value, dict):
        for key in sorted(set(value) - set(_NAMES)):
            yield from _words(value[key], f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _words(item, name)
    elif isinstance(value, str):
        yield f"{name}={value}"


_WINDOW = 32_768  # texts tokenised and sorted at a time: memory does not grow with the data set
_CHUNK = 1_024  # texts a tokenizer call
# A batch ends where texts get shorter than this part of its longest one, once it holds 1/8 of the budget: few texts,
# such as labels, would else be padding for a third.
_ALIKE, _LEAST = 0.9, 8


@dataclass(frozen=True)
class TextInput:
    """How a checkpoint reads text.

    Attributes:
        tokenizer: its own, of transformers.
        limit: the most tokens it reads; longer texts are cut.
        pad: the token id that fills up a batch.
        filler: the token ids that stand for a text without any token.
        vocabulary: rows of the embedding table; ids beyond it would crash the device.
        pads_to_limit: fill up to `limit` and not to the longest text of the batch.
    """

    tokenizer: Any
    limit: int
    pad: int
    filler: int
    vocabulary: int
    pads_to_limit: bool = False


def text_batches(
    source: TextInput,
    texts: Sequence[str],
    forward: Callable[[dict[str, Tensor]], Tensor],
    *,
    budget: int,
    batch_size: int | None = None,
    on_cut: Callable[[int], None] = lambda count: None,
) -> Iterator[Batch]:
    """Features of texts, longest first within a window.

    Args:
        source: how the checkpoint reads text.
        texts: M texts.
        forward: `{"input_ids", "attention_mask"}` int64 (b, T) to features (b, D1).
        budget: tokens a batch, padding included.
        batch_size: the most texts a batch; None: as the budget says.
        on_cut: told how many texts of a window were cut.

    Yields:
        Positions int64 (b,) and features float32 (b, D1), see `Batch`.

    Raises:
        EmmsError: a token id beyond the model's vocabulary.
    """
    for start in range(0, len(texts), _WINDOW):
        window = texts[start : start + _WINDOW]
        tokens, cut = tokenise(source, window)
        if cut:
            on_cut(cut)
        for positions in plan_batches(source, list(map(len, tokens)), budget, batch_size):
            yield positions + start, forward(padded(source, [tokens[i] for i in positions]))


def tokenise(source: TextInput, texts: Sequence[str]) -> tuple[list[list[int]], int]:
    """Token ids of each text, and how many texts were cut at the limit."""
    tokens: list[list[int]] = []
    cut = 0
    for start in range(0, len(texts), _CHUNK):
        encoded = source.tokenizer(
            list(texts[start : start + _CHUNK]),
            truncation=True,
            max_length=source.limit,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids = encoded["input_ids"]
        # Only fast tokenizers keep what they cut off.
        if encoded.encodings is not None:
            full = (i for i, row in enumerate(ids) if len(row) >= source.limit)
            cut += sum(bool(encoded.encodings[i].overflowing) for i in full)
        tokens.extend(row or [source.filler] for row in ids)
    check_vocabulary(source, tokens)
    return tokens, cut


def check_vocabulary(source: TextInput, tokens: Sequence[Sequence[int]]) -> None:
    """Refuses token ids that the model has no embedding for.

    Raises:
        EmmsError: there is one.
    """
    highest = max(chain.from_iterable(tokens), default=0)
    if highest >= source.vocabulary:
        raise EmmsError(
            f"the tokenizer made token id {highest}, but the model's embedding table has {source.vocabulary} rows",
            "the checkpoint's tokenizer and weights do not belong together",
        )


def plan_batches(
    source: TextInput, tokens: Sequence[int], budget: int, batch_size: int | None, *, beside: int = 0
) -> Iterator[np.ndarray]:
    """Positions of one batch after the other, longest texts first: memory runs out at once or never.

    `tokens` is how many each text has, `beside` how many of a picture the model reads beside each text.
    """
    lengths = np.array(tokens, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        width = beside + (source.limit if source.pads_to_limit else longest)
        rows = max(1, budget // width)
        if not source.pads_to_limit:
            alike = int(np.count_nonzero(lengths[order[start : start + rows]] >= _ALIKE * longest))
            rows = min(rows, max(alike, budget // (_LEAST * width), 1))
        rows = rows if batch_size is None else min(rows, batch_size)
        yield order[start : start + rows]
        start += rows


def padded(source: TextInput, tokens: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """Token ids and mask, always filled up on the right: positions then count from the text's start in every family."""
    lengths = np.array([len(row) for row in tokens])
    width = source.limit if source.pads_to_limit else int(lengths.max())
    mask = np.arange(width) < lengths[:, None]
    ids = np.full(mask.shape, source.pad, dtype=np.int64)
    ids[mask] = np.fromiter(chain.from_iterable(tokens), dtype=np.int64, count=int(lengths.sum()))
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
