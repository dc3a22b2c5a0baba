"""Tiny checkpoints of further families: the rest of the table of architectures, and the paper's families."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from filelock import FileLock
from timm.models import save_for_hf

from tests.helpers.sound import clap
from tests.helpers.tiny_checkpoints import DECODER, DINOV2, ENDS, PVT, SWIN, T5, TEXT, VISION, T, build, shaken, tiny

IMAGE_FAMILIES: dict[str, Callable[[], Any]] = {
    "dinov2_with_registers": tiny("Dinov2WithRegistersModel", **DINOV2),
    "dinov3_vit": tiny("DINOv3ViTModel", num_register_tokens=2, **VISION),
    "dinov3_convnext": tiny("DINOv3ConvNextModel", hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1]),
    "vit_mae": tiny(
        "ViTMAEForPreTraining",
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        **VISION,
    ),
    "hiera": tiny(
        "HieraForImageClassification",
        image_size=[32, 32],
        embed_dim=8,
        depths=[1, 1],
        num_heads=[1, 2],
        patch_size=[3, 3],
        patch_stride=[4, 4],
        patch_padding=[1, 1],
        query_stride=[2, 2],
        num_query_pool=1,
        masked_unit_size=[4, 4],
    ),
    "pvt": tiny("PvtForImageClassification", **PVT),
}
TEXT_FAMILIES: dict[str, Callable[[], Any]] = {
    "xlm-roberta": tiny("XLMRobertaModel", pad_token_id=1, **TEXT),
    "camembert": tiny("CamembertModel", pad_token_id=1, **TEXT),
    "gpt_neox": tiny("GPTNeoXModel", **ENDS, **TEXT),
    "qwen2": tiny("Qwen2Model", num_key_value_heads=2, **TEXT),
    "qwen3": tiny("Qwen3Model", **DECODER),
    "gemma": tiny("GemmaModel", **DECODER),
    "gemma2": tiny("Gemma2Model", **DECODER),
    "gemma3_text": tiny("Gemma3TextModel", **DECODER),
    "embedding_gemma2": tiny(
        "EmbeddingGemma2Model",
        text_config={
            **DECODER,
            "head_dim": 8,
            "global_head_dim": 8,
            "num_global_key_value_heads": 1,
            "hidden_size_per_layer_input": 8,
            "embedding_dim": 16,
        },
        vision_config=None,
        audio_config=None,
    ),
    "mistral": tiny("MistralModel", **DECODER),
    "phi3": tiny("Phi3Model", **DECODER),
    "smollm3": tiny("SmolLM3Model", **DECODER),
    "gpt_oss": tiny("GptOssModel", num_local_experts=2, num_experts_per_tok=1, **DECODER),
    "modernbert-decoder": tiny("ModernBertDecoderModel", **DECODER),
    "eurobert": tiny("EuroBertModel", mask_token_id=3, **DECODER),
    "nomic_bert": tiny("NomicBertModel", **TEXT),
    "clap": partial(clap, vocab_size=400, max_position_embeddings=42),
    "mt5": tiny("MT5EncoderModel", **T5),
}
# Reads images as tokens of a text. It is not in the table of architectures, so the fallback applies.
llava = tiny(
    "LlavaModel",
    text_config={"model_type": "llama", **DECODER},
    vision_config={"model_type": "clip_vision_model", **VISION},
    image_token_index=399,
    vision_feature_layer=-2,
)

_ENCODERS: dict[str, Callable[[], Any]] = {
    "vit": partial(T.ViTConfig, **VISION),
    "swin": partial(T.SwinConfig, embed_dim=8, **SWIN),
    "swinv2": partial(T.Swinv2Config, embed_dim=8, **SWIN),
}
_WRITES = {"is_decoder": True, "add_cross_attention": True}
_DECODERS: dict[str, Callable[[], Any]] = {
    "bert": partial(T.BertConfig, **{**TEXT, **_WRITES, "hidden_size": 24}),
    "roberta": partial(T.RobertaConfig, **{**TEXT, **_WRITES, "hidden_size": 24, "pad_token_id": 1}),
    "bart": partial(
        T.BartConfig, vocab_size=400, max_position_embeddings=40, d_model=24, decoder_layers=2,
        decoder_attention_heads=2, decoder_ffn_dim=32, **_WRITES,
    ),
}  # fmt: skip
# The nine captioners of the paper. Their features are 16 columns of the encoder and 24 of the decoder.
CAPTIONER_PAIRS = {f"{encoder}-{decoder}": (encoder, decoder) for encoder in _ENCODERS for decoder in _DECODERS}
START = 1

# timm's architecture → arguments that make it small, pixels per side, number of features.
TIMM_MODELS: dict[str, tuple[dict[str, Any], int, int]] = {
    "resnet34": ({"block_args": {}, "channels": (8, 8, 8, 16)}, 64, 16),
    "densenet121": ({"growth_rate": 4, "block_config": [1, 1, 1, 1]}, 64, 8),
    "mnasnet_small": ({}, 64, 1280),
    "mobilenetv2_035": ({}, 64, 1280),
    "inception_v3": ({}, 96, 2048),
    "deit_tiny_patch16_224": ({"depth": 2, "img_size": 32, "patch_size": 8, "embed_dim": 24}, 32, 24),
    # MoCo v3's ViT-S: timm's layout with twelve heads instead of six.
    "vit_small_patch16_224": ({"depth": 2, "img_size": 32, "patch_size": 8, "embed_dim": 24, "num_heads": 12}, 32, 24),
    "pvt_v2_b0": ({"depths": (1, 1, 1, 1)}, 64, 256),
    "swin_tiny_patch4_window7_224": (
        {"depths": (1, 1), "num_heads": (2, 2), "embed_dim": 8, "window_size": 4, "img_size": 32}, 32, 16,
    ),
}  # fmt: skip


def family(root: Path, name: str) -> Path:
    """Return the folder of a tiny checkpoint that reads images or texts."""
    if name in TIMM_MODELS:
        return timm_checkpoint(root, name)
    if name in CAPTIONER_PAIRS:
        return captioner(root, name)
    return build(root, name, (IMAGE_FAMILIES | TEXT_FAMILIES).get(name), reads_text=name in TEXT_FAMILIES)


def captioner(root: Path, name: str) -> Path:
    """Return the folder of one of `CAPTIONER_PAIRS`."""
    encoder, decoder = CAPTIONER_PAIRS[name]

    def make() -> Any:
        parts = _ENCODERS[encoder](), _DECODERS[decoder]()
        config = T.VisionEncoderDecoderConfig.from_encoder_decoder_configs(*parts)
        config.decoder_start_token_id = START
        return T.VisionEncoderDecoderModel(config=config)

    return build(root, name, make)


def timm_checkpoint(root: Path, name: str) -> Path:
    """Return the folder of one of `TIMM_MODELS` in timm's format: config.json and weights with a classifier."""
    folder = root / f"timm-{name}"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            arguments, pixels, _ = TIMM_MODELS[name]
            torch.manual_seed(7)
            model = timm.create_model(name, pretrained=False, num_classes=5, **arguments)
            shaken(model)
            save_for_hf(model, folder, model_args=arguments, safe_serialization=True)
            config = json.loads((folder / "config.json").read_text())
            for key in ("input_size", "test_input_size"):
                config["pretrained_cfg"][key] = [3, pixels, pixels]
            (folder / "config.json").write_text(json.dumps(config))
    return folder
