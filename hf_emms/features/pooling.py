"""From a model's outputs to feature rows: one pooling a family, for its feature and for its hidden layers.

Captioners see the image and the token that starts every caption, never a caption: it would put the label into the
features. Their feature is the mean of the image encoder's tokens next to the decoder's last hidden state at the start
token, which has attended to the image and differs between captioners that share an encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hf_emms.errors import EmmsError
from hf_emms.features.device import Inputs
from hf_emms.features.extraction_plan import LayerError
from hf_emms.features.load import DENSE, LoadedModel
from hf_emms.formatting import pluralize
from hf_emms.options import LAST, MEAN, SPREAD
from hf_emms.registry import by_reference

# The feature (b, D1), and each hidden state pooled, (b, D), in the model's order.
Layered = tuple[Tensor, list[Tensor]]


@dataclass(frozen=True)
class Pooling:
    """What is pooled.

    Attributes:
        summary: in words.
        features: a model and the tensors of a batch to features (b, D1).
        layers: the same and every hidden layer's, from one forward; None where the model shows no hidden layers.
        layer_summary: what is pooled of a hidden layer, in words.
        spreads: whether "spread" adds hidden layers; not where their rows repeat a part of the feature.
        run: a model, the tensors of a batch and further arguments to outputs with the states of all tokens.
    """

    summary: str
    features: Callable[[Any, Inputs], Tensor]
    layers: Callable[[Any, Inputs], Layered] | None = None
    layer_summary: str = ""
    spreads: bool = True
    run: Callable[..., Any] = lambda model, inputs, **options: model(**inputs, **options)


def no_layers(model: Any) -> LayerError:
    return LayerError(f"{type(model).__name__} does not show its hidden layers", f"--layer {LAST}")


# --- states of one layer to rows: (b, T, D) tokens or a (b, D, H, W) map to (b, D) ------------------------


def average(hidden: Tensor, inputs: Inputs | None = None) -> Tensor:
    """Mean of all tokens, or of a map over its cells."""
    return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)


def masked_mean(hidden: Tensor, inputs: Inputs) -> Tensor:
    """Mean of tokens, padding left out."""
    weights = inputs["attention_mask"].to(hidden.dtype)
    return torch.einsum("btd,bt->bd", hidden, weights) / weights.sum(1, keepdim=True)


def _masked_max(hidden: Tensor, inputs: Inputs) -> Tensor:
    return hidden.masked_fill(inputs["attention_mask"][..., None] == 0, float("-inf")).amax(1)


def _first_token(hidden: Tensor, inputs: Inputs) -> Tensor:
    return hidden[:, 0]


def _last_token(hidden: Tensor, inputs: Inputs) -> Tensor:
    last = inputs["attention_mask"].sum(1) - 1
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


# --- a model's outputs to its feature ---------------------------------------------------------------------


def pooled_or_tensor(outputs: Any) -> Tensor:
    """The pooled output (b, D) of a tower, which some versions and families return as it is.

    Models that write texts about images return the tokens of each image instead: their mean.
    """
    pooled = getattr(outputs, "pooler_output", outputs)
    if isinstance(pooled, list | tuple):
        return torch.stack([tokens.flatten(0, -2).mean(0) for tokens in pooled])
    return pooled.mean(1) if pooled.ndim == 3 else pooled.flatten(1)


def _of_last(state: Callable[[Tensor, Inputs], Tensor]) -> Callable[[Any, Inputs], Tensor]:
    return lambda outputs, inputs: state(outputs.last_hidden_state, inputs)


def _pooler(outputs: Any, inputs: Inputs) -> Tensor:
    pooled: Tensor = outputs.pooler_output
    return pooled.flatten(1)


def _pooled_or_average(outputs: Any, inputs: Inputs) -> Tensor:
    pooled = getattr(outputs, "pooler_output", None)
    return average(outputs.last_hidden_state) if pooled is None else pooled.flatten(1)


# --- forwards ---------------------------------------------------------------------------------------------


def _call(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model(**inputs, **options)


def _call_encoder(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model.get_encoder()(**inputs, **options)


def _call_unmasked(model: Any, inputs: Inputs, **options: Any) -> Any:
    return model(input_ids=inputs["input_ids"], **options)


def _call_text(model: Any, inputs: Inputs, **options: Any) -> Any:
    return (_call_encoder if model.config.is_encoder_decoder else _call)(model, inputs, **options)


def _states(model: Any, outputs: Any) -> tuple[Any, ...]:
    states: tuple[Any, ...] | None = getattr(outputs, "hidden_states", None)
    if states is None:
        raise no_layers(model)
    return states


def _pooling(
    summary: str,
    last: Callable[[Any, Inputs], Tensor],
    state: Callable[[Tensor, Inputs], Tensor],
    layer_summary: str,
    run: Callable[..., Any] = _call,
) -> Pooling:
    """One forward `run`; `last` takes the feature from its outputs, `state` pools a hidden state."""

    def features(model: Any, inputs: Inputs) -> Tensor:
        return last(run(model, inputs), inputs)

    def layers(model: Any, inputs: Inputs) -> Layered:
        outputs = run(model, inputs, output_hidden_states=True)
        return last(outputs, inputs), [state(hidden, inputs) for hidden in _states(model, outputs)]

    return Pooling(summary, features, layers, layer_summary, run=run)


def _fallback(tower: str, pooling: Pooling) -> Pooling:
    """The result of the method `tower` for models of two towers, which then show no layers; `pooling` for others."""

    def features(model: Any, inputs: Inputs) -> Tensor:
        if hasattr(model, tower):
            return pooled_or_tensor(getattr(model, tower)(**inputs))
        return pooling.features(model, inputs)

    def layers(model: Any, inputs: Inputs) -> Layered:
        if hasattr(model, tower) or pooling.layers is None:
            raise LayerError(f"{type(model).__name__} does not show the hidden layers of one tower", f"--layer {LAST}")
        return pooling.layers(model, inputs)

    return Pooling(pooling.summary, features, layers, pooling.layer_summary, run=pooling.run)


def _pooler_features(model: Any, inputs: Inputs) -> Tensor:
    return _pooler(model(**inputs), inputs)


def _timm_layers(model: Any, inputs: Inputs) -> Layered:
    # timm separates the class token from the map; a family that classifies by it is pooled by it at every layer.
    by_token = getattr(model.timm_model, "global_pool", None) == "token"
    options = {"return_prefix_tokens": True} if by_token else {}
    outputs = model(**inputs, output_hidden_states=True, **options)
    states = _states(model, outputs)
    return _pooler(outputs, inputs), [state[1][:, 0] if by_token else average(state) for state in states]


# --- captioners: the mean of the encoder's tokens, and the decoder's states at the start token ------------


def _captioner(summary: str, read: Callable[[Any, Inputs, Tensor], tuple[Tensor, Sequence[Tensor]]]) -> Pooling:
    """`read` gives the encoder's mean (b, D) and the decoder's hidden states (b, T, D), the start token last."""

    def layers(model: Any, inputs: Inputs) -> Layered:
        pixels = inputs["pixel_values"]
        start = torch.full((len(pixels), 1), _start_token(model), dtype=torch.int64, device=pixels.device)
        image, states = read(model, inputs, start)
        joined = [torch.cat([image, state[:, -1]], dim=1) for state in states]
        return joined[-1], joined

    layer_summary = summary.replace("the decoder's state", "the decoder layer's state")
    return Pooling(summary, lambda model, inputs: layers(model, inputs)[0], layers, layer_summary, spreads=False)


def _read_encoder_decoder(model: Any, inputs: Inputs, start: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
    outputs = model(**inputs, decoder_input_ids=start, output_hidden_states=True, use_cache=False)
    return average(outputs.encoder_last_hidden_state), outputs.decoder_hidden_states


def _read_blip(model: Any, inputs: Inputs, start: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
    tokens = model.vision_model(**inputs).last_hidden_state
    outputs = model.text_decoder(
        input_ids=start, encoder_hidden_states=tokens, output_hidden_states=True, use_cache=False
    )
    return tokens.mean(1), outputs.hidden_states


def _read_git(model: Any, inputs: Inputs, start: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
    # The input of GIT's decoder is [projected image tokens, caption].
    outputs = model(**inputs, input_ids=start, output_hidden_states=True, use_cache=False)
    return outputs.hidden_states[0][:, :-1].mean(1), (*outputs.hidden_states[:-1], outputs.last_hidden_state)


def _start_token(model: Any) -> int:
    """The id of the token that starts every caption."""
    config = model.config
    parts = [config, getattr(model, "generation_config", None)]
    parts += [getattr(config, name, None) for name in ("decoder", "text_config")]
    for name in ("decoder_start_token_id", "bos_token_id"):
        for part in parts:
            value = getattr(part, name, None)
            if value is not None:
                return int(value)
    raise EmmsError(
        f"no configuration of the captioner ({config.model_type}) says which token starts a caption",
        "set decoder_start_token_id in its config.json",
    )


# --- sound: frames of which some are padding -----------------------------------------------------------------


def _call_sound(model: Any, inputs: Inputs, **options: Any) -> Any:
    """The outputs of what reads sound; its mask only where the family takes one and some of the batch is padding."""
    reader = _sound_encoder(model)
    mask = inputs.get("attention_mask")
    taken = {name: tensor for name, tensor in inputs.items() if name != "attention_mask"}
    if mask is not None and not bool(mask.all()) and "attention_mask" in signature(reader.forward).parameters:
        taken["attention_mask"] = mask
    return reader(**taken, **options)


def _sound_encoder(model: Any) -> Any:
    return model.get_encoder() if model.config.is_encoder_decoder else model


def _mean_frames(model: Any, hidden: Tensor, inputs: Inputs) -> Tensor:
    """Mean of frames (b, T, D), those of padding left out; of a map over its cells."""
    mask = inputs.get("attention_mask")
    if hidden.ndim != 3 or mask is None:
        return average(hidden)
    places = torch.arange(hidden.shape[1], device=hidden.device)
    frames = (places < _count_frames(model, mask, hidden.shape[1])[:, None]).to(hidden.dtype)
    return torch.einsum("btd,bt->bd", hidden, frames) / frames.sum(1, keepdim=True)


def _count_frames(model: Any, mask: Tensor, total: int) -> Tensor:
    """How many of `total` frames each row has, int64 (b,), by the mask of its samples or of its spectrogram."""
    lengths = mask.sum(1)
    counting = (getattr(module, "_get_feat_extract_output_lengths", None) for module in model.modules())
    count = next(filter(None, counting), None)
    if count is not None and int(count(torch.tensor(mask.shape[1]))) == total:
        # Some families count a tensor of lengths, others one length.
        frames = torch.stack([torch.as_tensor(count(length)) for length in lengths]).to(mask.device)
    else:
        frames = torch.ceil(lengths * (total / mask.shape[1]))
    return frames.long().clamp(1, total)


def _sound(summary: str, layer_summary: str, run: Callable[..., Any] = _call_sound) -> Pooling:
    """The mean of the last layer's frames, and of each hidden layer's."""

    def features(model: Any, inputs: Inputs) -> Tensor:
        return _mean_frames(model, run(model, inputs).last_hidden_state, inputs)

    def layers(model: Any, inputs: Inputs) -> Layered:
        outputs = run(model, inputs, output_hidden_states=True)
        last = _mean_frames(model, outputs.last_hidden_state, inputs)
        return last, [_mean_frames(model, hidden, inputs) for hidden in _states(model, outputs)]

    return Pooling(summary, features, layers, layer_summary, run=run)


def _two_tokens(hidden: Tensor, inputs: Inputs) -> Tensor:
    """Mean of the class token and the distillation token, which AST classifies by."""
    return hidden[:, :2].mean(1)


# --- states of several tokens of a text, for pairs of texts ------------------------------------------------

States = Callable[[Any, Inputs], Tensor]
"""A model and a batch to token states (b, T, D)."""


def _last_states(run: Callable[..., Any]) -> States:
    return lambda model, inputs: run(model, inputs).last_hidden_state


def sum_runs(hidden: Tensor, runs: Tensor) -> Tensor:
    """Sum and number of the tokens (b, T, D) of runs (start, end), int64 (b, S, 2); float32 (b, S, D + 1)."""
    start, stop = runs.unbind(2)
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    marks = ((positions >= start[..., None]) & (positions < stop[..., None])).float()
    return torch.cat([marks @ hidden, marks.sum(2, keepdim=True)], dim=2)


def marked_mean(hidden: Tensor, marks: Tensor) -> Tensor:
    """Mean of the tokens of float32 (b, T, D) that are marked by 1 in float32 (b, T), (b, D); 0 where none is."""
    return torch.einsum("btd,bt->bd", hidden, marks) / marks.sum(1, keepdim=True).clamp_min(1)


# --- the table --------------------------------------------------------------------------------------------

_CLASSIFIER = "pooled output (input of the classifier)"
_CLS = "first token (CLS) of the last layer"
_TOKENS = "mean of its tokens or map"
_LAST_MASKED = "mean of the last layer's tokens, padding left out"
_MASKED = "mean of its tokens, padding left out"
_FRAMES = "mean of the last layer's frames, padding left out"
_FRAMES_OF_LAYER = "mean of its frames, padding left out"
_CAPTION = "mean of the image encoder's tokens, and the decoder's state at the start token"

POOLINGS: dict[str, Pooling] = {
    "pooler_output": _pooling(_CLASSIFIER, _pooler, average, _TOKENS),
    "timm": Pooling(
        _CLASSIFIER,
        _pooler_features,
        _timm_layers,
        "its class token where the family classifies by it, else the mean of its map",
    ),
    "torchvision": Pooling(_CLASSIFIER, _pooler_features),
    "unmasked_pooler_output": _pooling(
        "pooled output", _pooler, lambda hidden, inputs: hidden[:, -1], "its last token", _call_unmasked
    ),
    "cls_token": _pooling(_CLS, _of_last(_first_token), _first_token, "its first token (CLS)"),
    # Only the last of several stages has a class token.
    "late_cls_token": _pooling(_CLS, _of_last(_first_token), average, "mean of its tokens"),
    "spatial_mean": _pooling("mean of the last layer's tokens or map", _of_last(average), average, _TOKENS),
    "image_fallback": _fallback(
        "get_image_features",
        _pooling("pooled output, or the mean of tokens or map", _pooled_or_average, average, _TOKENS),
    ),
    "masked_mean": _pooling(_LAST_MASKED, _of_last(masked_mean), masked_mean, _MASKED),
    "masked_max": _pooling(
        "maximum of the last layer's tokens, padding left out",
        _of_last(_masked_max),
        _masked_max,
        "maximum of its tokens, padding left out",
    ),
    "last_token": _pooling("last token of the last layer", _of_last(_last_token), _last_token, "its last token"),
    "encoder_masked_mean": _pooling(
        "mean of the encoder's last tokens, padding left out",
        _of_last(masked_mean),
        masked_mean,
        _MASKED,
        _call_encoder,
    ),
    "text_embeds": _pooling(
        "projected text embedding", lambda outputs, inputs: outputs.text_embeds, _last_token, "its last token"
    ),
    "clap_text": _pooling(
        "projected text embedding", lambda outputs, inputs: outputs.text_embeds, _first_token, "its first token (CLS)"
    ),
    "text_fallback": _fallback(
        "get_text_features", _pooling(_LAST_MASKED, _of_last(masked_mean), masked_mean, _MASKED, _call_text)
    ),
    "frames": _sound(_FRAMES, _FRAMES_OF_LAYER),
    "ast": _pooling(_CLASSIFIER, _pooler, _two_tokens, "mean of its class and distillation tokens", _call_sound),
    "clap_audio": _pooling(
        "pooled output before the projection",
        _pooler,
        average,
        "mean of its map",
        lambda model, inputs, **options: model.audio_model(
            **{name: tensor for name, tensor in inputs.items() if name != "attention_mask"}, **options
        ),
    ),
    "sound_fallback": _fallback("get_audio_features", _sound(_FRAMES, _FRAMES_OF_LAYER)),
    "captioner_cross_attention": _captioner(_CAPTION, _read_encoder_decoder),
    "captioner_blip": _captioner(_CAPTION, _read_blip),
    "captioner_git": _captioner(
        "mean of the projected image tokens, and the decoder's state at the start token", _read_git
    ),
}


STATES: dict[str, States] = {
    "question_context": _last_states(_call),
    "encoder_question_context": _last_states(_call_encoder),
    "question_context_fallback": _last_states(_call_text),
}


def find_states(name: str) -> States:
    """An entry of `STATES`, or a function of another package: "package.module:NAME"."""
    if ":" not in name:
        return STATES[name]
    states = by_reference(name)
    if not callable(states):
        raise EmmsError(f"{name} is of type {type(states).__name__}, no function to token states")
    return states


def find_pooling(name: str) -> Pooling:
    """An entry of `POOLINGS`, or the `Pooling` of another package: "package.module:NAME"."""
    if ":" not in name:
        return POOLINGS[name]
    pooling = by_reference(name)
    if not isinstance(pooling, Pooling):
        raise EmmsError(f"{name} is of type {type(pooling).__name__}, not {Pooling.__module__}.Pooling")
    return pooling


def states_at_places(pooling: Pooling) -> Pooling:
    """What a pooling pools, not pooled: the states at inputs["places"], int64 (b, S), as rows, (b * S, D).

    Rows of places that are −1 mean nothing.
    """

    def split(inputs: Inputs) -> tuple[Inputs, Callable[[Tensor], Tensor]]:
        places = inputs["places"].clamp_min(0)
        rows = torch.arange(len(places), device=places.device)[:, None]
        others = {name: tensor for name, tensor in inputs.items() if name != "places"}
        return others, lambda hidden: hidden[rows, places].flatten(0, 1)

    def features(model: Any, inputs: Inputs) -> Tensor:
        others, take = split(inputs)
        return take(pooling.run(model, others).last_hidden_state)

    def layers(model: Any, inputs: Inputs) -> Layered:
        others, take = split(inputs)
        outputs = pooling.run(model, others, output_hidden_states=True)
        return take(outputs.last_hidden_state), [take(hidden) for hidden in _states(model, outputs)]

    return Pooling(
        "the last layer's state of each word's first token", features, layers, "the state of each word's first token"
    )


def token_states(name: str) -> States:
    """The states of the last layer of what a pooling pools; `name` as for `find_pooling`."""
    return _last_states(find_pooling(name).run)


# --- features of several layers ---------------------------------------------------------------------------

# What every checkpoint has; without hidden layers "spread" is the last one alone.
_ALWAYS = (LAST, SPREAD)


class LayerReader:
    """Features of several layers from one forward, each scaled to length one if `normalise`.

    "last" is the feature of the table of architectures. "spread", the default, puts the first and the middle hidden
    layer in front of it: full fine-tuning changes every layer (docs/quality.md). "mean" is the average over hidden
    layers, "N" the N-th of them (1 is the first, -1 the last, 0 the input of the first where the family shows it).

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
    plan = loaded.plan
    pooling = find_pooling(loaded.pooling)
    if plan.dense:
        pooling = _followed_by(getattr(loaded.model, DENSE), pooling)
    return LayerReader(pooling, plan.architecture.first_layer, layers, normalise=plan.normalise)


def _followed_by(dense: torch.nn.Module, pooling: Pooling) -> Pooling:
    """A pooling whose feature goes through the layers that sentence-transformers puts behind it."""

    def layers(model: Any, inputs: Inputs) -> Layered:
        if pooling.layers is None:
            raise no_layers(model)
        last, states = pooling.layers(model, inputs)
        return dense(last), states

    return replace(
        pooling,
        summary=f"{pooling.summary}, and the Dense layers behind it",
        features=lambda model, inputs: dense(pooling.features(model, inputs)),
        layers=layers,
    )


class JoinedLayers:
    """The layers of a checkpoint whose features join two inputs, which has no hidden ones.

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
        return dict.fromkeys(self._layers, slice(0, width))

    def describe(self, layer: str) -> str:
        return self._summary


def spread(hidden: int) -> tuple[int, ...]:
    """The layers of "spread" besides the last, of a checkpoint with so many: the first and the middle, (1, 7) of 12."""
    return tuple(number for number in dict.fromkeys((1, hidden // 2 + 1)) if number < hidden)


def pick(layer: str, last: Tensor, states: Sequence[Tensor], first: int) -> Tensor:
    """The feature of one layer other than "spread", (b, D).

    It is `last`, (b, D1), or made of the hidden states as the model lists them, (b, D) each; widths may differ. `first`
    of them is the first hidden layer (1 after an embedding, else 0).

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
