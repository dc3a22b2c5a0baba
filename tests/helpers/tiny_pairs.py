"""Tiny real checkpoints that read a picture and a text, made from their configurations with random weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tests.helpers.tiny_checkpoints import IMAGE_MODELS, TEXT, VISION, T, checkpoint, processor, tokenizer

# Pictures keep their shape, as those of the real processors do.
PROCESSORS = {
    "vilt": lambda: T.ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=8),
    "grounding-dino": lambda: T.GroundingDinoImageProcessor(size={"shortest_edge": 64, "longest_edge": 128}),
}
OWL: dict[str, Any] = {
    "text_config": {**TEXT, "max_position_embeddings": 16, "eos_token_id": 2, "bos_token_id": 1},
    "vision_config": VISION,
    "projection_dim": 16,
}


def build_pair(root: Path, name: str) -> Path:
    """The folder of a tiny checkpoint, made once in `root`."""
    return checkpoint(
        root / "pairs" / name, PAIR_MODELS[name], partial(tokenizer, name), PROCESSORS.get(name, processor)
    )


def _dual(vision: Any) -> Any:
    text = T.BertModel(T.BertConfig(**TEXT))
    config = T.VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, projection_dim=12)
    return T.VisionTextDualEncoderModel(config, vision, text)


def _blip_config() -> Any:
    text = {**TEXT, "bos_token_id": 1, "encoder_hidden_size": 16}
    return T.BlipConfig(text_config=text, vision_config=VISION, projection_dim=12, image_text_hidden_size=12)


TWO_TOWERS = {
    "clip": IMAGE_MODELS["clip"],
    "siglip": IMAGE_MODELS["siglip"],
    "dual-clip": lambda: _dual(T.CLIPVisionModel(T.CLIPVisionConfig(**VISION))),
    "dual-vit": lambda: _dual(T.ViTModel(T.ViTConfig(**VISION))),
    "dual-swin": lambda: _dual(IMAGE_MODELS["swin"]()),
    # No row in the table: the fallback.
    "metaclip_2": lambda: T.MetaClip2Model(
        T.MetaClip2Config(text_config={**TEXT, "eos_token_id": 2}, vision_config=VISION, projection_dim=12)
    ),
    "align": lambda: T.AlignModel(
        T.AlignConfig(
            text_config=TEXT,
            vision_config={
                "image_size": 32,
                "width_coefficient": 1.0,
                "depth_coefficient": 1.0,
                "hidden_dim": 16,
                "num_block_repeats": [1, 1],
                "expand_ratios": [1, 2],
                "kernel_sizes": [3, 3],
                "in_channels": [32, 8],
                "out_channels": [8, 16],
                "strides": [1, 2],
                "depthwise_padding": [],
            },
            projection_dim=16,
        )
    ),
}
DETECTORS = {
    "owlvit": lambda: T.OwlViTForObjectDetection(T.OwlViTConfig(**OWL)),
    "owlv2": lambda: T.Owlv2ForObjectDetection(T.Owlv2Config(**OWL)),
}
FUSED = {
    "vilt": lambda: T.ViltForQuestionAnswering(T.ViltConfig(**{**TEXT, **VISION}, num_labels=3)),
    "blip-vqa": lambda: T.BlipForQuestionAnswering(_blip_config()),
    "blip-itm": lambda: T.BlipForImageTextRetrieval(_blip_config()),
    "git": lambda: T.GitForCausalLM(T.GitConfig(vision_config=VISION, bos_token_id=1, eos_token_id=2, **TEXT)),
    "grounding-dino": lambda: T.GroundingDinoForObjectDetection(
        T.GroundingDinoConfig(
            backbone_config=T.SwinConfig(
                image_size=32,
                patch_size=4,
                embed_dim=8,
                depths=[1, 1, 1],
                num_heads=[2, 2, 2],
                window_size=2,
                out_indices=[2, 3],
            ),
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
        )
    ),
}
PAIR_MODELS = {**TWO_TOWERS, **DETECTORS, **FUSED}
