"""Tiny checkpoints of every family, made from their configurations with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from hf_emms.hub import Repo

CORPUS = (
    "a photo of an apple pie left red green telescope the small cat dog sits on mat while rain falls over "
    "mountain road and children play near old harbour with boats"
)
TEXTS = [
    "an apple pie",
    "cat",
    "the small dog sits on a red mat while rain falls over the old harbour",
    "a telescope left of a green apple",
    "children play near the mountain road with boats and a small cat and a dog on the mat",
    "",
]
SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
TEXT = dict(vocab_size=400, max_position_embeddings=40, **SIZE)
VISION = dict(image_size=32, patch_size=8, **SIZE)
ENDS = {"bos_token_id": 1, "eos_token_id": 2}
T = transformers


def repo_of(folder: Path) -> Repo:
    return Repo(str(folder), "model", "local-0123456789abcdef", folder)


def build(root: Path, name: str, make: Callable[[], Any] | None = None, *, reads_text: bool = False) -> Path:
    """Return the folder of a tiny checkpoint, created once in `root` by this file or by `make`."""
    models = {**IMAGE_MODELS, **CAPTIONERS, **TEXT_MODELS}
    reader = partial(tokenizer, name) if reads_text or name in TEXT_MODELS else processor
    return checkpoint(root / name, make or models[name], reader)


def checkpoint(folder: Path, make: Callable[[], Any], *readers: Callable[[], Any]) -> Path:
    """Return the folder of a tiny checkpoint with its tokenizer or processors. The first process creates it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            torch.manual_seed(7)
            model = make()
            shaken(model)
            model.save_pretrained(folder)
            for reader in readers:
                reader().save_pretrained(folder)
    return folder


def shaken(model: torch.nn.Module) -> None:
    """Add noise to all parameters. Initial values, such as zeros and ones, would hide mistakes."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)


def processor() -> Any:
    return T.ViTImageProcessor(size={"height": 32, "width": 32})


def tokenizer(name: str) -> Any:
    """Return a tokenizer with the special tokens of the family. GPT-2 has no special tokens and no padding token."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    if name in ("roberta", "xlm-roberta", "camembert", "mpnet", "clap"):
        special[:2] = "<s>", "<pad>"
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.train_from_iterator([CORPUS], trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    if name in ("gpt2", "llama"):
        return T.PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", special.index("<s>")), ("</s>", 2)],
    )
    return T.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def tiny(kind: str, **sizes: Any) -> Callable[[], Any]:
    """Return a function that makes a model of transformers with these sizes in its configuration."""

    def make() -> Any:
        loader = getattr(T, kind)
        return loader(loader.config_class(**sizes))

    return make


def _vision_encoder_decoder() -> Any:
    config = T.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        T.ViTConfig(**VISION),
        T.BertConfig(**{**TEXT, "hidden_size": 24, "max_position_embeddings": 60, "is_decoder": True}),
    )
    config.decoder_start_token_id = 1
    return T.VisionEncoderDecoderModel(config=config)


EFFICIENTNET: dict[str, Any] = {
    "image_size": 32, "width_coefficient": 1.0, "depth_coefficient": 1.0, "num_block_repeats": [1, 1],
    "expand_ratios": [1, 2], "kernel_sizes": [3, 3], "in_channels": [32, 8], "out_channels": [8, 16], "strides": [1, 2],
    "depthwise_padding": [],
}  # fmt: skip
PVT: dict[str, Any] = {
    "image_size": 32, "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 1, 2],
    "mlp_ratios": [2, 2, 2, 2],
}  # fmt: skip
DINOV2 = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
DEBERTA: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}
DECODER: dict[str, Any] = {"head_dim": 8, "num_key_value_heads": 2, "pad_token_id": 0, **ENDS, **TEXT}
GPT2 = {"vocab_size": 400, "n_positions": 40, "n_embd": 16, "n_layer": 2, "n_head": 2}
T5 = {"vocab_size": 400, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
OPT = {
    "vocab_size": 400, "max_position_embeddings": 40, "hidden_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "ffn_dim": 32, "word_embed_proj_dim": 16,
}  # fmt: skip
BART = {
    "vocab_size": 400, "max_position_embeddings": 40, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
}  # fmt: skip
SWIN: dict[str, Any] = {"image_size": 32, "patch_size": 2, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
_CNN = {"hidden_sizes": [8, 16], "depths": [1, 1]}
_MOBILENET = {"depth_multiplier": 0.25, "min_depth": 4}
_CLIP = tiny("CLIPModel", text_config={**TEXT, **ENDS, "pad_token_id": 0}, vision_config=VISION, projection_dim=12)
_SIGLIP_TEXT = {**TEXT, **ENDS, "max_position_embeddings": 24, "projection_size": 16}
_SIGLIP = tiny("SiglipModel", text_config=_SIGLIP_TEXT, vision_config=VISION)
IMAGE_MODELS: dict[str, Callable[[], Any]] = {
    "resnet": tiny("ResNetForImageClassification", layer_type="basic", embedding_size=8, **_CNN),
    "regnet": tiny("RegNetModel", groups_width=4, embedding_size=8, **_CNN),
    "convnext": tiny("ConvNextModel", num_stages=2, **_CNN),
    "convnextv2": tiny("ConvNextV2Model", num_stages=2, **_CNN),
    "mobilenet_v1": tiny("MobileNetV1Model", **_MOBILENET),
    "mobilenet_v2": tiny("MobileNetV2Model", **_MOBILENET),
    "efficientnet": tiny("EfficientNetModel", hidden_dim=1280, **EFFICIENTNET),
    "vit": tiny("ViTForImageClassification", **VISION),
    "deit": tiny("DeiTModel", **VISION),
    "dinov2": tiny("Dinov2Model", **DINOV2),
    "beit": tiny("BeitForImageClassification", use_mean_pooling=True, **VISION),
    "swin": tiny("SwinModel", embed_dim=8, **SWIN),
    "swinv2": tiny("Swinv2Model", embed_dim=8, **SWIN),
    "pvt_v2": tiny("PvtV2Model", **PVT),
    "clip": _CLIP,
    "siglip": _SIGLIP,
}
_BLIP_TEXT = dict(TEXT, bos_token_id=1, encoder_hidden_size=16)
CAPTIONERS: dict[str, Callable[[], Any]] = {
    "vision-encoder-decoder": _vision_encoder_decoder,
    "blip": tiny("BlipForConditionalGeneration", text_config=_BLIP_TEXT, vision_config=VISION, projection_dim=12),
    "git": tiny("GitForCausalLM", vision_config=VISION, bos_token_id=1, **TEXT),
}
TEXT_MODELS: dict[str, Callable[[], Any]] = {
    "bert": tiny("BertForMaskedLM", **TEXT),
    "roberta": tiny("RobertaModel", pad_token_id=1, **TEXT),
    "distilbert": tiny(
        "DistilBertModel", vocab_size=400, max_position_embeddings=40, dim=16, n_layers=2, n_heads=2, hidden_dim=32
    ),
    "albert": tiny("AlbertModel", embedding_size=8, **TEXT),
    "electra": tiny("ElectraModel", embedding_size=8, **TEXT),
    "deberta": tiny("DebertaModel", **DEBERTA, **TEXT),
    "deberta-v2": tiny("DebertaV2Model", **DEBERTA, **TEXT),
    "modernbert": tiny("ModernBertModel", pad_token_id=0, local_attention=8, **ENDS, **TEXT),
    "mpnet": tiny("MPNetModel", pad_token_id=1, **TEXT),
    "gpt2": tiny("GPT2LMHeadModel", **GPT2),
    "llama": tiny("LlamaModel", num_key_value_heads=2, **TEXT),
    "t5": tiny("T5ForConditionalGeneration", **T5),
    "bart": tiny("BartModel", **BART),
    "clip-text": _CLIP,
    "siglip-text": _SIGLIP,
    "opt": tiny("OPTModel", **OPT),
    # Not in the table of architectures, so the fallback applies.
    "xlnet": tiny("XLNetModel", vocab_size=400, d_model=16, n_layer=2, n_head=2, d_inner=32),
}


def without_context(root: Path, to: Path) -> tuple[Path, Path]:
    """Return one BERT for 40 and for 400 tokens. Without attention and positions, states depend only on the token."""
    folders = to / "40", to / "400"
    for limit, folder in zip((40, 400), folders, strict=True):
        torch.manual_seed(3)
        model = tiny("BertModel", **{**TEXT, "max_position_embeddings": limit, "num_hidden_layers": 1})()
        with torch.no_grad():
            model.embeddings.position_embeddings.weight.zero_()
            model.encoder.layer[0].attention.output.dense.weight.zero_()
        model.save_pretrained(folder)
        T.AutoTokenizer.from_pretrained(build(root, "bert")).save_pretrained(folder)
    weights = load_file(folders[0] / "model.safetensors")
    weights["embeddings.position_embeddings.weight"] = torch.zeros(400, 16)
    save_file(weights, folders[1] / "model.safetensors", metadata={"format": "pt"})
    return folders


# Classifiers whose outputs differ between inputs: class, and fields of its configuration.
_WIDE = {**TEXT, "initializer_range": 0.8}
RERANKERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertForSequenceClassification", _WIDE),
    "deberta-v2": ("DebertaV2ForSequenceClassification", {**DEBERTA, **_WIDE}),
    "mpnet": ("MPNetForSequenceClassification", {"pad_token_id": 1, **_WIDE}),
    "llama": ("LlamaForSequenceClassification", {"num_key_value_heads": 2, "pad_token_id": 0, **_WIDE}),
}


def reranker(root: Path, name: str = "bert", outputs: int = 1, limit: int | None = None) -> Path:
    """Return a tiny checkpoint with a classifier of `outputs` outputs. Its tokenizer reads at most `limit` tokens."""

    def reader() -> Any:
        made = tokenizer("bert" if name == "llama" else name)
        # MPNet reserves two positions, which CrossEncoder does not know.
        made.model_max_length = limit or (38 if name == "mpnet" else made.model_max_length)
        if limit is not None:  # otherwise the tokenizer lists no token types
            made.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
            made.init_kwargs["model_input_names"] = made.model_input_names
        return made

    kind, sizes = RERANKERS[name]
    return checkpoint(root / f"{name}-reranker-{outputs}-{limit}", tiny(kind, num_labels=outputs, **sizes), reader)
