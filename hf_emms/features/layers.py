"""Features of the requested layers: the last layer, hidden layers, and their combinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hf_emms.features.device import Inputs
from hf_emms.features.feature_spec import LayerError
from hf_emms.features.load import BEHIND, LoadedModel
from hf_emms.features.pooling import Pooling, find_pooling
from hf_emms.formatting import pluralize
from hf_emms.options import LAST, MEAN, SPREAD
from hf_emms.texts import setting_ref

# The layers that every checkpoint has; without hidden layers "spread" is the last layer alone.
_ALWAYS = (LAST, SPREAD)


class LayerReader:
    """Read the features of one or more layers in a single forward pass.

    The feature itself passes through the layers `behind` its pooling, and keeps its first `truncate_dim` columns.

    "last" is the feature of the table of architectures. "spread", the default, puts the first and the middle hidden
    layer in front of it: full fine-tuning changes every layer (docs/evidence.md). "mean" is the average over hidden
    layers, "N" the N-th hidden layer (1 is the first, -1 the last, 0 the input of the first, if the family shows it).

    Attributes:
        refused: Layer → why the model does not have it. Never all of them.
    """

    def __init__(
        self,
        pooling: Pooling,
        first: int,
        layers: tuple[str, ...],
        *,
        behind: torch.nn.Module | None = None,
        normalize: bool = False,
        truncate_dim: int | None = None,
    ) -> None:
        self._pooling, self._first, self._layers = pooling, first, layers
        self._behind, self._normalize, self._truncate_dim = behind, normalize, truncate_dim
        self._shows_layers = True
        self._slices: dict[str, slice] = {}
        self._spread_layers: tuple[int, ...] = ()
        self.refused: dict[str, LayerError] = {}

    def __call__(self, model: Any, inputs: Inputs) -> Tensor:
        """Return a batch's features, float32 (b, D1), with the layers side by side.

        Raises:
            LayerError: The model has none of the layers.
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
        """Return the columns of a feature row that belong to each layer. Empty before the first batch."""
        return self._slices

    def describe(self, layer: str) -> str:
        """Describe the pooling of a layer."""
        scaled = ", scaled to length one" if self._normalize else ""
        behind = "" if self._behind is None else ", and the Dense layers behind it"
        last, hidden = self._pooling.summary + behind + scaled, self._pooling.layer_summary + scaled
        if layer == LAST or (layer == SPREAD and not self._spread_layers):
            return last
        if layer == SPREAD:
            numbers = " and ".join(map(str, self._spread_layers))
            return f"{last}; with hidden layer{'s' if len(self._spread_layers) > 1 else ''} {numbers}: {hidden}"
        return f"{'average of all hidden layers' if layer == MEAN else f'hidden layer {layer}'}: {hidden}"

    def _read(self, model: Any, inputs: Inputs) -> dict[str, Tensor]:
        layers = tuple(layer for layer in self._layers if layer not in self.refused)
        spreads = self._shows_layers and self._pooling.spreads
        if all(layer == LAST or (layer == SPREAD and not spreads) for layer in layers):
            return dict.fromkeys(layers, self._last(self._pooling.features(model, inputs))) if layers else {}
        try:
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
        if layer == LAST:
            return self._last(last)
        if layer != SPREAD:
            return self._scaled(pick(layer, states, self._first))
        hidden = [self._scaled(states[self._first + number - 1]) for number in self._spread_layers]
        return torch.cat([*hidden, self._last(last)], dim=1)

    def _last(self, features: Tensor) -> Tensor:
        features = features if self._behind is None else self._behind(features)
        return self._scaled(features)[:, : self._truncate_dim]

    def _scaled(self, features: Tensor) -> Tensor:
        return normalize(features.float(), dim=1) if self._normalize else features.float()


def make_layer_reader(loaded: LoadedModel, layers: tuple[str, ...], *, spreads: bool = True) -> LayerReader:
    """Create the reader of a checkpoint's layers. Without `spreads`, "spread" is only the last layer."""
    spec, pooling = loaded.spec, find_pooling(loaded.pooling)
    return LayerReader(
        replace(pooling, spreads=pooling.spreads and spreads),
        spec.architecture.first_layer,
        layers,
        behind=getattr(loaded.model, BEHIND, None),
        normalize=spec.normalize,
        truncate_dim=spec.truncate_dim,
    )


class JoinedLayers:
    """Read features that exist for the last layer only, such as those that join two inputs.

    Raises:
        LayerError: If only hidden layers are requested.
    """

    def __init__(self, layers: tuple[str, ...], checkpoint: str, summary: str) -> None:
        self._layers, self._summary = [layer for layer in layers if layer in _ALWAYS], summary
        self.refused = {
            layer: LayerError(
                "unknown-layer",
                f"{checkpoint} has no layer {layer} to read alone: its feature is {summary}",
                setting_ref("layers", LAST),
            )
            for layer in layers
            if layer not in _ALWAYS
        }
        if not self._layers:
            raise self.refused[layers[0]]

    def slices_of(self, width: int) -> dict[str, slice]:
        return dict.fromkeys(self._layers, slice(0, width))

    def describe(self, layer: str) -> str:
        return self._summary


def spread(hidden: int) -> tuple[int, ...]:
    """Return the first and the middle hidden layer for "spread", given their number: (1, 7) of 12."""
    return tuple(number for number in dict.fromkeys((1, hidden // 2 + 1)) if number < hidden)


def pick(layer: str, states: Sequence[Tensor], first: int) -> Tensor:
    """Return the feature of hidden layers, (b, D).

    Args:
        layer: "mean" or a number.
        states: Hidden states as the model lists them, (b, D) each; widths may differ.
        first: The number of the first hidden layer among them: 1 after an embedding, else 0.

    Raises:
        LayerError: If the layer does not exist, or layers to average have different widths.
    """
    hidden = states[first:]
    if layer == MEAN:
        if len({state.shape[1] for state in hidden}) != 1:
            raise LayerError(
                "unknown-layer", "it has no hidden layers of the same width to average", setting_ref("layers", LAST)
            )
        return sum(hidden[1:], hidden[0]) / len(hidden)
    number = int(layer)
    position = first + number - 1 if number >= 0 else len(states) + number
    if not (0 if number >= 0 else first) <= position < len(states):
        raise LayerError(
            "unknown-layer",
            f"it has {pluralize(len(hidden), 'hidden layer')} and no layer {number}",
            setting_ref("layers", LAST) + f", or a number from 1 to {len(hidden)}, or -{len(hidden)} to -1",
        )
    return states[position]
