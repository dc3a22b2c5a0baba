"""Features of a picture and a text from models that read the text together with the picture.

What of the picture does not depend on the text is computed once a picture. The heads that a model answers with are
not used: fine-tuning for other answers replaces them.

What becomes the feature row of a picture and a text, family by family.

The label (an answer, a box) is never an input: a model sees the picture and the question or expression, and nothing
that was written about the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import BaseModelOutput

from hf_emms.errors import EmmsError
from hf_emms.features import towers
from hf_emms.features.device import Inputs
from hf_emms.features.pooling import mean_over
from hf_emms.features.towers import SHARPNESS
from hf_emms.plugins import by_reference

# --- ViLT -------------------------------------------------------------------------------------------------


def vilt_picture(model: Any, pixels: Tensor) -> Tensor:
    """Embedded patches behind their CLS token, (b, 1 + patches, D)."""
    mask = torch.ones_like(pixels[:, 0], dtype=torch.int64)
    embedded, _, (places, (_, width)) = model.embeddings.visual_embed(pixels, mask, max_image_length=-1)
    # ViLT draws patches in a random order: put back, features are the same on every run.
    order = (places[..., 0] * width + places[..., 1]).argsort(1)
    patches = embedded[:, 1:].take_along_dim(order[..., None], 1)
    return torch.cat([embedded[:, :1], patches], dim=1)


def vilt(model: Any, inputs: Inputs) -> Tensor:
    """[CLS; mean of the question's tokens; mean of the picture's tokens], all after both have met."""
    tokens, picture = inputs["attention_mask"], inputs["picture"]
    hidden = model(
        input_ids=inputs["input_ids"],
        attention_mask=tokens,
        image_embeds=picture,
        pixel_mask=torch.ones_like(picture[..., 0], dtype=torch.int64),
    ).last_hidden_state
    read, seen = hidden.split([tokens.shape[1], picture.shape[1]], dim=1)
    return torch.cat([hidden[:, 0], mean_over(read, inputs), seen[:, 1:].mean(1)], dim=1)


# --- BLIP -------------------------------------------------------------------------------------------------


def blip_picture(model: Any, pixels: Tensor) -> Tensor:
    tokens: Tensor = model.vision_model(pixel_values=pixels).last_hidden_state
    return tokens


def blip(model: Any, inputs: Inputs) -> Tensor:
    """[mean of the question's tokens, which attend to the picture; mean of the picture's tokens]."""
    picture = inputs["picture"]
    read = model.text_encoder(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        encoder_hidden_states=picture,
        encoder_attention_mask=torch.ones_like(picture[..., 0], dtype=torch.int64),
    ).last_hidden_state
    return torch.cat([mean_over(read, inputs), picture.mean(1)], dim=1)


# --- GIT --------------------------------------------------------------------------------------------------


class GivenTokens(nn.Module):
    """Stands where GIT encodes a picture, and passes on tokens that were computed before."""

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=pixel_values[:, 0])


def git_prepared(model: Any) -> None:
    """Moves GIT's image encoder out of its forward, so that it runs once a picture."""
    model.own_image_encoder = model.image_encoder
    model.image_encoder = GivenTokens()


def git_picture(model: Any, pixels: Tensor) -> Tensor:
    tokens: Tensor = model.own_image_encoder(pixels).last_hidden_state
    return tokens


def git(model: Any, inputs: Inputs) -> Tensor:
    """[last token of the question; mean of its tokens; mean of the projected picture].

    The question follows the picture, without the token that would end it: the answer comes next.
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    lengths = mask.sum(1, keepdim=True)
    last = lengths - 1
    ended = (ids.gather(1, last) == model.config.eos_token_id) & (lengths > 1)
    last = last - ended.long()
    read_mask = (torch.arange(ids.shape[1], device=ids.device) <= last).long()
    outputs = model(
        input_ids=ids, attention_mask=mask, pixel_values=inputs["picture"][:, None], output_hidden_states=True
    )
    seen, read = outputs.last_hidden_state.split([inputs["picture"].shape[1], ids.shape[1]], dim=1)
    final = read.take_along_dim(last[..., None], 1)[:, 0]
    projected = outputs.hidden_states[0][:, : seen.shape[1]].mean(1)
    return torch.cat([final, mean_over(read, {"attention_mask": read_mask}), projected], dim=1)


# --- Grounding DINO ---------------------------------------------------------------------------------------


def whole_picture(model: Any, pixels: Tensor) -> Tensor:
    """The pixels themselves, of models whose layers all see the text."""
    return pixels


def as_phrase(text: str) -> str:
    """An expression as Grounding DINO was trained on: lower case, a full stop at the end."""
    return f"{text.strip().rstrip('.').lower()}."


def grounding_dino(model: Any, inputs: Inputs) -> Tensor:
    """[expected state; expected box] of the decoder's queries, weighted by their best logit for the text.

    The box head is part of what a detector learned and keeps when it is fine-tuned, so its boxes count as features.
    """
    outputs = model(
        pixel_values=inputs["picture"], input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
    )
    weights = (SHARPNESS * outputs.logits.float().amax(2)).softmax(1).to(outputs.pred_boxes.dtype)
    expected = [torch.einsum("bqd,bq->bd", part, weights) for part in (outputs.last_hidden_state, outputs.pred_boxes)]
    return torch.cat(expected, dim=1)


Encode = Callable[[Any, Tensor], Tensor]
_WHERE = f"averaged to at most {towers.GRID} × {towers.GRID}"


@dataclass(frozen=True)
class Towers:
    """Pictures and texts are read apart and joined at the end.

    Attributes:
        summary: what the row is, in words.
        text_part: the submodule that reads texts; "" is the model itself.
        picture: pixel values (b, 3, H, W) to what is kept of each picture (b, …).
        text: token ids and mask (b, T) to what is kept of each text (b, E).
        join: what is kept of r pictures and of r texts to rows (r, D1).
    """

    summary: str
    text_part: str
    picture: Encode
    text: Callable[[Any, Inputs], Tensor]
    join: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Fused:
    """The text is read together with the picture.

    Attributes:
        summary: what the row is, in words.
        text_part: the submodule that reads texts; "" is the model itself.
        picture: pixel values (b, 3, H, W) to what is kept of each picture (b, …).
        fuse: `{"picture", "input_ids", "attention_mask"}` of r pairs to rows (r, D1).
        prepare: changes the model once after loading.
        phrase: a text as the family was trained to read it.
    """

    summary: str
    text_part: str
    picture: Encode
    fuse: Callable[[Any, Inputs], Tensor]
    prepare: Callable[[Any], None] = lambda model: None
    phrase: Callable[[str], str] = str


_JOINED = (
    "picture, text and their product, each embedding projected and scaled to length one, "
    f"and the cosines of the text with the projected patches, {_WHERE}"
)
_OWL = (
    "class embedding and box of the patches, weighted by the text's logits, the text, its product with the class "
    f"embedding, and the map of logits, {_WHERE}"
)

FUSIONS: dict[str, Towers | Fused] = {
    "two_towers": Towers(_JOINED, "text_model", towers.picture_embedding, towers.text_embedding, towers.joined),
    "unmasked_two_towers": Towers(
        _JOINED, "text_model", towers.picture_embedding, towers.unmasked_text_embedding, towers.joined
    ),
    "owlvit": Towers(_OWL, "owlvit.text_model", towers.owl_picture, towers.owl_text, towers.owl_joined),
    "owlv2": Towers(_OWL, "owlv2.text_model", towers.owl_picture, towers.owl_text, towers.owl_joined),
    "vilt": Fused(
        "first token (CLS), mean of the text's tokens and mean of the picture's, after all layers",
        "",
        vilt_picture,
        vilt,
    ),
    "blip": Fused(
        "mean of the text's tokens, which attend to the picture, and mean of the picture's tokens",
        "text_encoder",
        blip_picture,
        blip,
    ),
    "git": Fused(
        "last token of the text behind the picture, mean of the text's tokens, and mean of the projected picture",
        "",
        git_picture,
        git,
        git_prepared,
    ),
    "grounding_dino": Fused(
        "state and box of the decoder's queries, weighted by their best logit for the text",
        "model.text_backbone",
        whole_picture,
        grounding_dino,
        phrase=as_phrase,
    ),
}


def find_fusion(name: str) -> Towers | Fused:
    """An entry of `FUSIONS`, or the `Towers` or `Fused` of another package: "package.module:NAME".

    Raises:
        EmmsError: there is none of this name.
    """
    if ":" not in name:
        return FUSIONS[name]
    found = by_reference(name)
    if not isinstance(found, Towers | Fused):
        raise EmmsError(f"{name} is of type {type(found).__name__}, neither Towers nor Fused of {__name__}")
    return found
