"""Preferences: training a language model by DPO (arXiv 2305.18290), and which responses it prefers.

The loss is the "sigmoid" loss of TRL's `DPOTrainer` with its defaults. The start, frozen, is the reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import Note
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.head import Head, Network
from hf_emms.heads.metrics import PREFERENCE_ACCURACY, Metric
from hf_emms.heads.response import load_to_train, response_batch, response_losses, rows_at_a_time
from hf_emms.heads.split import BatchedRows, ConstantBaseline, LabeledSplit
from hf_emms.inputs import Modality
from hf_emms.inputs.prompt import PromptReader, Response
from hf_emms.scoring.generative import preferred

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.device import Inputs

# The strength of the reference in the loss.
BETA = 0.1
# Pairs that are read at a time.
_BATCH = 16


class PreferenceHead(Head):
    """A head that prefers one response to a prompt over others."""

    epochs = 3
    batch_size = 8
    inputs_per_row = 2
    rate_factor = 0.1

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        return (PREFERENCE_ACCURACY,)

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        lengths = [[len(text.encode("utf-8", "surrogatepass")) for text in texts] for texts in _texts_of(split)]
        longer = [float(preferred(chosen - np.array(others)).mean()) for chosen, *others in lengths]
        return ConstantBaseline("the longer response", longer)

    def count_rows(self, split: LabeledSplit) -> int:
        """Return the number of pairs of a split, because each of them is learned."""
        return sum(len(texts) for texts in split.references)

    def count_inputs(self, split: LabeledSplit) -> int:
        """Return the number of responses that the model and the reference read."""
        return 4 * self.count_rows(split)

    def build(self, spec: FeatureSpec, modality: Modality, train: LabeledSplit) -> Network:
        model, reader = load_to_train(spec)
        return PreferenceNetwork(model, reader, list(modality.reading_notes(spec, reader.tokenizer)))


def _texts_of(split: LabeledSplit) -> list[list[str]]:
    """Return the chosen and the rejected responses of each row."""
    return [
        [split.inputs[number][1], *(text for text, _ in rejected)]
        for number, rejected in zip(split.input_of_row.tolist(), split.references, strict=True)
    ]


class PreferenceNetwork(Network):
    """A language model that learns from pairs of responses.

    Its outputs are the log-likelihoods of both responses of each pair in nats, (m, 2), the chosen one first.
    """

    def __init__(self, model: Any, reader: PromptReader, notes: Sequence[Note] = ()) -> None:
        from torch import nn

        from hf_emms.heads.modules import ModelWithLoss

        super().__init__(ModelWithLoss(model, self._mean_loss), (reader.tokenizer,), notes)
        self._reader = reader
        self._reference: Any = None
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0  # the reference has none

    @property
    def saved(self) -> Any:
        return self.model.model

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        """Return a row for each pair of a split. The weights of the first rows with labels are the reference's."""
        if labeled and self._reference is None:
            self._reference = deepcopy(self.saved).eval().requires_grad_(False)
        responses = self._pairs(split).responses
        longest = max(len(response.prompt) + len(response.response) for response in responses)
        fitting = rows_at_a_time(longest, self.saved.get_input_embeddings().num_embeddings)
        return BatchedRows(lambda rows: self._batch(responses, rows), {}, len(responses) // 2, max(1, fitting // 2))

    def _batch(self, responses: Sequence[Response], rows: np.ndarray) -> Inputs:
        both = [responses[number] for row in rows.tolist() for number in (2 * row, 2 * row + 1)]
        return {name: tensor.view(len(rows), 2, -1) for name, tensor in response_batch(self._reader, both).items()}

    def predict(self, model: Any, batch: Inputs) -> Any:
        return self._likelihoods(model.model, batch)

    def _likelihoods(self, model: Any, batch: Inputs) -> Tensor:
        flat = {name: tensor.flatten(0, 1) for name, tensor in batch.items()}
        return -response_losses(model, flat, is_encoder=self._reader.is_encoder).view(-1, 2)

    def _mean_loss(self, model: Any, batch: Inputs) -> Tensor:
        import torch

        with torch.no_grad():
            start = self._likelihoods(self._reference.to(model.device), batch)
        gains = self._likelihoods(model, batch) - start
        return -torch.nn.functional.logsigmoid(BETA * (gains[:, 0] - gains[:, 1])).mean()

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[Any]:
        """Return the share of each row's pairs whose chosen response has the higher reward."""
        pairs, right = self._pairs(split), preferred(self.rewards(outputs, split))
        return [float(mean) for mean in np.bincount(pairs.rows, right) / np.bincount(pairs.rows)]

    def rewards(self, outputs: Any, split: LabeledSplit) -> np.ndarray:
        """Return the difference of both rewards of each pair, float64 (m,): the gain of likelihood by training."""
        gains = np.asarray(outputs, np.float64)
        if self._reference is not None:
            gains = gains - self.cached_for_split("reference", split, self._of_reference)
        return gains[:, 0] - gains[:, 1]

    def per_byte(self, outputs: Any, split: LabeledSplit) -> np.ndarray:
        """Return the difference of both log-likelihoods per byte of each pair, float64 (m,)."""
        n_bytes = np.array([response.n_bytes for response in self._pairs(split).responses]).reshape(-1, 2)
        of_bytes = np.asarray(outputs, np.float64) / n_bytes
        return of_bytes[:, 0] - of_bytes[:, 1]

    def _of_reference(self, split: LabeledSplit) -> np.ndarray:
        import torch

        rows, device = self.rows(split, False), next(self.saved.parameters()).device
        size, parts = min(_BATCH, rows.max_batch or _BATCH), []
        for start in range(0, len(rows), size):
            batch = rows.batch(np.arange(start, min(start + size, len(rows))))
            with torch.no_grad():
                batch = {name: tensor.to(device) for name, tensor in batch.items()}
                parts.append(self._likelihoods(self._reference.to(device), batch).double().cpu().numpy())
        return np.concatenate(parts)

    def truncated(self, split: LabeledSplit) -> tuple[int, int]:
        """Return how many responses of a split are truncated, and of how many."""
        pairs = self._pairs(split)
        return pairs.truncated, len(pairs.responses)

    def _pairs(self, split: LabeledSplit) -> _Pairs:
        pairs: _Pairs = self.cached_for_split("pairs", split, self._read)
        return pairs

    def _read(self, split: LabeledSplit) -> _Pairs:
        pairs = _Pairs(self._reader, split)
        if pairs.truncated:
            text = self._reader.limit_text(pairs.truncated, len(pairs.responses))
            self.notes.append(Note("responses-truncated", text))
        return pairs


class _Pairs:
    """The pairs of a split.

    Attributes:
        responses: The chosen and the rejected response of each of m pairs with their prompt, in turn.
        rows: The row of each pair, int64 (m,).
        truncated: The number of truncated responses.
    """

    def __init__(self, reader: PromptReader, split: LabeledSplit) -> None:
        pairs = [(row, text, other) for row, (text, *others) in enumerate(_texts_of(split)) for other in others]
        self.rows = np.array([row for row, *_ in pairs])
        prompts = [split.inputs[number][0] for number in split.input_of_row[self.rows].tolist() for _ in range(2)]
        self.responses, self.truncated = reader.read_responses(prompts, [text for _, *both in pairs for text in both])
