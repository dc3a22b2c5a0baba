"""Tiny checkpoints of the families that tiny_checkpoints.py leaves out: the rest of the table, and the paper's."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
import transformers
from filelock import FileLock
from timm.models import save_for_hf

from tests.helpers.sound import clap
from tests.helpers.tiny_checkpoints import TEXT, VISION, build, shaken

T = transformers

_SWIN: dict[str, Any] = {"image_size": 32, "patch_size": 2, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}

_DECODER_ONLY: dict[str, Any] = {
    "head_dim": 8, "num_key_value_heads": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, **TEXT,
}  # fmt: skip
_CONVNEXT = {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}

IMAGE_FAMILIES: dict[str, Callable[[], Any]] = {
    "dinov2_with_registers": lambda: T.Dinov2WithRegistersModel(
        T.Dinov2WithRegistersConfig(
            image_size=32, patch_size=8, hidden_size=16, num_hidden_layers=2, num_attention_heads=2
        )
    ),
    "dinov3_vit": lambda: T.DINOv3ViTModel(T.DINOv3ViTConfig(num_register_tokens=2, **VISION)),
    "dinov3_convnext": lambda: T.DINOv3ConvNextModel(T.DINOv3ConvNextConfig(**_CONVNEXT)),
    "vit_mae": lambda: T.ViTMAEForPreTraining(
        T.ViTMAEConfig(
            decoder_hidden_size=16,
            decoder_num_hidden_layers=1,
            decoder_num_attention_heads=2,
            decoder_intermediate_size=16,
            **VISION,
        )
    ),
    "hiera": lambda: T.HieraForImageClassification(
        T.HieraConfig(
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
        )
    ),
    "pvt": lambda: T.PvtForImageClassification(
        T.PvtConfig(
            image_size=32,
            hidden_sizes=[8, 8, 8, 16],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 1, 2],
            mlp_ratios=[2, 2, 2, 2],
        )
    ),
}
TEXT_FAMILIES: dict[str, Callable[[], Any]] = {
    "xlm-roberta": lambda: T.XLMRobertaModel(T.XLMRobertaConfig(pad_token_id=1, **TEXT)),
    "camembert": lambda: T.CamembertModel(T.CamembertConfig(pad_token_id=1, **TEXT)),
    "gpt_neox": lambda: T.GPTNeoXModel(T.GPTNeoXConfig(bos_token_id=1, eos_token_id=2, **TEXT)),
    "qwen2": lambda: T.Qwen2Model(T.Qwen2Config(num_key_value_heads=2, **TEXT)),
    "qwen3": lambda: T.Qwen3Model(T.Qwen3Config(**_DECODER_ONLY)),
    "gemma": lambda: T.GemmaModel(T.GemmaConfig(**_DECODER_ONLY)),
    "gemma2": lambda: T.Gemma2Model(T.Gemma2Config(**_DECODER_ONLY)),
    "gemma3_text": lambda: T.Gemma3TextModel(T.Gemma3TextConfig(**_DECODER_ONLY)),
    "mistral": lambda: T.MistralModel(T.MistralConfig(**_DECODER_ONLY)),
    "phi3": lambda: T.Phi3Model(T.Phi3Config(**_DECODER_ONLY)),
    "smollm3": lambda: T.SmolLM3Model(T.SmolLM3Config(**_DECODER_ONLY)),
    "gpt_oss": lambda: T.GptOssModel(T.GptOssConfig(num_local_experts=2, num_experts_per_tok=1, **_DECODER_ONLY)),
    "eurobert": lambda: T.EuroBertModel(T.EuroBertConfig(mask_token_id=3, **_DECODER_ONLY)),
    "nomic_bert": lambda: T.NomicBertModel(T.NomicBertConfig(**TEXT)),
    "clap": partial(clap, vocab_size=400, max_position_embeddings=42),
    "mt5": lambda: T.MT5EncoderModel(
        T.MT5Config(vocab_size=400, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2)
    ),
}


def llava() -> Any:
    """Reads texts, and images as tokens among those of texts; no row in the table: the fallback."""
    return T.LlavaModel(
        T.LlavaConfig(
            text_config={"model_type": "llama", **_DECODER_ONLY},
            vision_config={"model_type": "clip_vision_model", **VISION},
            image_token_index=399,
            vision_feature_layer=-2,
        )
    )


_ENCODERS: dict[str, Callable[[], Any]] = {
    "vit": lambda: T.ViTConfig(**VISION),
    "swin": lambda: T.SwinConfig(embed_dim=8, **_SWIN),
    "swinv2": lambda: T.Swinv2Config(embed_dim=8, **_SWIN),
}
_DECODER = {**TEXT, "hidden_size": 24, "is_decoder": True, "add_cross_attention": True}
_DECODERS: dict[str, Callable[[], Any]] = {
    "bert": lambda: T.BertConfig(**_DECODER),
    "roberta": lambda: T.RobertaConfig(pad_token_id=1, **_DECODER),
    "bart": lambda: T.BartConfig(
        vocab_size=400, max_position_embeddings=40, d_model=24, decoder_layers=2, decoder_attention_heads=2,
        decoder_ffn_dim=32, is_decoder=True, add_cross_attention=True,
    ),
}  # fmt: skip
# The nine captioners of the paper; their feature is 16 columns of the encoder and 24 of the decoder.
CAPTIONER_PAIRS = {f"{encoder}-{decoder}": (encoder, decoder) for encoder in _ENCODERS for decoder in _DECODERS}
START = 1

# Architecture of timm, arguments that make it small, pixels a side, features.
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


def captioner(root: Path, name: str) -> Path:
    """The folder of one of `CAPTIONER_PAIRS`."""
    encoder, decoder = CAPTIONER_PAIRS[name]
    return build(root, name, partial(_captioner, _ENCODERS[encoder](), _DECODERS[decoder]()))


def _captioner(encoder: Any, decoder: Any) -> Any:
    config = T.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = START
    return T.VisionEncoderDecoderModel(config=config)


def timm_checkpoint(root: Path, name: str) -> Path:
    """The folder of one of `TIMM_MODELS`, as timm uploads it: config.json and weights with a classifier."""
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
