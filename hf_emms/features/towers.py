"""Features of a picture and a text from models that read each in a tower of its own: CLIP and its kin, OWL-ViT.

A tower reads each distinct picture and each distinct text once; what a picture leaves behind is small enough to be
kept beside the batch, and rows are joined from it. The map of similarities says where in the picture the text is,
which the two embeddings alone cannot: a box needs it.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from hf_emms.features.device import Inputs
from hf_emms.features.pooling import pooled_or_tensor

GRID = 7  # cells a side of a map, at most: the final map of a CNN at 224 pixels; a finer one is averaged
# Logits of detectors are weighed by softmax(4 × logit): at 1 the hundreds of patches or queries that fit badly would
# together outweigh the one that fits.
SHARPNESS = 4
_MOST_PREFIX = 8  # tokens in front of the patches: CLS and registers


# --- CLIP, SigLIP, dual encoders, and whatever embeds both kinds in one space -----------------------------


def picture_embedding(model: Any, pixels: Tensor) -> Tensor:
    """The picture in the space of both towers, and its patches there, all of length one: (b, 1 + cells, E)."""
    outputs = model.get_image_features(pixel_values=pixels)
    whole = normalize(pooled_or_tensor(outputs), dim=1)[:, None]
    patches = projected_patches(model, getattr(outputs, "last_hidden_state", None))
    if patches is None or patches.shape[1] != whole.shape[2]:
        return whole
    cells = pooled_map(normalize(patches, dim=1)).flatten(2).transpose(1, 2)
    return torch.cat([whole, cells], dim=1)


def text_embedding(model: Any, inputs: Inputs) -> Tensor:
    """The text in the space of both towers, of length one."""
    return normalize(pooled_or_tensor(model.get_text_features(**inputs)), dim=1)


def unmasked_text_embedding(model: Any, inputs: Inputs) -> Tensor:
    """As `text_embedding`, of families that were trained without an attention mask."""
    return text_embedding(model, {"input_ids": inputs["input_ids"]})


def joined(pictures: Tensor, texts: Tensor) -> Tensor:
    """[picture; text; product; cosines of the cells with the text] of pictures (r, 1 + cells, E) and texts (r, E)."""
    whole = pictures[:, 0]
    cosines = torch.einsum("rce,re->rc", pictures[:, 1:], texts)
    return torch.cat([whole, texts, whole * texts, cosines], dim=1)


def projected_patches(model: Any, hidden: Tensor | None) -> Tensor | None:
    """Each patch as if it were the whole picture, (b, E, h, w): the tower's pooling and projection of it alone.

    None where the tokens make no square, or the model gives none.
    """
    tower = getattr(model, "vision_model", None)
    grid = None if hidden is None or tower is None else _grid(hidden)
    if grid is None:
        return None
    cells = _pooled_alone(tower, grid.flatten(2).transpose(1, 2))
    if hasattr(model, "visual_projection"):
        cells = model.visual_projection(cells)
    return cells.transpose(1, 2).unflatten(2, grid.shape[2:])


def pooled_map(grid: Tensor) -> Tensor:
    """A map (b, C, h, w) averaged down to at most GRID cells a side."""
    height, width = grid.shape[2:]
    return adaptive_avg_pool2d(grid, (min(GRID, height), min(GRID, width)))


def _grid(hidden: Tensor) -> Tensor | None:
    """Tokens (b, T, D) or a map (b, D, h, w) as a map; tokens in front of the patches are left out."""
    if hidden.ndim == 4:
        return hidden
    side = isqrt(hidden.shape[1])
    prefix = hidden.shape[1] - side * side
    if prefix > _MOST_PREFIX:
        return None
    return hidden[:, prefix:].transpose(1, 2).unflatten(2, (side, side))


def _pooled_alone(tower: Any, tokens: Tensor) -> Tensor:
    """What the tower's pooling makes of each token (b, T, D) alone."""
    pooler = getattr(tower, "head", None) or getattr(tower, "pooler", None)
    if pooler is None:
        # CLIP normalises the token that it pools, and no other.
        return tower.post_layernorm(tokens) if hasattr(tower, "post_layernorm") else tokens
    if hasattr(pooler, "attention") or hasattr(pooler, "dense"):
        # SigLIP's attention pooling and the pooler of ViT and BERT read sequences: here sequences of one.
        return pooler(tokens.reshape(-1, 1, tokens.shape[2])).reshape(len(tokens), tokens.shape[1], -1)
    return tokens  # an average has nothing to do


# --- OWL-ViT and OWLv2 ------------------------------------------------------------------------------------


def owl_picture(model: Any, pixels: Tensor) -> Tensor:
    """What the detector says of each patch before any text: (b, patches, E + 6).

    Its class embedding of length one, the shift and the scale of its logit, and its box (cx, cy, w, h).
    """
    grid, _ = model.image_embedder(pixel_values=pixels)
    patches = grid.flatten(1, 2)
    head = model.class_head
    return torch.cat(
        [
            normalize(head.dense0(patches), dim=2),
            head.logit_shift(patches),
            head.elu(head.logit_scale(patches)) + 1,
            model.box_predictor(patches, grid),
        ],
        dim=2,
    )


def owl_text(model: Any, inputs: Inputs) -> Tensor:
    """The query's embedding, of length one."""
    return text_embedding(model.owlvit if hasattr(model, "owlvit") else model.owlv2, inputs)


def owl_joined(pictures: Tensor, texts: Tensor) -> Tensor:
    """[expected class embedding; text; product; expected box; map of logits] weighted by the text's logits.

    The box head is part of what a detector learned and keeps when it is fine-tuned, so its boxes count as features.
    """
    classes, shift, scale, boxes = pictures.split([texts.shape[1], 1, 1, 4], dim=2)
    logits = (torch.einsum("rpe,re->rp", classes, texts) + shift[..., 0]) * scale[..., 0]
    weights = (SHARPNESS * logits).softmax(1)
    seen = torch.einsum("rpe,rp->re", classes, weights)
    box = torch.einsum("rpe,rp->re", boxes, weights)
    side = isqrt(logits.shape[1])
    where = pooled_map(logits.unflatten(1, (1, side, -1))).flatten(1)
    return torch.cat([seen, texts, seen * texts, box, where], dim=1)
