"""Texts to batches: a tokenizer that checkpoints with the same files share, and batches sorted by length."""

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

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import require_vocabulary
from hf_emms.features.device import Batch, BatchedForward, Inputs
from hf_emms.features.extraction_plan import LOAD_FAILURES, ExtractionPlan, load_error

# --- the tokenizer ----------------------------------------------------------------------------------------

# The latest tokenizer is cached while no checkpoint uses it, if its files are no larger: it takes about twelve times
# as much memory. Checkpoints that are fine-tuned mostly have the tokenizer of what they come from.
MAX_CACHED_BYTES = 20 * 2**20
# Files that don't belong to a tokenizer, and entries of config.json that don't change it.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".gguf", ".index.json")
_OTHER = ("config.json", "generation_config.json", "README.md", "LICENSE")
_IRRELEVANT = ("_name_or_path", "architectures", "dtype", "id2label", "label2id", "problem_type", "torch_dtype")

_in_use: WeakValueDictionary[str, Any] = WeakValueDictionary()
_latest: list[Any] = []


def read_tokenizer(plan: ExtractionPlan) -> Any:
    """The checkpoint's tokenizer by `transformers`, read once for checkpoints whose files are the same byte by byte.

    Raises:
        EmmsError: it has none, or it cannot be loaded.
    """
    require_vocabulary(plan.repo, plan.model_folder)
    try:
        if plan.code:  # the repository's own code may depend on anything
            return _from_pretrained(plan)
        files = sorted(filter(_is_tokenizer_file, plan.model_folder.iterdir()))
        key = _tokenizer_key(files, plan.config)
        tokenizer = _in_use.get(key)
        if tokenizer is None:
            tokenizer = _in_use[key] = _from_pretrained(plan)
        fits = sum(file.stat().st_size for file in files) <= MAX_CACHED_BYTES
    except LOAD_FAILURES as error:
        raise load_error(plan, "tokenizer", error) from error
    _latest[:] = [tokenizer] if fits else []
    return tokenizer


def _from_pretrained(plan: ExtractionPlan) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(plan.model_folder, trust_remote_code=plan.code, local_files_only=True)


def _is_tokenizer_file(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.is_file() and not hidden and path.name not in _OTHER and not path.name.endswith(_WEIGHTS)


def _tokenizer_key(files: list[Path], config: dict[str, Any]) -> str:
    """A hash of everything that a tokenizer depends on: its files, and the strings of config.json."""
    digest = hashlib.sha256("\0".join(_strings(config)).encode("utf-8", "surrogatepass"))
    for file in files:
        digest.update(f"\0{len(file.name)}:{file.name}:{file.stat().st_size}:".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _strings(value: Any, name: str = "") -> Iterator[str]:
    """The strings of a configuration with their names: transformers chooses a class by them, never by numbers."""
    if isinstance(value, dict):
        for key in sorted(set(value) - set(_IRRELEVANT)):
            yield from _strings(value[key], f"{name}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, name)
    elif isinstance(value, str):
        yield f"{name}={value}"


# --- what a model reads -----------------------------------------------------------------------------------

_NO_LIMIT = 1_000_000  # tokenizers without a limit say 1e30
_DEFAULT_LIMIT = 512
_CHUNK = 1_024  # texts a tokenizer call
# A batch ends where texts get shorter than this part of its longest one, once it holds 1/8 of its tokens: a third of a
# batch of few texts, such as labels, would be padding.
_SIMILAR, _MIN_FILL = 0.9, 8


@dataclass(frozen=True)
class TextReader:
    """How a checkpoint reads text.

    Attributes:
        tokenizer: of transformers.
        max_length: the most tokens that the model reads; longer texts are cut.
        pad_id: the token id that fills up a batch.
        empty_id: the token id that replaces a text without any token.
        vocabulary_size: rows of the embedding table; ids beyond it would crash the device.
        pads_to_limit: fill up to `max_length` instead of the longest text of the batch.
        pads_left: fill up before a text, for a model that looks at the last place whatever is there.
    """

    tokenizer: Any
    max_length: int
    pad_id: int
    empty_id: int
    vocabulary_size: int
    pads_to_limit: bool = False
    pads_left: bool = False

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """Token ids of each text, and how many texts were cut.

        Raises:
            EmmsError: a token id beyond the model's vocabulary.
        """
        tokens: list[list[int]] = []
        cut = 0
        for start in range(0, len(texts), _CHUNK):
            encoded = self.tokenizer(
                list(texts[start : start + _CHUNK]),
                truncation=True,
                max_length=self.max_length,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            ids = encoded["input_ids"]
            # Only fast tokenizers say what they cut off.
            if encoded.encodings is not None:
                full = (i for i, row in enumerate(ids) if len(row) >= self.max_length)
                cut += sum(bool(encoded.encodings[i].overflowing) for i in full)
            tokens.extend(row or [self.empty_id] for row in ids)
        self.check_vocabulary(tokens)
        return tokens, cut

    def check_vocabulary(self, tokens: Sequence[Sequence[int]]) -> None:
        """Refuses token ids that the model has no embedding for.

        Raises:
            EmmsError: there is one.
        """
        highest = max(chain.from_iterable(tokens), default=0)
        if highest >= self.vocabulary_size:
            raise EmmsError(
                f"the tokenizer made token id {highest}, but the model's embedding table has {self.vocabulary_size} "
                "rows",
                "the checkpoint's tokenizer and weights do not belong together",
            )

    def plan_batches(
        self, lengths: Sequence[int], max_tokens: int, batch_size: int | None, *, picture_tokens: int = 0
    ) -> Iterator[np.ndarray]:
        """Positions of one batch after the other, int64 (b,), longest texts first: memory runs out at once or never.

        Args:
            lengths: tokens of each text.
            max_tokens: of a batch, padding included.
            batch_size: the most texts a batch; None: as `max_tokens` allows.
            picture_tokens: of a picture that the model reads with each text.
        """
        sizes = np.array(lengths, dtype=np.int64)
        order = np.argsort(-sizes, kind="stable")
        start = 0
        while start < len(order):
            longest = int(sizes[order[start]])
            width = picture_tokens + (self.max_length if self.pads_to_limit else longest)
            rows = max(1, max_tokens // width)
            if not self.pads_to_limit:
                similar = int(np.count_nonzero(sizes[order[start : start + rows]] >= _SIMILAR * longest))
                rows = min(rows, max(similar, max_tokens // (_MIN_FILL * width), 1))
            rows = rows if batch_size is None else min(rows, batch_size)
            yield order[start : start + rows]
            start += rows

    def pad(self, tokens: Sequence[Sequence[int]]) -> Inputs:
        """Token ids and mask, int64 (b, T); filled up on the right, positions count from the text's start."""
        lengths = np.array([len(row) for row in tokens])
        width = self.max_length if self.pads_to_limit else int(lengths.max())
        places = np.arange(width)
        mask = (places[::-1] if self.pads_left else places) < lengths[:, None]
        ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        ids[mask] = np.fromiter(chain.from_iterable(tokens), dtype=np.int64, count=int(lengths.sum()))
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def text_reader(plan: ExtractionPlan, model: Any, tokenizer: Any) -> TextReader:
    """The tokenizer with the limits of the model, or of the part of it that reads texts."""
    limits = [plan.max_length, tokenizer.model_max_length, _max_positions(model)]
    known = [limit for limit in limits if limit is not None and 0 < limit < _NO_LIMIT]
    # GPT-2 has no padding token; padding is masked, so any id does.
    pad = next((i for i in (tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None)) if i is not None), 0)
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    return TextReader(
        tokenizer=tokenizer,
        max_length=min(known, default=_DEFAULT_LIMIT),
        pad_id=pad,
        empty_id=next((token for token in ends if token is not None), pad),
        vocabulary_size=_vocabulary_size(model),
        pads_to_limit=plan.architecture.pads_to_limit,
    )


def _vocabulary_size(model: Any) -> int:
    try:
        return int(model.get_input_embeddings().num_embeddings)
    except NotImplementedError:  # some towers don't say which table it is: the largest
        tables = (module for module in model.modules() if isinstance(module, torch.nn.Embedding))
        return max(table.num_embeddings for table in tables)


def _max_positions(model: Any) -> int | None:
    """The longest text that the table of positions allows; RoBERTa's starts after its padding id."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    limit = getattr(model.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None


# --- batches ----------------------------------------------------------------------------------------------

_WINDOW = 32_768  # texts tokenised and sorted at a time: memory does not grow with the dataset


def text_batches(
    reader: TextReader,
    texts: Sequence[str],
    forward: BatchedForward,
    batch_size: int | None,
    on_cut: Callable[[int], None],
) -> Iterator[Batch]:
    """Features of texts, the longest first among some thousands.

    Args:
        reader: of the checkpoint.
        texts: M texts.
        forward: `{"input_ids", "attention_mask"}`, int64 (b, T), to features (b, D1).
        batch_size: the most texts a batch; None: what fits.
        on_cut: is called with how many texts were cut, if any.

    Raises:
        EmmsError: a token id beyond the model's vocabulary.
    """
    max_tokens = forward.batch_elements()
    for start in range(0, len(texts), _WINDOW):
        tokens, cut = reader.tokenize(texts[start : start + _WINDOW])
        if cut:
            on_cut(cut)
        for positions in reader.plan_batches(list(map(len, tokens)), max_tokens, batch_size):
            yield positions + start, forward(reader.pad([tokens[i] for i in positions]))
