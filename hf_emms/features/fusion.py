"""What becomes the feature row of a picture and a text, family by family.

The label (an answer, a box) is never an input: a model sees the picture and the question or expression, and nothing
that was written about the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hf_emms.errors import EmmsError
from hf_emms.features import fused, towers
from hf_emms.features.pooling import Inputs
from hf_emms.plugins import by_reference

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
        fused.vilt_picture,
        fused.vilt,
    ),
    "blip": Fused(
        "mean of the text's tokens, which attend to the picture, and mean of the picture's tokens",
        "text_encoder",
        fused.blip_picture,
        fused.blip,
    ),
    "git": Fused(
        "last token of the text behind the picture, mean of the text's tokens, and mean of the projected picture",
        "",
        fused.git_picture,
        fused.git,
        fused.git_prepared,
    ),
    "grounding_dino": Fused(
        "state and box of the decoder's queries, weighted by their best logit for the text",
        "model.text_backbone",
        fused.whole_picture,
        fused.grounding_dino,
        phrase=fused.as_phrase,
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
