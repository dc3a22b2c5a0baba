"""Reduce the token states (b, T, D) or the map (b, D, H, W) of a layer to rows (b, D)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from hf_emms.features.device import Inputs


def average(hidden: Tensor, inputs: Inputs | None = None) -> Tensor:
    """Return the mean of all tokens, or of the cells of a map."""
    return hidden.mean((2, 3)) if hidden.ndim == 4 else hidden.mean(1)


def masked_mean(hidden: Tensor, inputs: Inputs) -> Tensor:
    """Return the mean of the tokens with mask 1, or 0 if there are none."""
    return marked_mean(hidden, inputs["attention_mask"].to(hidden.dtype))


def first_token(hidden: Tensor, inputs: Inputs) -> Tensor:
    """Return the first token; of texts the first whose mask is 1."""
    mask = inputs.get("attention_mask")
    if mask is None:
        return hidden[:, 0]
    return hidden[torch.arange(len(hidden), device=hidden.device), mask.int().argmax(1)]


def last_token(hidden: Tensor, inputs: Inputs) -> Tensor:
    """Return the last token whose mask is 1."""
    places = torch.arange(hidden.shape[1], device=hidden.device)
    last = (inputs["attention_mask"] * places).argmax(1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def two_tokens(hidden: Tensor, inputs: Inputs) -> Tensor:
    """Return the mean of the class and the distillation token, which AST classifies."""
    return hidden[:, :2].mean(1)


def mean_frames(model: Any, hidden: Tensor, inputs: Inputs, outputs: Any = None) -> Tensor:
    """Return the mean of the frames of sound (b, T, D) without padding, or of the cells of a map.

    Some families return the mask of their frames in `outputs`. The frames of others are counted.
    """
    mask = inputs.get("attention_mask")
    if hidden.ndim != 3 or mask is None:
        return average(hidden)
    is_sound = getattr(outputs, "attention_mask", None)
    if is_sound is None or is_sound.shape != hidden.shape[:2]:
        places = torch.arange(hidden.shape[1], device=hidden.device)
        is_sound = places < _count_frames(model, mask, hidden.shape[1])[:, None]
    frames = is_sound.to(hidden.dtype)
    return torch.einsum("btd,bt->bd", hidden, frames) / frames.sum(1, keepdim=True)


def _count_frames(model: Any, mask: Tensor, total: int) -> Tensor:
    """Return how many of `total` frames of each row are sound, int64 (b,), by the mask of samples or spectrogram."""
    lengths = mask.sum(1)
    counting = (getattr(module, "_get_feat_extract_output_lengths", None) for module in model.modules())
    count = next(filter(None, counting), None)
    if count is not None and int(count(torch.tensor(mask.shape[1]))) == total:
        # Some families count a tensor of lengths, others a single length.
        frames = torch.stack([torch.as_tensor(count(length)) for length in lengths]).to(mask.device)
    else:
        frames = -(-lengths * total // mask.shape[1])
    return frames.long().clamp(1, total)


def run_means(hidden: Tensor, runs: Tensor) -> Tensor:
    """Return the mean of each run of tokens.

    Tokens are (b, T, D), runs (start, end) int64 (b, S, 2), and means float32 (b, S, D).
    """
    start, stop = runs.unbind(2)
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    marks = ((positions >= start[..., None]) & (positions < stop[..., None])).float()
    return marks @ hidden / marks.sum(2, keepdim=True).clamp_min(1)


def marked_mean(hidden: Tensor, marks: Tensor) -> Tensor:
    """Return the mean (b, D) of the tokens (b, T, D), weighted by their marks (b, T); 0 without a mark."""
    return torch.einsum("btd,bt->bd", hidden, marks) / marks.sum(1, keepdim=True).clamp_min(1)
