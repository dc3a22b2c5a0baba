"""Features of hidden layers, all from one forward: what the name of a layer picks from pooled hidden states.

"last" is the feature of the table of architectures. "spread", the default, puts the first and the middle hidden layer
in front of it: full fine-tuning changes every layer (docs/quality.md). "mean" is the average over hidden layers, "N"
the N-th of them (1 is the first, -1 the last, 0 the input of the first where the family shows it).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hf_emms.features.device import Inputs
from hf_emms.features.extraction_plan import LayerError
from hf_emms.features.load import LoadedModel
from hf_emms.features.pooling import Pooling, find_pooling, no_layers
from hf_emms.formatting import pluralize
from hf_emms.options import LAST, MEAN, SPREAD

# What every checkpoint has; without hidden layers "spread" is the last one alone.
_ALWAYS = (LAST, SPREAD)


class LayerReader:
    """Features of several layers from one forward, each scaled to length one if `normalise`.

    Attributes:
        refused: layer → why the model does not have it. Never all of them.
    """

    def __init__(self, pooling: Pooling, first: int, layers: tuple[str, ...], *, normalise: bool = False) -> None:
        self._pooling = pooling
        self._first = first
        self._layers = layers
        self._normalise = normalise
        self._shows_layers = pooling.layers is not None
        self._slices: dict[str, slice] = {}
        self._spread_layers: tuple[int, ...] = ()
        self.refused: dict[str, LayerError] = {}

    def __call__(self, model: Any, inputs: Inputs) -> Tensor:
        """A batch's features, float32 (b, D1), those of the layers side by side.

        Raises:
            LayerError: the model has none of the layers.
        """
        parts = self._read(model, inputs)
        if not parts:
            raise next(iter(self.refused.values()))
        start = 0
        for layer, part in parts.items():
            self._slices[layer] = slice(start, start + part.shape[1])
            start += part.shape[1]
        return torch.cat(list(parts.values()), dim=1)

    def slices_of(self, width: int) -> dict[str, slice]:
        """Layer → its part of a feature row; known after the first batch."""
        return self._slices

    def describe(self, layer: str) -> str:
        """What is the feature at a layer, in words."""
        scaled = ", scaled to length one" if self._normalise else ""
        last, hidden = self._pooling.summary + scaled, self._pooling.layer_summary + scaled
        if layer == LAST or (layer == SPREAD and not self._spread_layers):
            return last
        if layer == SPREAD:
            numbers = " and ".join(map(str, self._spread_layers))
            return f"{last}; with hidden layer{'s' if len(self._spread_layers) > 1 else ''} {numbers}: {hidden}"
        return f"{'average of all hidden layers' if layer == MEAN else f'hidden layer {layer}'}: {hidden}"

    def _read(self, model: Any, inputs: Inputs) -> dict[str, Tensor]:
        layers = tuple(layer for layer in self._layers if layer not in self.refused)
        if all(layer == LAST or (layer == SPREAD and not self._shows_layers) for layer in layers):
            return dict.fromkeys(layers, self._scaled(self._pooling.features(model, inputs))) if layers else {}
        try:
            if self._pooling.layers is None:
                raise no_layers(model)
            last, states = self._pooling.layers(model, inputs)
        except LayerError as error:
            self._shows_layers = False
            self.refused |= {layer: error for layer in layers if layer not in _ALWAYS}
            return self._read(model, inputs)
        self._spread_layers = spread(len(states) - self._first) if self._pooling.spreads else ()
        parts = {}
        for layer in layers:
            try:
                parts[layer] = self._feature(layer, last, states)
            except LayerError as error:
                self.refused[layer] = error
        return parts

    def _feature(self, layer: str, last: Tensor, states: Sequence[Tensor]) -> Tensor:
        if layer != SPREAD:
            return self._scaled(pick(layer, last, states, self._first))
        hidden = (states[self._first + number - 1] for number in self._spread_layers)
        return torch.cat([self._scaled(part) for part in (*hidden, last)], dim=1)

    def _scaled(self, features: Tensor) -> Tensor:
        return normalize(features.float(), dim=1) if self._normalise else features.float()


def plan_layers(loaded: LoadedModel, layers: tuple[str, ...]) -> LayerReader:
    """The layers of a checkpoint that reads single inputs."""
    plan = loaded.plan
    return LayerReader(find_pooling(loaded.pooling), plan.architecture.first_layer, layers, normalise=plan.normalise)


class JoinedLayers:
    """The layers of a checkpoint whose features join two inputs, which has no hidden ones.

    Attributes:
        refused: layer → why there is none. Never all of them.

    Raises:
        LayerError: no other layer is among them.
    """

    def __init__(self, layers: tuple[str, ...], checkpoint: str, summary: str) -> None:
        self._layers, self._summary = [layer for layer in layers if layer in _ALWAYS], summary
        self.refused = {
            layer: LayerError(f"{checkpoint} joins two inputs: it has no single layer {layer}", f"--layer {LAST}")
            for layer in layers
            if layer not in _ALWAYS
        }
        if not self._layers:
            raise self.refused[layers[0]]

    def slices_of(self, width: int) -> dict[str, slice]:
        """Layer → its part of a feature row."""
        return dict.fromkeys(self._layers, slice(0, width))

    def describe(self, layer: str) -> str:
        """What is the feature at a layer, in words."""
        return self._summary


def spread(hidden: int) -> tuple[int, ...]:
    """The layers of "spread" besides the last, of a checkpoint with so many: the first and the middle, (1, 7) of 12."""
    return tuple(number for number in dict.fromkeys((1, hidden // 2 + 1)) if number < hidden)


def pick(layer: str, last: Tensor, states: Sequence[Tensor], first: int) -> Tensor:
    """The feature of one layer, (b, D).

    Args:
        layer: a name of `options.layer_names` other than "spread".
        last: the feature that the table of architectures describes, (b, D1).
        states: pooled hidden states as the model lists them, (b, D) each; widths may differ.
        first: which of them is the first hidden layer (1 after an embedding, else 0).

    Raises:
        LayerError: there is no such layer, or layers of different widths would have to be averaged.
    """
    if layer == LAST:
        return last
    hidden = states[first:]
    if layer == MEAN:
        if not hidden:
            raise LayerError("it has no hidden layers to average", f"--layer {LAST}")
        widths = [str(state.shape[1]) for state in hidden]
        distinct = list(dict.fromkeys(widths))
        if len(distinct) > 1:
            raise LayerError(
                f"its {len(widths)} hidden layers are {', '.join(distinct[:-1])} and {distinct[-1]} wide, "
                "which cannot be averaged",
                f"--layer {LAST}, or --layer N with N from 1 to {len(widths)}",
            )
        return sum(hidden[1:], hidden[0]) / len(hidden)
    number = int(layer)
    position = first + number - 1 if number >= 0 else len(states) + number
    if not (0 if number >= 0 else first) <= position < len(states):
        start = "0 (the input of the first one)" if first else "1"
        raise LayerError(
            f"it has {pluralize(len(hidden), 'hidden layer')} and no layer {number}",
            f"--layer {LAST}, or --layer N with N from {start} to {len(hidden)}, or -{len(hidden)} to -1",
        )
    return states[position]
