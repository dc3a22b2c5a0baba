"""Responses to prompts: a language model that is trained on them, what they cost it, and what it writes itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hf_emms.errors import EmmsError
from hf_emms.features.adapters import save_adapter
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.finetune.memory import CHECKPOINTED_PARAMETERS
from hf_emms.finetune.network import LabeledRows, Network
from hf_emms.finetune.responses import IGNORED, load_writer, response_batch, response_losses
from hf_emms.finetune.splits import LabeledSplit, Splits
from hf_emms.formatting import pluralize
from hf_emms.inputs.prompt import PromptReader, Response
from hf_emms.inputs.text import MAX_TRAINING_TOKENS
from hf_emms.options import Options
from hf_emms.tasks.metrics import WrittenResponse

# Test rows for which the trained model writes, a batch of them, and tokens of a response that it writes.
_WRITTEN_ROWS, _WRITTEN_BATCH, _MAX_NEW_TOKENS = 200, 16, 256
# What PEFT calls the tasks of decoders, and of an encoder with a decoder.
_ADAPTER_TASKS = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


def response_network(plan: ExtractionPlan, splits: Splits, options: Options, saved_width: int | None) -> Network:
    """A language model, trained on responses alone: prompts are read, but not learnt."""
    if options.keep_adapter and plan.base is not None:
        raise EmmsError(
            f"{plan.repo.id} is an adapter itself, and what it is merged into has no name that another one could give",
            "leave --keep-adapter out, or fine-tune its base",
        )
    writer = load_writer(plan)
    reader: PromptReader = splits.task.input.response_reader(plan, writer)
    reader = replace(reader, max_length=min(reader.max_length, MAX_TRAINING_TOKENS))
    if reader.tokenizer.pad_token_id is None and reader.tokenizer.eos_token is not None:
        reader.tokenizer.pad_token = reader.tokenizer.eos_token
    if sum(parameter.numel() for parameter in writer.parameters()) >= CHECKPOINTED_PARAMETERS:
        # Before 5.24 transformers had the second alone, which goes in 6.
        enable = getattr(writer, "activation_checkpointing_enable", None) or writer.gradient_checkpointing_enable
        enable()
    model = ResponseModel(writer, is_encoder=reader.is_encoder)
    notes = [note for _, note in splits.task.input.reading_notes(plan, reader.tokenizer)]
    rows_of: dict[int, ResponseRows] = {}

    def responses(split: LabeledSplit) -> ResponseRows:
        if id(split) not in rows_of:
            rows_of[id(split)] = ResponseRows(reader, split, notes)
        return rows_of[id(split)]

    def predictions(outputs: np.ndarray, split: LabeledSplit) -> list[WrittenResponse]:
        bits = responses(split).bits(outputs)
        texts: list[str | None] = [None] * len(split)
        if split is splits.test:
            texts[:_WRITTEN_ROWS] = model.write(reader, responses(split), min(len(split), _WRITTEN_ROWS))
        rows = zip(bits.tolist(), texts, strict=True)
        return [WrittenResponse(row_bits, n_bytes, text) for (row_bits, n_bytes), text in rows]

    def bits_per_byte(outputs: np.ndarray, split: LabeledSplit) -> float:
        total, n_bytes = responses(split).bits(outputs).sum(0).tolist()
        return float(total / n_bytes)

    return Network(
        model,
        lambda split, labelled: responses(split).labeled(),
        predictions,
        lambda model, inputs: model.losses(**inputs)[:, None],
        processors=(reader.tokenizer,),
        notes=notes,
        saved=writer,
        loss=bits_per_byte,
        save_adapter=partial(save_adapter, repo=plan.repo, task_type=_ADAPTER_TASKS[reader.is_encoder])
        if options.keep_adapter
        else None,
    )


class ResponseModel(nn.Module):
    """A language model whose loss is the mean over the tokens of responses."""

    accepts_loss_kwargs = False

    def __init__(self, writer: Any, *, is_encoder: bool) -> None:
        super().__init__()
        self.writer, self._is_encoder = writer, is_encoder

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        return {"loss": self.losses(**inputs).sum() / (inputs["labels"] != IGNORED).sum()}

    def losses(self, **inputs: Tensor) -> Tensor:
        return response_losses(self.writer, inputs, is_encoder=self._is_encoder)

    @torch.no_grad()
    def write(self, reader: PromptReader, rows: ResponseRows, count: int) -> list[str]:
        """What the model writes to the prompts of the first rows, always the likeliest token."""
        prompts = rows.prompts(count)
        room = (
            reader.max_length if reader.is_encoder else max(reader.max_length // 2, reader.max_length - _MAX_NEW_TOKENS)
        )
        new_tokens = _MAX_NEW_TOKENS if reader.is_encoder else min(_MAX_NEW_TOKENS, reader.max_length - room)
        left = replace(reader, pads_left=not reader.is_encoder)
        settings = {"max_new_tokens": max(1, new_tokens), "do_sample": False, "num_beams": 1, "use_cache": True}
        texts: list[str] = []
        self.writer.eval()
        self.writer.generation_config.update(**reader.starts())  # which is saved with the model
        for start in range(0, count, _WRITTEN_BATCH):
            inputs = left.pad([prompt[-room:] for prompt in prompts[start : start + _WRITTEN_BATCH]])
            inputs = {name: tensor.to(self.writer.device) for name, tensor in inputs.items()}
            ids = self.writer.generate(**inputs, pad_token_id=reader.pad_id, eos_token_id=reader.end_id, **settings)
            written = ids if reader.is_encoder else ids[:, inputs["input_ids"].shape[1] :]
            texts += [text.strip() for text in reader.tokenizer.batch_decode(written, skip_special_tokens=True)]
        return texts


class ResponseRows:
    """The responses of a split, a row of training each; a row of the split may have several."""

    def __init__(self, reader: PromptReader, split: LabeledSplit, notes: list[str]) -> None:
        texts = [(row, text) for row, of_row in enumerate(split.references) for text, _ in of_row]
        self._rows = np.array([row for row, _ in texts])
        self._n_rows, self._reader = len(split), reader
        inputs = [split.inputs[int(split.input_of_row[row])] for row in self._rows.tolist()]
        self._responses, cut = reader.read_responses(inputs, [text for _, text in texts])
        example = next(iter(inputs), None)
        instruction = reader.instruction(example) if example else None
        asked = f"each prompt {'begins' if reader.is_encoder else 'ends'} with {instruction!r}"
        if instruction and asked not in notes:
            notes.append(asked)
        if cut:
            notes.append(f"{cut:,} of {pluralize(len(texts), 'response')} cut at {reader.max_response:,} tokens")

    def labeled(self) -> LabeledRows:
        return LabeledRows(lambda rows: response_batch(self._reader, self._at(rows)), {}, len(self._responses))

    def bits(self, outputs: np.ndarray) -> np.ndarray:
        """Bits and bytes of each row of the split, float64 (n, 2), from the losses of its responses, (m, 1)."""
        sums = np.zeros((self._n_rows, 2))
        np.add.at(sums[:, 0], self._rows, np.asarray(outputs, np.float64)[:, 0] / np.log(2))
        np.add.at(sums[:, 1], self._rows, [response.n_bytes for response in self._responses])
        return sums

    def prompts(self, count: int) -> list[list[int]]:
        """The tokens of the first rows' prompts."""
        _, first = np.unique(self._rows, return_index=True)
        return [response.prompt for response in self._at(first[:count])]

    def _at(self, rows: np.ndarray) -> Sequence[Response]:
        return [self._responses[row] for row in rows.tolist()]
