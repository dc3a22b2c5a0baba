"""Features of an image with a text, for each family of vision-language models.

Everything that does not depend on the text is computed once for each image. The label (an answer, a box) is never an
input, and heads for answers are not used: fine-tuning for other answers replaces them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize
from transformers.modeling_outputs import BaseModelOutput

from hf_emms.features.device import Inputs
from hf_emms.features.pooling import pooled_or_tensor
from hf_emms.features.reductions import masked_mean
from hf_emms.options.registry import entry_or_reference

GRID = 7  # cells a side of a map, at most: the final map of a CNN at 224 pixels; a finer map is averaged
# Detectors' logits are weighted by softmax(4 × logit): at 1 the hundreds of patches or queries that fit badly would
# together outweigh the best.
SHARPNESS = 4
_MAX_PREFIX = 8  # tokens before the patches: CLS and registers


@dataclass(frozen=True)
class Towers:
    """A family with separate models for images and for texts, whose features are joined at the end.

    Attributes:
        summary: Describes the feature row.
        text_part: The submodule that reads texts; "" is the model itself.
        encode_image: Model and pixel values (b, 3, H, W) to an encoding of each image (b, …).
        embed_text: Model, token ids and mask (b, T) to an embedding of each text (b, E).
        join: Encodings of r images and embeddings of r texts to rows (r, D1).
    """

    summary: str
    text_part: str
    encode_image: Callable[[Any, Tensor], Tensor]
    embed_text: Callable[[Any, Inputs], Tensor]
    join: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Fused:
    """A family whose model reads image and text together. For other attributes see `Towers`.

    Attributes:
        fuse: Model and `{"image", "input_ids", "attention_mask"}` of r pairs to rows (r, D1).
        adapt: Changes the model after loading.
        phrase: Returns a text as in the family's training.
    """

    summary: str
    text_part: str
    encode_image: Callable[[Any, Tensor], Tensor]
    fuse: Callable[[Any, Inputs], Tensor]
    adapt: Callable[[Any], None] = lambda model: None
    phrase: Callable[[str], str] = str


# --- two towers: CLIP, SigLIP, dual encoders, any model with a common space; OWL-ViT and OWLv2 -------------


def image_embedding(model: Any, pixels: Tensor) -> Tensor:
    """Return image and cells of patches in the space that texts share, all of unit length: (b, 1 + cells, E)."""
    outputs = model.get_image_features(pixel_values=pixels)
    whole = normalize(pooled_or_tensor(outputs), dim=1)[:, None]
    patches = projected_patches(model, getattr(outputs, "last_hidden_state", None))
    if patches is None or patches.shape[1] != whole.shape[2]:
        return whole
    cells = shrink_map(normalize(patches, dim=1)).flatten(2).transpose(1, 2)
    return torch.cat([whole, cells], dim=1)


def text_embedding(model: Any, inputs: Inputs) -> Tensor:
    """Return the text in the space that images share, of unit length: (b, E)."""
    return normalize(pooled_or_tensor(model.get_text_features(**inputs)), dim=1)


def unmasked_text_embedding(model: Any, inputs: Inputs) -> Tensor:
    """Return the `text_embedding` of families that were trained without an attention mask."""
    return text_embedding(model, {"input_ids": inputs["input_ids"]})


def join_embeddings(images: Tensor, texts: Tensor) -> Tensor:
    """Join features to [image; text; product; cosines of image cells with the text], (r, 3·E + cells).

    The map of cosines says where in the image the text is, which boxes need and the embeddings lack.
    """
    whole = images[:, 0]
    cosines = torch.einsum("rce,re->rc", images[:, 1:], texts)
    return torch.cat([whole, texts, whole * texts, cosines], dim=1)


def projected_patches(model: Any, hidden: Tensor | None) -> Tensor | None:
    """Return the image embedding that each patch would have alone, (b, E, h, w).

    Returns None if the model has no patches, or they do not form a square.
    """
    tower = getattr(model, "vision_model", None)
    grid = None if hidden is None or tower is None else _patch_grid(hidden)
    if grid is None:
        return None
    cells = _pool_each(tower, grid.flatten(2).transpose(1, 2))
    if hasattr(model, "visual_projection"):
        cells = model.visual_projection(cells)
    return cells.transpose(1, 2).unflatten(2, grid.shape[2:])


def shrink_map(grid: Tensor) -> Tensor:
    """Average a map (b, C, h, w) to at most GRID cells per side."""
    height, width = grid.shape[2:]
    return adaptive_avg_pool2d(grid, (min(GRID, height), min(GRID, width)))


def _patch_grid(hidden: Tensor) -> Tensor | None:
    """Arrange the patch tokens (b, T, D) as a map (b, D, h, w). None if they form no square."""
    if hidden.ndim == 4:
        return hidden
    side = isqrt(hidden.shape[1])
    prefix = hidden.shape[1] - side * side
    if prefix > _MAX_PREFIX:
        return None
    return hidden[:, prefix:].transpose(1, 2).unflatten(2, (side, side))


def _pool_each(tower: Any, tokens: Tensor) -> Tensor:
    """Apply the pooling of an image model to each token (b, T, D) alone."""
    pooler = getattr(tower, "head", None) or getattr(tower, "pooler", None)
    if pooler is None:
        # CLIP normalizes only the token that it pools.
        return tower.post_layernorm(tokens) if hasattr(tower, "post_layernorm") else tokens
    if hasattr(pooler, "attention") or hasattr(pooler, "dense"):
        # SigLIP's attention pooling and the pooler of ViT and BERT read sequences: here of a single token.
        return pooler(tokens.reshape(-1, 1, tokens.shape[2])).reshape(len(tokens), tokens.shape[1], -1)
    return tokens  # the average of a single token


def owl_image(model: Any, pixels: Tensor) -> Tensor:
    """Return OWL-ViT's features of each patch, before a text is read: (b, patches, E + 6).

    It has a class embedding of unit length, shift and scale of its logit, and a box (cx, cy, w, h).
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
    """Return OWL-ViT's embedding of a text query, scaled to length 1."""
    return text_embedding(model.owlvit if hasattr(model, "owlvit") else model.owlv2, inputs)


def join_owl(images: Tensor, texts: Tensor) -> Tensor:
    """Join OWL-ViT's features of the image with the text, (r, 3·E + 4 + cells).

    Expectations are weighted by the text's logits. A detector keeps its box head when it is fine-tuned, so boxes count
    as features.
    """
    classes, shift, scale, boxes = images.split([texts.shape[1], 1, 1, 4], dim=2)
    logits = (torch.einsum("rpe,re->rp", classes, texts) + shift[..., 0]) * scale[..., 0]
    weights = (SHARPNESS * logits).softmax(1)
    expected = torch.einsum("rpe,rp->re", classes, weights)
    box = torch.einsum("rpe,rp->re", boxes, weights)
    side = isqrt(logits.shape[1])
    cells = shrink_map(logits.unflatten(1, (1, side, -1))).flatten(1)
    return torch.cat([expected, texts, expected * texts, box, cells], dim=1)


# --- read together: ViLT, BLIP, GIT, Grounding DINO -------------------------------------------------------


def vilt_image(model: Any, pixels: Tensor) -> Tensor:
    """Return ViLT's CLS token and embedded patches, (b, 1 + patches, D)."""
    mask = torch.ones(len(pixels), *pixels.shape[2:], dtype=torch.int64, device=pixels.device)
    embedded, _, (cells, (_, width)) = model.embeddings.visual_embed(pixels, mask, max_image_length=-1)
    # ViLT shuffles the patches; sorted again, features are the same on every run.
    order = (cells[..., 0] * width + cells[..., 1]).argsort(1)
    patches = embedded[:, 1:].take_along_dim(order[..., None], 1)
    return torch.cat([embedded[:, :1], patches], dim=1)


def vilt(model: Any, inputs: Inputs) -> Tensor:
    """Return ViLT's features: [CLS; mean of the text's tokens; mean of the image's tokens]."""
    tokens, image = inputs["attention_mask"], inputs["image"]
    hidden = model(
        input_ids=inputs["input_ids"],
        attention_mask=tokens,
        image_embeds=image,
        pixel_mask=torch.ones(image.shape[:2], dtype=torch.int64, device=image.device),
    ).last_hidden_state
    words, patches = hidden.split([tokens.shape[1], image.shape[1]], dim=1)
    return torch.cat([hidden[:, 0], masked_mean(words, inputs), patches[:, 1:].mean(1)], dim=1)


def blip(model: Any, inputs: Inputs) -> Tensor:
    """Return BLIP's features: [mean of the text's tokens; mean of the image's tokens]."""
    image = inputs["image"]
    words = model.text_encoder(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        encoder_hidden_states=image,
        encoder_attention_mask=torch.ones(image.shape[:2], dtype=torch.int64, device=image.device),
    ).last_hidden_state
    return torch.cat([masked_mean(words, inputs), image.mean(1)], dim=1)


class PrecomputedTokens(nn.Module):
    """A replacement for GIT's image encoder that passes on tokens that were computed before."""

    def forward(self, pixel_values: Tensor, **options: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=pixel_values[:, 0])


def adapt_git(model: Any) -> None:
    """Move GIT's image encoder out of its forward, so that it runs once for each image."""
    model.picture_encoder = model.image_encoder
    model.image_encoder = PrecomputedTokens()


def git(model: Any, inputs: Inputs) -> Tensor:
    """Return GIT's features: [last token of the text; mean of its tokens; mean of the image].

    The text follows the image, without the token that would end it: the answer comes next.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    lengths = mask.sum(1, keepdim=True)
    last = lengths - 1
    ended = (ids.gather(1, last) == model.config.eos_token_id) & (lengths > 1)
    last = last - ended.long()
    text_mask = (torch.arange(ids.shape[1], device=ids.device) <= last).long()
    outputs = model(
        input_ids=ids, attention_mask=mask, pixel_values=inputs["image"][:, None], output_hidden_states=True
    )
    patches, words = outputs.last_hidden_state.split([inputs["image"].shape[1], ids.shape[1]], dim=1)
    final = words.take_along_dim(last[..., None], 1)[:, 0]
    projected = outputs.hidden_states[0][:, : patches.shape[1]].mean(1)
    return torch.cat([final, masked_mean(words, {"attention_mask": text_mask}), projected], dim=1)


def as_phrase(text: str) -> str:
    """Return a text as in Grounding DINO's training: lower case, a full stop at the end."""
    return f"{text.strip().rstrip('.').lower()}."


def grounding_dino(model: Any, inputs: Inputs) -> Tensor:
    """Return Grounding DINO's features: the decoder's states and boxes, weighted by how well they fit the text."""
    outputs = model(
        pixel_values=inputs["image"], input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    )
    weights = (SHARPNESS * outputs.logits.float().amax(2)).softmax(1).to(outputs.pred_boxes.dtype)
    expected = [torch.einsum("bqd,bq->bd", part, weights) for part in (outputs.last_hidden_state, outputs.pred_boxes)]
    return torch.cat(expected, dim=1)


# --- the table --------------------------------------------------------------------------------------------

_JOINED = (
    "picture, text and their product, each embedding projected and scaled to length one, "
    f"and the cosines of the text with the projected patches, averaged to at most {GRID} × {GRID}"
)
_OWL = (
    "class embedding and box of the patches, weighted by the text's logits, the text, its product with the class "
    f"embedding, and the map of logits, averaged to at most {GRID} × {GRID}"
)

FUSIONS: dict[str, Towers | Fused] = {
    "two_towers": Towers(_JOINED, "text_model", image_embedding, text_embedding, join_embeddings),
    "unmasked_two_towers": Towers(_JOINED, "text_model", image_embedding, unmasked_text_embedding, join_embeddings),
    "owlvit": Towers(_OWL, "owlvit.text_model", owl_image, owl_text, join_owl),
    "owlv2": Towers(_OWL, "owlv2.text_model", owl_image, owl_text, join_owl),
    "vilt": Fused(
        "first token (CLS), mean of the text's tokens and mean of the picture's, after all layers",
        "",
        vilt_image,
        vilt,
    ),
    "blip": Fused(
        "mean of the text's tokens, which attend to the picture, and mean of the picture's tokens",
        "text_encoder",
        lambda model, pixels: model.vision_model(pixel_values=pixels).last_hidden_state,
        blip,
    ),
    "git": Fused(
        "last token of the text behind the picture, mean of the text's tokens, and mean of the projected picture",
        "",
        lambda model, pixels: model.picture_encoder(pixels).last_hidden_state,
        git,
        adapt_git,
    ),
    "grounding_dino": Fused(
        "state and box of the decoder's queries, weighted by their best logit for the text",
        "model.text_backbone",
        lambda model, pixels: pixels,  # all of its layers see the text
        grounding_dino,
        phrase=as_phrase,
    ),
}


def find_fusion(name: str) -> Towers | Fused:
    """Return an entry of `FUSIONS`, or the `Towers` or `Fused` of another package: "package.module:NAME"."""
    return entry_or_reference(name, FUSIONS, Towers, Fused)
