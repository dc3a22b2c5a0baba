"""Texts: tokenized and read in batches of similar length."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from itertools import chain, takewhile
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.checkpoint_files import require_vocabulary
from hf_emms.features.embedding_settings import MODEL_TYPE
from hf_emms.features.extractor import FeatureReader
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, ReadCounts, load_error
from hf_emms.formatting import pluralize
from hf_emms.inputs.modality import BatchReader, Modality, TrainingReader, UnusableError
from hf_emms.options import LAST

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Batch, BatchedForward, Inputs
    from hf_emms.features.extractor import Extractor
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel

# The maximum length in training, where memory grows with its square.
MAX_TRAINING_TOKENS = 512
TOKEN_TYPES = "token_type_ids"
_NO_LIMIT = 1_000_000  # tokenizers without a limit have a model_max_length of 1e30
_DEFAULT_LIMIT = 512
# The fields of `FeatureSpec` that affect text embeddings, besides the prompt.
EMBEDDING_SETTINGS = (*("subfolder", "pooling", "behind", "normalize", "truncate_dim", "max_length", "lower_case"),)
_TEXTS_PER_CALL = 1_024
_IDS_ONLY = {"return_attention_mask": False, "return_token_type_ids": False}  # faster
_SORTED_TOGETHER = 32_768  # texts that are tokenized and sorted at a time, to limit memory
# A batch ends before texts that are shorter than this share of its longest text, if it contains 1/8 of its maximum of
# tokens. Without the minimum, small samples such as labels would be split into many small batches.
_SIMILAR, _MIN_FILL = 0.9, 8


@dataclass(frozen=True)
class TextReader:
    """Turns texts into the tokens that a checkpoint reads.

    Attributes:
        tokenizer: The checkpoint's tokenizer of transformers.
        max_length: The maximum length in tokens. Longer texts are truncated.
        pad_id: The padding token.
        empty_id: The token that replaces a text without tokens.
        vocabulary_size: Rows of the embedding table. Larger token ids would crash the device.
        pads_to_limit: Whether to pad batches to `max_length` instead of to their longest text.
        pads_left: Whether to pad on the left, for a model that always reads the last position.
        types: The token types that the tokenizer returns for the special tokens before a text, the text, and the
            special tokens after it. None if the tokenizer returns no types, or the model takes none.
    """

    tokenizer: Any
    max_length: int
    pad_id: int
    empty_id: int
    vocabulary_size: int
    pads_to_limit: bool = False
    pads_left: bool = False
    types: tuple[list[int], int, list[int]] | None = None

    @cached_property
    def unknown_id(self) -> int | None:
        """The unknown token, or None if the tokenizer has no token for this purpose alone."""
        names = ("unk", "bos", "eos", "cls", "sep", "pad")
        unknown, *others = (getattr(self.tokenizer, f"{name}_token_id", None) for name in names)
        return None if unknown in others else unknown

    def tokenize(self, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """Return the token ids of each text, and the number of truncated texts."""
        tokens: list[list[int]] = []
        truncated = 0
        for start in range(0, len(texts), _TEXTS_PER_CALL):
            batch = list(texts[start : start + _TEXTS_PER_CALL])
            encoded = self.tokenizer(batch, truncation=True, max_length=self.max_length, **_IDS_ONLY)
            ids = encoded["input_ids"]
            # Only fast tokenizers report what they truncate.
            if encoded.encodings is not None:
                full = (i for i, row in enumerate(ids) if len(row) >= self.max_length)
                truncated += sum(bool(encoded.encodings[i].overflowing) for i in full)
            tokens.extend(row or [self.empty_id] for row in ids)
        self.check_vocabulary(tokens)
        return tokens, truncated

    def encode_whole(self, texts: Sequence[str], *, offsets: bool = False) -> Any:
        """Tokenize texts of any length without special tokens; with `offsets`, add the characters of each token."""
        # `verbose` would warn about long texts.
        options = {"add_special_tokens": False, "verbose": False, **_IDS_ONLY}
        encoded = self.tokenizer(list(texts), return_offsets_mapping=offsets, **options)
        self.check_vocabulary(encoded["input_ids"])
        return encoded

    def check_vocabulary(self, tokens: Sequence[Sequence[int]]) -> None:
        """Raise an `EmmsError` if the embedding table has no row for a token id."""
        highest = max(chain.from_iterable(tokens), default=0)
        if highest >= self.vocabulary_size:
            raise EmmsError(
                "token-outside-vocabulary",
                f"the tokenizer returned token id {highest}, but the embedding table has {self.vocabulary_size} rows",
                "check that the tokenizer and the weights belong to the same checkpoint",
            )

    def batch_positions(
        self, lengths: Sequence[int], max_tokens: int, batch_size: int | None, *, image_tokens: int = 0
    ) -> Iterator[np.ndarray]:
        """Yield the positions of each batch, int64 (b,), the longest texts first, so that memory runs out at once.

        A batch has at most `max_tokens`, including padding and the `image_tokens` that the model reads with each text.
        """
        sizes = np.array(lengths, dtype=np.int64)
        order = np.argsort(-sizes, kind="stable")
        start = 0
        while start < len(order):
            longest = int(sizes[order[start]])
            width = image_tokens + (self.max_length if self.pads_to_limit else longest)
            rows = max(1, max_tokens // width)
            if not self.pads_to_limit:
                similar = int(np.count_nonzero(sizes[order[start : start + rows]] >= _SIMILAR * longest))
                rows = min(rows, max(similar, max_tokens // (_MIN_FILL * width)))
            rows = rows if batch_size is None else min(rows, batch_size)
            yield order[start : start + rows]
            start += rows

    def pad(self, tokens: Sequence[Sequence[int]]) -> Inputs:
        """Return token ids, attention mask and, if the model takes them, token types, int64 (b, T)."""
        import torch

        lengths = np.array([len(row) for row in tokens])
        width = self.max_length if self.pads_to_limit else int(lengths.max())
        positions = np.arange(width)
        mask = (positions[::-1] if self.pads_left else positions) < lengths[:, None]
        ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        ids[mask] = np.fromiter(chain.from_iterable(tokens), dtype=np.int64, count=int(lengths.sum()))
        inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
        return inputs if self.types is None else {**inputs, TOKEN_TYPES: self._pad_types(lengths.tolist(), self.types)}

    def _pad_types(self, lengths: Sequence[int], types: tuple[list[int], int, list[int]]) -> Tensor:
        """Return the token types of texts with these numbers of tokens, int64 (b, T)."""
        before, of_text, after = types
        fewest = len(before) + len(after)
        rows = [[*before, *[of_text] * (length - fewest), *after][:length] for length in lengths]
        return replace(self, types=None).pad_numbers(rows)

    def pad_numbers(self, numbers: Sequence[Sequence[int]]) -> Tensor:
        """Return a number per token, int64 (b, T), padded with 0."""
        return replace(self, pad_id=0).pad(numbers)["input_ids"]

    def training_batches(
        self, texts: Sequence[str], text_of_row: np.ndarray, phrase: Callable[[str], str] = str
    ) -> tuple[BatchReader, tuple[Note, ...]]:
        """Return a reader of training batches, and a note if it truncates texts. It tokenizes distinct texts once."""
        used, text_of_row = np.unique(text_of_row, return_inverse=True)
        tokens, truncated = self.tokenize([phrase(texts[i]) for i in used])
        return lambda rows: self.pad([tokens[text_of_row[row]] for row in rows]), self.truncation_notes(truncated)

    def truncation_notes(self, truncated: int) -> tuple[Note, ...]:
        """Return a note on the maximum length, if texts were truncated."""
        note = Note("texts-truncated", f"truncated {pluralize(truncated, 'text')} to {self.max_length:,} tokens")
        return (note,) if truncated else ()


def load_tokenizer(spec: FeatureSpec) -> Any:
    """Load the checkpoint's tokenizer.

    Raises:
        EmmsError: The checkpoint has no tokenizer, or it cannot be loaded.
    """
    from tokenizers import normalizers
    from transformers import AutoTokenizer

    require_vocabulary(spec.repo, spec.model_folder)
    try:
        if spec.config["model_type"] == MODEL_TYPE:
            from hf_emms.features.static_embedding import static_tokenizer

            tokenizer = static_tokenizer(spec.model_folder)
        else:
            tokenizer = AutoTokenizer.from_pretrained(
                spec.model_folder, trust_remote_code=spec.code, local_files_only=True
            )
        if spec.lower_case and tokenizer.is_fast:
            core = tokenizer.backend_tokenizer
            core.normalizer = normalizers.Sequence([normalizers.Lowercase(), *filter(None, [core.normalizer])])
    except LOAD_FAILURES as error:
        raise load_error(spec, "tokenizer", error) from error
    return tokenizer


def with_token_types(reader: TextReader, model: Any) -> TextReader:
    """Return the reader with the tokenizer's token types, which sentence-transformers and pipelines pass to models.

    Without them, GPT-2 reads other vectors. Other families take missing types as 0.
    """
    forward = getattr(model, "get_text_features", model.forward)
    if TOKEN_TYPES not in signature(forward).parameters or TOKEN_TYPES not in reader.tokenizer.model_input_names:
        return reader
    types = reader.tokenizer("a", return_token_type_ids=True)[TOKEN_TYPES]
    before, after = map(len, special_tokens(reader.tokenizer))
    return replace(reader, types=(types[:before], next(iter(types[before:]), 0), types[len(types) - after :]))


def special_tokens(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the special tokens that a tokenizer puts before and after a text."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    marked = list(zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True))
    before = [token for token, _ in takewhile(lambda pair: pair[1], marked)]
    after = [token for token, _ in takewhile(lambda pair: pair[1], reversed(marked[len(before) :]))]
    return tuple(before), tuple(reversed(after))


def text_reader(spec: FeatureSpec, model: Any, tokenizer: Any, max_length: int | None = None) -> TextReader:
    """Return the reader with the limits of the model or of its text part, and at most `max_length` tokens."""
    limits = (spec.max_length or tokenizer.model_max_length, _max_positions(model))
    length = min((limit for limit in limits if limit is not None and 0 < limit < _NO_LIMIT), default=_DEFAULT_LIMIT)
    # GPT-2 has no padding token. Padding is masked, so any token will do.
    pad = next((i for i in (tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None)) if i is not None), 0)
    ends = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    return TextReader(
        tokenizer=tokenizer,
        max_length=length if max_length is None else min(length, max_length),
        pad_id=pad,
        empty_id=next((token for token in ends if token is not None), pad),
        vocabulary_size=_vocabulary_size(model),
        pads_to_limit=spec.architecture.pads_to_limit,
    )


def load_training_texts(
    spec: FeatureSpec, model: Any, text_part: Any = None, max_length: int | None = MAX_TRAINING_TOKENS
) -> TextReader:
    """Return the reader of texts for training a checkpoint, or its `text_part`.

    If `max_length` is None, the checkpoint's own limit applies. Otherwise the tokenizer gets the limit, so that the
    saved one truncates the same texts. The model's configuration gets the padding token and the start token of the
    decoder.
    """
    tokenizer = load_tokenizer(spec)
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    reader = text_reader(spec, model if text_part is None else text_part, tokenizer, max_length)
    if max_length is not None:
        tokenizer.model_max_length = reader.max_length
    config = model.config
    # Classes that read the last token of a text find it by the padding token.
    config.pad_token_id = reader.pad_id
    if getattr(config, "summary_type", None) == "last":
        reader = replace(reader, pads_left=True)
    if config.is_encoder_decoder and getattr(config, "decoder_start_token_id", None) is None:
        # transformers 5 moves it to the generation configuration, which classifiers do not read.
        start = getattr(getattr(model, "generation_config", None), "decoder_start_token_id", None)
        config.decoder_start_token_id = reader.pad_id if start is None else start
    return reader


def _vocabulary_size(model: Any) -> int:
    import torch

    try:
        return int(model.get_input_embeddings().num_embeddings)
    except NotImplementedError:  # some towers do not name their table; take the largest
        tables = (module for module in model.modules() if isinstance(module, torch.nn.Embedding))
        return max(table.num_embeddings for table in tables)


def _max_positions(model: Any) -> int | None:
    """Return the maximum length according to the position embeddings. RoBERTa's start after its padding id."""
    import torch

    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, torch.nn.Embedding):
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    limit = getattr(model.config, "max_position_embeddings", None)
    return limit if isinstance(limit, int) else None


def text_batches(
    reader: TextReader,
    texts: Sequence[str],
    forward: BatchedForward,
    batch_size: int | None,
    counts: ReadCounts,
    prompt: str = "",
) -> Iterator[Batch]:
    """Yield features of texts after a prompt, the longest of each 32,768 first, and count texts and tokens."""
    max_tokens = forward.max_elements
    for start in range(0, len(texts), _SORTED_TOGETHER):
        some = texts[start : start + _SORTED_TOGETHER]
        tokens, truncated = reader.tokenize([prompt + text for text in some] if prompt else some)
        counts.add_tokens(tokens, reader.unknown_id)
        counts.add_truncated(truncated, reader.max_length)
        for positions in reader.batch_positions(list(map(len, tokens)), max_tokens, batch_size):
            yield positions + start, forward(reader.pad([tokens[i] for i in positions]))


class TextFeatures(FeatureReader):
    """The `FeatureReader` of texts."""

    def __init__(self, model: Any, reader: TextReader, layers: LayerReader, prompt: str = "") -> None:
        super().__init__(lambda inputs: layers(model, inputs), model, layers)
        self._reader, self._prompt = reader, prompt

    def batches(self, texts: Sequence[str], batch_size: int | None) -> Iterator[Batch]:
        return text_batches(self._reader, texts, self._forward, batch_size, self.counts, self._prompt)

    def example(self) -> Sequence[Any]:
        return ["a"]


class TokenizedModality(Modality):
    """Base class of modalities that checkpoints read through a tokenizer."""

    def load_processors(self, spec: FeatureSpec, device: torch.device) -> Any:
        return load_tokenizer(spec)


class EmbeddedModality(TokenizedModality):
    """Base class of modalities whose features are embeddings of texts as the checkpoint defines them."""

    def load_extractor(
        self, spec: FeatureSpec, *, device: str = "auto", layers: tuple[str, ...] = (LAST,), spans: bool = False
    ) -> Extractor:
        if not spec.embedder_parts:
            return super().load_extractor(spec, device=device, layers=layers, spans=spans)
        from hf_emms.features.device import choose_device
        from hf_emms.features.load import quiet_transformers
        from hf_emms.features.sentence_models import load_embedder

        with quiet_transformers():
            return load_embedder(spec, choose_device(device), layers)


class _Text(EmbeddedModality):
    def holds(self, feature: Any) -> bool:
        return str(getattr(feature, "dtype", "")) in ("string", "large_string", "string_view")

    def read(self, value: Any, column: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise UnusableError(f"the {column} is empty")
        return value

    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> TextFeatures:
        from hf_emms.features.layers import make_layer_reader

        reader = with_token_types(text_reader(loaded.spec, loaded.model, processors), loaded.model)
        return TextFeatures(loaded.model, reader, make_layer_reader(loaded, layers), loaded.spec.prompt)

    def training_reader(self, spec: FeatureSpec, model: Any) -> TrainingReader:
        reader = with_token_types(load_training_texts(spec, model), model)
        return TrainingReader(reader.training_batches, (reader.tokenizer,))


TEXT = _Text(
    name="text",
    singular="text",
    plural="texts",
    column_types=("string", "strings"),
    fallback_pooling="text_fallback",
    fallback_summary="text features if the model has them, else the mean of the last layer's tokens",
    sentence_settings=(*EMBEDDING_SETTINGS, "embedder_parts", "prompt"),
    cpu_seconds=4.5e-10,
    text_bytes=450,
)
