"""Tiny checkpoints that answer questions about images, with random weights and a processor with a chat template."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tests.helpers.tiny_checkpoints import CORPUS, ENDS, T, checkpoint

# Each family writes an image in its own way.
_IMAGES = {
    "idefics3": "<image>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "llava": "<image>",
    "paligemma": "<image>",
    "internvl": "<IMG_CONTEXT>",
}
FAMILIES = tuple(_IMAGES)
_TOKENS = {
    "idefics3": ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"],
    "qwen2_5_vl": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    "llava": ["<image>"],
    "paligemma": ["<image>"],
    "internvl": ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"],
}
_SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
_SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_LIMIT = 200
_TEXT = {
    **_SIZE, **ENDS, "vocab_size": 400, "pad_token_id": 0, "num_key_value_heads": 2, "max_position_embeddings": _LIMIT
}  # fmt: skip
_VISION = {**_SIZE, "image_size": 32, "patch_size": 8}
_PIXELS = {"size": {"height": 32, "width": 32}}


def _tokenizer(family: str, side: str) -> Any:
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens = [*_SPECIAL, *_TOKENS[family]]
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=tokens, show_progress=False)
    core.train_from_iterator([CORPUS, "user assistant : 0 1 2 3 4 5 6 7 8 9"], trainer)
    named = {
        "internvl": {
            "start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        "idefics3": {
            "image_token": "<image>", "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
        },
        "qwen2_5_vl": {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    }.get(family, {"image_token": "<image>"})  # fmt: skip
    return T.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        padding_side=side, extra_special_tokens=named, model_max_length=_LIMIT,
    )  # fmt: skip


def template_of(family: str) -> str:
    return (
        "{% for message in messages %}{{ message.role }} : {% for part in message.content %}"
        "{% if part.type == 'image' %}" + _IMAGES[family] + "{% else %}{{ part.text }}{% endif %}{% endfor %} "
        "{% endfor %}{% if add_generation_prompt %}assistant : {% endif %}"
    )


def _processor(family: str, side: str, *, has_template: bool) -> Any:
    reader, template = _tokenizer(family, side), template_of(family) if has_template else None
    if family == "idefics3":
        sizes = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 32}}
        images = T.Idefics3ImageProcessor(**sizes, do_image_splitting=False)
        return T.Idefics3Processor(images, reader, image_seq_len=4, chat_template=template)
    if family == "qwen2_5_vl":
        sizes = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 1}
        images = T.Qwen2VLImageProcessor(**sizes, min_pixels=32 * 32, max_pixels=48 * 48)
        return T.Qwen2_5_VLProcessor(images, reader, T.Qwen2VLVideoProcessor(**sizes), chat_template=template)
    if family == "llava":
        images = T.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=_PIXELS["size"])
        return T.LlavaProcessor(
            images, reader, patch_size=8, vision_feature_select_strategy="default", num_additional_image_tokens=1,
            chat_template=template,
        )  # fmt: skip
    if family == "paligemma":
        images = T.SiglipImageProcessor(**_PIXELS)
        images.image_seq_length = 16
        return T.PaliGemmaProcessor(images, reader, chat_template=template)
    images = T.GotOcr2ImageProcessor(**_PIXELS, crop_to_patches=False)
    return T.InternVLProcessor(
        images, reader, T.InternVLVideoProcessor(**_PIXELS), image_seq_length=4, chat_template=template
    )


def _model(family: str) -> Any:
    image = _tokenizer(family, "left").convert_tokens_to_ids
    text = {**_TEXT, "head_dim": 8}
    configs: dict[str, Any] = {
        "idefics3": lambda: T.Idefics3Config(
            vision_config=_VISION, text_config={**text, "model_type": "llama"}, image_token_id=image("<image>"),
            scale_factor=2, pad_token_id=0,
        ),
        "qwen2_5_vl": lambda: T.Qwen2_5_VLConfig(
            vision_config={
                "depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 16,
                "patch_size": 8, "spatial_merge_size": 2, "temporal_patch_size": 1, "window_size": 16,
                "fullatt_block_indexes": [1],
            },
            text_config={
                **_TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
            },
            image_token_id=image("<|image_pad|>"), video_token_id=image("<|video_pad|>"),
            vision_start_token_id=image("<|vision_start|>"), vision_end_token_id=image("<|vision_end|>"),
        ),
        "llava": lambda: T.LlavaConfig(
            vision_config=T.CLIPVisionConfig(**_VISION), text_config=T.LlamaConfig(**text),
            image_token_index=image("<image>"), vision_feature_layer=-1,
        ),
        "paligemma": lambda: T.PaliGemmaConfig(
            vision_config={**_VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
            text_config={**text, "model_type": "gemma"}, image_token_index=image("<image>"), projection_dim=16,
            hidden_size=16, **ENDS, pad_token_id=0,
        ),
        "internvl": lambda: T.InternVLConfig(
            vision_config={**_VISION, "image_size": [32, 32], "patch_size": [8, 8]},
            text_config=T.Qwen2Config(**_TEXT), image_token_id=image("<IMG_CONTEXT>"), image_seq_length=4,
        ),
    }  # fmt: skip
    return T.AutoModelForImageTextToText.from_config(configs[family]())


def vision_chat(root: Path, family: str, side: str = "left", *, has_template: bool = True) -> Path:
    """Return the folder of a tiny checkpoint whose tokenizer pads on a side."""
    name = f"vision-chat-{family}-{side}{'-template' * has_template}"
    return checkpoint(
        root / name, partial(_model, family), partial(_processor, family, side, has_template=has_template)
    )
