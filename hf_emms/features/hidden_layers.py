"""The feature that the name of a layer picks from a model's pooled hidden states.

"last" is the feature of the table of architectures. "spread", the default, puts the first and the middle hidden layer
in front of it: full fine-tuning changes every layer (docs/quality.md). "mean" is the average over hidden layers, "N"
the N-th of them (1 is the first, -1 the last, 0 the input of the first where the family shows it).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.options import LAST, MEAN, SPREAD

if TYPE_CHECKING:
    from torch import Tensor

# What every checkpoint has; without hidden layers "spread" is the last one alone.
ALWAYS = (LAST, SPREAD)


class LayerError(EmmsError):
    """A checkpoint does not have a layer."""


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


def refuse_single_layers(layers: Iterable[str], checkpoint: str) -> dict[str, LayerError]:
    """Layers that a checkpoint whose features join two inputs does not have, with the reason.

    Raises:
        LayerError: no other layer is among them.
    """
    layers = tuple(layers)
    refused = {
        layer: LayerError(f"{checkpoint} joins two inputs: it has no single layer {layer}", f"--layer {LAST}")
        for layer in layers
        if layer not in ALWAYS
    }
    if len(refused) == len(layers):
        raise refused[layers[0]]
    return refused


def describe_layer(layer: str, layer_summary: str, spread_layers: Sequence[int] = ()) -> str:
    """What is pooled at "mean", a number, or at "spread" besides the last layer, in words."""
    if layer == SPREAD:
        numbers = " and ".join(map(str, spread_layers))
        return f"; with hidden layer{'s' if len(spread_layers) > 1 else ''} {numbers}: {layer_summary}"
    return f"{'average of all hidden layers' if layer == MEAN else f'hidden layer {layer}'}: {layer_summary}"
