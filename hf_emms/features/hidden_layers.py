"""Which hidden layer becomes the feature: the names a user writes, and what they pick.

"spread" is the first and the middle hidden layer beside "last", which is what the table of architectures says: full
fine-tuning changes every layer, and the three tell more of it than the last alone (docs/quality.md). A checkpoint that
shows no hidden layers has its last one only. "mean" is the average over all hidden layers, "N" the N-th of them (1 is
the first, -1 the last, 0 what enters the first where the family shows it). Each layer is pooled on its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.options import LAST, MEAN, SPREAD

if TYPE_CHECKING:
    from torch import Tensor

    from hf_emms.features.pooling import Pooling


class LayerError(EmmsError):
    """A checkpoint cannot give a layer that was asked for."""


# What every checkpoint has, with hidden layers to show or without.
ALWAYS = (LAST, SPREAD)


class LayerReader:
    """Features of several layers from one forward, side by side.

    Attributes:
        columns: layer → its columns in a feature row; known after the first batch.
        refused: layer → why the model cannot give it. Never all of them.
        beside: the numbers of the hidden layers that stand beside the last at "spread"; known after the first batch.
    """

    def __init__(self, pooling: Pooling, first: int, asked: tuple[str, ...], *, unit: bool = False) -> None:
        self._pooling = pooling
        self._first = first
        self._asked = asked
        self._unit = unit
        self.beside: tuple[int, ...] = ()
        self._shows_layers = pooling.layers is not None
        self.columns: dict[str, slice] = {}
        self.refused: dict[str, LayerError] = {}

    def __call__(self, model: Any, inputs: dict[str, Tensor]) -> list[Tensor]:
        """A batch's features, float32 (b, D1) a layer, in the order of `columns`.

        Raises:
            LayerError: the model can give none of the layers.
        """
        parts = self._parts(model, inputs)
        if not parts:
            raise next(iter(self.refused.values()))
        start = 0
        for layer, part in parts.items():
            self.columns[layer] = slice(start, start + part.shape[1])
            start += part.shape[1]
        return list(parts.values())

    def _parts(self, model: Any, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        asked = tuple(layer for layer in self._asked if layer not in self.refused)
        if all(layer == LAST or (layer == SPREAD and not self._shows_layers) for layer in asked):
            return dict.fromkeys(asked, self._scaled(self._pooling.features(model, inputs))) if asked else {}
        try:
            last, states = self._layered(model, inputs)
        except LayerError as error:
            self._shows_layers = False
            self.refused |= {layer: error for layer in asked if layer not in ALWAYS}
            return self._parts(model, inputs)
        self.beside = spread(len(states) - self._first) if self._pooling.spreads else ()
        parts = {}
        for layer in asked:
            try:
                parts[layer] = self._pick(layer, last, states)
            except LayerError as error:
                self.refused[layer] = error
        return parts

    def _pick(self, layer: str, last: Tensor, states: Sequence[Tensor]) -> Tensor:
        if layer != SPREAD:
            return self._scaled(pick(layer, last, states, self._first))
        import torch

        beside = (states[self._first + number - 1] for number in self.beside)
        return torch.cat([self._scaled(part) for part in (*beside, last)], dim=1)

    def _scaled(self, features: Tensor) -> Tensor:
        from torch.nn.functional import normalize

        return normalize(features.float(), dim=1) if self._unit else features.float()

    def _layered(self, model: Any, inputs: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
        if self._pooling.layers is None:
            raise LayerError(f"{type(model).__name__} does not show its hidden layers", f"--layer {LAST}")
        return self._pooling.layers(model, inputs)


def spread(hidden: int) -> tuple[int, ...]:
    """Which of a checkpoint's hidden layers stand beside its last: the first and the middle one, (1, 7) of 12."""
    return tuple(number for number in dict.fromkeys((1, hidden // 2 + 1)) if number < hidden)


def pick(layer: str, last: Tensor, states: Sequence[Tensor], first: int) -> Tensor:
    """The feature of one layer.

    Args:
        layer: a name of `options.layer_names` other than "spread".
        last: the feature that the table of architectures describes, (b, D1).
        states: pooled hidden states as the model lists them, (b, D) each; widths may differ.
        first: which of them is the first hidden layer (1 behind an embedding, else 0).

    Raises:
        LayerError: there is no such layer, or layers of different widths would have to be averaged.
    """
    if layer == LAST:
        return last
    hidden = states[first:]
    if layer == MEAN:
        if not hidden:
            raise LayerError("it has no hidden layers to average", f"--layer {LAST}")
        widths = [state.shape[1] for state in hidden]
        if len(set(widths)) > 1:
            raise LayerError(
                f"its {len(widths)} hidden layers are {_widths(widths)} wide, which cannot be averaged",
                f"--layer {LAST}, or --layer N with N from 1 to {len(widths)}",
            )
        return sum(hidden[1:], hidden[0]) / len(hidden)
    number = int(layer)
    position = first + number - 1 if number >= 0 else len(states) + number
    if not (0 if number >= 0 else first) <= position < len(states):
        start = "0 (what enters the first one)" if first else "1"
        raise LayerError(
            f"it has {pluralize(len(hidden), 'hidden layer')} and no layer {number}",
            f"--layer {LAST}, or --layer N with N from {start} to {len(hidden)}, or -{len(hidden)} to -1",
        )
    return states[position]


def refused_of_pairs(asked: Iterable[str], model: str) -> dict[str, LayerError]:
    """Why single layers are not given by a model whose rows are joined from several parts.

    Raises:
        EmmsError: nothing else was asked for.
    """
    asked = tuple(asked)
    refused = {
        layer: LayerError(f"{model} joins two inputs: it has no single layer {layer}", f"--layer {LAST}")
        for layer in asked
        if layer not in ALWAYS
    }
    if len(refused) == len(asked):
        raise refused[asked[0]]
    return refused


def beside_words(beside: Sequence[int], summary: str) -> str:
    """What stands beside the last layer at "spread", in words."""
    layers = f"hidden layer {beside[0]}" if len(beside) == 1 else f"hidden layers {' and '.join(map(str, beside))}"
    return f"; beside it {layers}: {summary}"


def words(layer: str, summary: str) -> str:
    """What is pooled at a layer other than "last" and "spread", in words."""
    return f"{'average of all hidden layers' if layer == MEAN else f'hidden layer {layer}'}: {summary}"


def _widths(widths: Sequence[int]) -> str:
    distinct = list(dict.fromkeys(widths))
    return ", ".join(map(str, distinct[:-1])) + f" and {distinct[-1]}"
