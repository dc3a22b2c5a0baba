"""Tiny checkpoints that read an image and a text, made from their configurations with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers.tiny_checkpoints import (
    EFFICIENTNET,
    ENDS,
    IMAGE_MODELS,
    TEXT,
    VISION,
    T,
    checkpoint,
    processor,
    tiny,
    tokenizer,
)

# Images keep their aspect ratio, as with the real processors.
PROCESSORS = {
    "vilt": lambda: T.ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=8),
    **dict.fromkeys(
        ("grounding-dino", "mm-grounding-dino"),
        lambda: T.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}),
    ),
}


def build_pair(root: Path, name: str) -> Path:
    """Return the folder of a tiny checkpoint, created once in `root`."""
    return checkpoint(
        root / "pairs" / name, PAIR_MODELS[name], partial(tokenizer, name), PROCESSORS.get(name, processor)
    )


def _dual(vision: Any) -> Any:
    text = tiny("BertModel", **TEXT)()
    config = T.VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, projection_dim=12)
    return T.VisionTextDualEncoderModel(config, vision, text)


_CLIP_TEXT = {**TEXT, **ENDS, "max_position_embeddings": 16}
_OWL: dict[str, Any] = {"text_config": _CLIP_TEXT, "vision_config": VISION, "projection_dim": 16}
_BLIP: dict[str, Any] = {
    "text_config": {**TEXT, "bos_token_id": 1, "encoder_hidden_size": 16}, "vision_config": VISION,
    "projection_dim": 12, "image_text_hidden_size": 12,
}  # fmt: skip
_META_TEXT = {**TEXT, "eos_token_id": 2}
TWO_TOWERS: dict[str, Callable[[], Any]] = {
    "clip": IMAGE_MODELS["clip"],
    "siglip": IMAGE_MODELS["siglip"],
    "dual-clip": lambda: _dual(tiny("CLIPVisionModel", **VISION)()),
    "dual-vit": lambda: _dual(tiny("ViTModel", **VISION)()),
    "dual-swin": lambda: _dual(IMAGE_MODELS["swin"]()),
    # Not in the table of architectures, so the fallback applies.
    "metaclip_2": tiny("MetaClip2Model", text_config=_META_TEXT, vision_config=VISION, projection_dim=12),
    "align": tiny("AlignModel", text_config=TEXT, vision_config={"hidden_dim": 16, **EFFICIENTNET}, projection_dim=16),
}
DETECTORS: dict[str, Callable[[], Any]] = {
    "owlvit": tiny("OwlViTForObjectDetection", **_OWL),
    "owlv2": tiny("Owlv2ForObjectDetection", **_OWL),
}
_DINO_SWIN = {
    "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1], "num_heads": [2, 2, 2], "window_size": 2,
    "out_indices": [2, 3],
}  # fmt: skip


def _grounding_dino(name: str) -> Any:
    return tiny(
        name,
        backbone_config=T.SwinConfig(**_DINO_SWIN),
        text_config={"model_type": "bert", **TEXT},
        d_model=32,
        encoder_layers=1,
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=32,
        decoder_attention_heads=2,
        num_feature_levels=3,
        num_queries=12,
        max_text_len=40,
    )()


FUSED: dict[str, Callable[[], Any]] = {
    "vilt": tiny("ViltForQuestionAnswering", **{**TEXT, **VISION}, num_labels=3),
    "blip-vqa": tiny("BlipForQuestionAnswering", **_BLIP),
    "blip-itm": tiny("BlipForImageTextRetrieval", **_BLIP),
    "git": tiny("GitForCausalLM", vision_config=VISION, **ENDS, **TEXT),
    "grounding-dino": partial(_grounding_dino, "GroundingDinoForObjectDetection"),
    "mm-grounding-dino": partial(_grounding_dino, "MMGroundingDinoForObjectDetection"),
}
PAIR_MODELS = {**TWO_TOWERS, **DETECTORS, **FUSED}
