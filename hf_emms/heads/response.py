"""Responses to prompts: training a language model on them, their loss, and the responses that it writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.head import Head, Network
from hf_emms.heads.metrics import BYTE_LIKELIHOOD, CHRF, Metric, WrittenResponse
from hf_emms.heads.split import IGNORED, BatchedRows, ConstantBaseline, LabeledSplit
from hf_emms.inputs import IMAGE_CHAT, Modality
from hf_emms.inputs.image_chat import image_chat_reader
from hf_emms.inputs.prompt import PromptReader, Response, is_encoder_decoder, prompt_reader

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Inputs

# Full fine-tuning of models with at least this many parameters recomputes activations.
CHECKPOINTED_PARAMETERS = 1_000_000_000
# The most logits of a batch, to limit memory.
MAX_LOGITS = 2**26
# Test rows for which the fine-tuned model writes a response, their batch size, and its maximum length in tokens.
_WRITTEN_ROWS, _WRITTEN_BATCH, _MAX_NEW_TOKENS = 200, 16, 256
_BYTES = 256


class ResponseHead(Head):
    """A head that responds to prompts. A row may have several correct responses.

    Args:
        metrics: Further metrics of written responses.
    """

    epochs = 3
    batch_size = 8

    def __init__(self, *metrics: Metric) -> None:
        self._metrics = metrics

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return BYTE_LIKELIHOOD, CHRF, *self._metrics

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        """Predict each byte, and the end, with its frequency in training rows."""
        counts = np.ones(_BYTES + 1) + sum(_byte_counts(texts) for texts in train.references)
        bits = -np.log2(counts / counts.sum())
        rows = (_byte_counts(texts) for texts in split.references)
        return ConstantBaseline(
            "the frequencies of bytes",
            [WrittenResponse(float(row @ bits), float(row[:_BYTES].sum())) for row in rows],
        )

    def count_rows(self, split: LabeledSplit) -> int:
        """Return the number of responses of a split, because each of them is learned."""
        return sum(len(texts) for texts in split.references)

    def count_written(self, split: LabeledSplit) -> int:
        """Count responses that are half as long as they may be."""
        return math.ceil(min(len(split), _WRITTEN_ROWS) / _WRITTEN_BATCH) * _MAX_NEW_TOKENS // 2

    def build(self, spec: FeatureSpec, modality: Modality, train: LabeledSplit) -> Network:
        model, reader = load_to_train(spec)
        return ResponseNetwork(model, reader, list(modality.reading_notes(spec, reader.tokenizer)))


def _byte_counts(texts: Sequence[tuple[str, float]]) -> np.ndarray:
    """Return the count of each byte in the responses of a row, and the number of responses, int64 (257,)."""
    content = np.frombuffer("".join(text for text, _ in texts).encode("utf-8", "surrogatepass"), np.uint8)
    return np.append(np.bincount(content, minlength=_BYTES), len(texts))


def rows_at_a_time(longest: int, vocabulary: int | None) -> int:
    """Return how many rows fit into memory with their logits, for rows of `longest` tokens."""
    return max(1, MAX_LOGITS // (longest * (vocabulary or 1)))


class ResponseNetwork(Network):
    """A language model whose loss is the mean over the tokens of responses, but not of prompts."""

    def __init__(self, model: Any, reader: PromptReader, notes: list[Note]) -> None:
        from hf_emms.heads.modules import ModelWithLoss

        super().__init__(ModelWithLoss(model, self._mean_loss), reader.processors, notes)
        self.model.accepts_loss_kwargs = True  # the tokens of a step, whose parts sum their losses
        self._reader = reader
        if sum(parameter.numel() for parameter in model.parameters()) >= CHECKPOINTED_PARAMETERS:
            # transformers before 5.24 has only the second name, which version 6 removes.
            enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
            enable()

    @property
    def saved(self) -> Any:
        return self.model.model

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        """Return a row for each response of a split."""
        return self.labeled(self._responses(split).responses)

    def labeled(self, responses: Sequence[Response]) -> BatchedRows:
        """Return responses as rows for `Trainer`."""
        longest = max(len(response.prompt) + len(response.response) for response in responses)
        return BatchedRows(
            lambda rows: response_batch(self._reader, [responses[row] for row in rows.tolist()]),
            {},
            len(responses),
            rows_at_a_time(longest, self.saved.get_input_embeddings().num_embeddings),
        )

    def predict(self, model: Any, batch: Inputs) -> Any:
        return self._losses(model.model, batch)[:, None]

    def _mean_loss(self, model: Any, batch: Inputs) -> Tensor:
        tokens = batch.pop("num_items_in_batch", None)
        return self._losses(model, batch).sum() / ((batch["labels"] != IGNORED).sum() if tokens is None else tokens)

    def _losses(self, model: Any, batch: Inputs) -> Tensor:
        return response_losses(model, batch, is_encoder=self._reader.is_encoder)

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return bits and bytes of the responses of each row, from the losses of all responses, (m, 1)."""
        return [WrittenResponse(*row) for row in self._responses(split).bits(outputs).tolist()]

    def test_predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return the predictions, with a written response for the first rows."""
        rows = self.predictions(outputs, split)
        first = self._responses(split).first_responses(_WRITTEN_ROWS)
        texts = dict(zip(first, self._write([*first.values()]), strict=True))
        return [replace(row, text=texts.get(number)) for number, row in enumerate(rows)]

    def loss(self, outputs: Any, split: LabeledSplit) -> float:
        """Return the bits per byte of a split's responses."""
        total, n_bytes = self._responses(split).bits(outputs).sum(0).tolist()
        return float(total / n_bytes)

    def _responses(self, split: LabeledSplit) -> _ResponseRows:
        rows: _ResponseRows = self.cached_for_split("responses", split, self._read)
        return rows

    def _read(self, split: LabeledSplit) -> _ResponseRows:
        rows, reader = _ResponseRows(self._reader, split), self._reader
        instruction = reader.instruction(split.inputs[int(split.input_of_row[0])])
        if instruction:
            text = f"each prompt {'begins' if reader.is_encoder else 'ends'} with {instruction!r}"
            note = Note("prompt-instruction", text)
            self.notes += [note] if note not in self.notes else []
        if rows.truncated:
            text = reader.limit_text(rows.truncated, rows.total)
            self.notes.append(Note("responses-truncated", text))
        return rows

    def _write(self, responses: Sequence[Response]) -> list[str]:
        """Return the model's responses to prompts by greedy decoding."""
        import torch

        reader, model = self._reader, self.saved
        new_tokens, room = _MAX_NEW_TOKENS, reader.max_length
        if not reader.is_encoder:  # prompt and response share the maximum length
            new_tokens = min(new_tokens, math.ceil(room / 2))
            room -= new_tokens
        settings = {"max_new_tokens": new_tokens, "do_sample": False, "num_beams": 1, "use_cache": True}
        texts: list[str] = []
        model.eval()
        model.generation_config.update(**reader.starts())  # saved with the model
        for start in range(0, len(responses), _WRITTEN_BATCH):
            inputs = reader.pad_prompts(responses[start : start + _WRITTEN_BATCH], room)
            inputs = {name: tensor.to(model.device) for name, tensor in inputs.items()}
            with torch.no_grad():
                ids = model.generate(**inputs, pad_token_id=reader.pad_id, eos_token_id=reader.end_id, **settings)
            written = ids if reader.is_encoder else ids[:, inputs["input_ids"].shape[1] :]
            texts += [text.strip() for text in reader.tokenizer.batch_decode(written, skip_special_tokens=True)]
        return texts


class _ResponseRows:
    """The responses of a split, one training row each. A row of the split may have several.

    Attributes:
        responses: All responses with their prompts, without those that are too long for the checkpoint.
        truncated: The number of truncated responses, or of those that are too long.
        total: The number of responses, with those that are too long.
    """

    def __init__(self, reader: PromptReader, split: LabeledSplit) -> None:
        texts = [(row, text) for row, responses in enumerate(split.references) for text, _ in responses]
        self._rows = np.array([row for row, _ in texts])
        self._n_rows = len(split)
        inputs = [split.inputs[int(split.input_of_row[row])] for row in self._rows.tolist()]
        responses, self.truncated = reader.read_responses(inputs, [text for _, text in texts])
        self.total, self.responses = len(responses), [response for response in responses if response.response]
        self._rows = self._rows[[bool(response.response) for response in responses]]

    def bits(self, outputs: np.ndarray) -> np.ndarray:
        """Return bits and bytes of each row of the split, float64 (n, 2), from the losses of its responses, (m, 1)."""
        sums = np.zeros((self._n_rows, 2))
        np.add.at(sums[:, 0], self._rows, np.asarray(outputs, np.float64)[:, 0] / np.log(2))
        np.add.at(sums[:, 1], self._rows, [response.n_bytes for response in self.responses])
        return sums

    def first_responses(self, count: int) -> dict[int, Response]:
        """Return the first response of each of the first rows, by their numbers."""
        rows, first = np.unique(self._rows, return_index=True)
        return {row: self.responses[i] for row, i in zip(rows[:count].tolist(), first, strict=False)}


# ---- language models and the loss of their responses -----------------------------------------------------------------


def load_language_model(spec: FeatureSpec) -> Any:
    """Load the checkpoint as a class of transformers that writes texts, in the spec's dtype, on the CPU.

    Raises:
        EmmsError: It cannot be loaded, or has no weights for writing.
    """
    import torch
    import transformers

    from hf_emms.heads.modules import load_pretrained

    loader = transformers.AutoModelForSeq2SeqLM if is_encoder_decoder(spec) else transformers.AutoModelForCausalLM
    loader = transformers.AutoModelForImageTextToText if _reads_images(spec) else loader
    model, missing, mismatched = load_pretrained(spec, loader, getattr(torch, spec.dtype))
    if missing or mismatched:
        raise EmmsError(
            "weights-missing",
            f"{spec.repo.id} has no weights for {min(missing or mismatched)}, so it cannot write a text",
            "rank checkpoints that were saved with their language model head",
        )
    return model


def response_reader(spec: FeatureSpec, model: Any) -> PromptReader:
    """Return the reader of prompts, with images if the task has images."""
    return image_chat_reader(spec, model) if _reads_images(spec) else prompt_reader(spec, model)


def load_to_train(spec: FeatureSpec) -> tuple[Any, PromptReader]:
    """Load a language model and its reader, whose tokenizer has a token that pads.

    Raises:
        EmmsError: See `load_language_model`.
    """
    model = load_language_model(spec)
    reader = response_reader(spec, model)
    if reader.tokenizer.pad_token_id is None and reader.tokenizer.eos_token is not None:
        reader.tokenizer.pad_token = reader.tokenizer.eos_token
    return model, reader


def _reads_images(spec: FeatureSpec) -> bool:
    return spec.architecture.input_kind == IMAGE_CHAT.name


def response_batch(reader: PromptReader, responses: Sequence[Response]) -> Inputs:
    """Return the tensors of b prompts with their responses; the labels are the responses' tokens, int64 (b, T)."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    before = [[] if reader.is_encoder else [IGNORED] * len(response.prompt) for response in responses]
    rows = [torch.tensor(start + response.response) for start, response in zip(before, responses, strict=True)]
    return {**reader.pad_responses(responses), "labels": pad_sequence(rows, batch_first=True, padding_value=IGNORED)}


def response_losses(model: Any, inputs: Inputs, *, is_encoder: bool) -> Tensor:
    """Return the loss of each of b responses after its prompt in nats, float32 (b,)."""
    from torch.nn.functional import cross_entropy

    labels = inputs["labels"]
    others = {name: tensor for name, tensor in inputs.items() if name != "labels"}
    if is_encoder:
        logits = model(**others, labels=labels, use_cache=False).logits
    else:
        logits, labels = model(**others, use_cache=False).logits[:, :-1], labels[:, 1:]
    losses = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return losses.view(labels.shape).sum(1)
