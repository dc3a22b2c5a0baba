"""Which transformers class loads a family of checkpoints, and what of it is the feature.

A new architecture is one row here, or in a package of the user's. `pooling` names an entry of `pooling.POOLINGS`, or
of `fusion.FUSIONS` where a picture and a text are read.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hf_emms.plugins import Plugin, check_alone, plugins
from hf_emms.tasks.base import Modality


@dataclass(frozen=True)
class Architecture:
    """One family of checkpoints.

    Attributes:
        family: its name in reports.
        model_types: the `model_type` of config.json that belong to it.
        modality: what the checkpoint is fed here; CLIP and SigLIP have a row for each tower.
        loader: the transformers class that loads it, without heads that features don't need; "package.module:CLASS"
            is one of another package.
        pooling: what becomes the feature row; "package.module:NAME" is a `pooling.Pooling` of another package.
        source: where the choice comes from.
        poolerless: the class takes `add_pooling_layer=False`; its pooler isn't used and often isn't saved.
        pads_to_limit: texts are padded to the full length, because the family was trained that way.
        first_layer: which of its `hidden_states` is hidden layer 1: most families list their embeddings before.
        requires: a package that must be installed beside transformers; the extra of hf-emms has the same name.
        unused: parts that the loaded class has and features don't need: they may lack weights, and are dropped.
        package: the package that adds the row and its version; empty for ours.
    """

    family: str
    model_types: tuple[str, ...]
    modality: Modality
    loader: str
    pooling: str
    source: str
    poolerless: bool = False
    pads_to_limit: bool = False
    first_layer: int = 1
    requires: str = ""
    unused: tuple[str, ...] = ()
    package: str = ""


EMMS = "EMMS (arXiv 2308.06262)"
TOWERS = "ours: see towers.py"
FUSED = "ours: see fused.py"
CLASSIFIER = "input of the classifier in the model's ...ForImageClassification"

ARCHITECTURES: tuple[Architecture, ...] = (
    # Convolutional image encoders: the pooled map that feeds their classifier, as EMMS does for CNNs.
    Architecture("ResNet", ("resnet",), "image", "ResNetModel", "pooler_output", EMMS),
    Architecture("RegNet", ("regnet",), "image", "RegNetModel", "pooler_output", EMMS),
    Architecture("ConvNeXt", ("convnext",), "image", "ConvNextModel", "pooler_output", CLASSIFIER),
    Architecture("ConvNeXtV2", ("convnextv2",), "image", "ConvNextV2Model", "pooler_output", CLASSIFIER),
    Architecture("MobileNetV1", ("mobilenet_v1",), "image", "MobileNetV1Model", "pooler_output", EMMS, first_layer=0),
    Architecture("MobileNetV2", ("mobilenet_v2",), "image", "MobileNetV2Model", "pooler_output", EMMS, first_layer=0),
    Architecture("EfficientNet", ("efficientnet",), "image", "EfficientNetModel", "pooler_output", EMMS),
    # ResNet, DenseNet, MNASNet, MobileNet, Inception, and transformers too: all that timm has, by `architecture`.
    Architecture(
        "timm", ("timm_wrapper",), "image", "TimmWrapperModel", "timm", CLASSIFIER, first_layer=0, requires="timm"
    ),
    # What neither transformers nor timm has: GoogLeNet. torchvision shows no hidden layers.
    Architecture(
        "torchvision",
        ("torchvision",),
        "image",
        "hf_emms.features.torchvision_models:TorchvisionModel",
        "torchvision",
        CLASSIFIER,
    ),
    # Image transformers.
    Architecture("ViT", ("vit",), "image", "ViTModel", "cls_token", EMMS, poolerless=True),
    Architecture("DeiT", ("deit",), "image", "DeiTModel", "cls_token", EMMS, poolerless=True),
    Architecture("DINOv2", ("dinov2",), "image", "Dinov2Model", "cls_token", EMMS),
    Architecture(
        "DINOv2 with registers",
        ("dinov2_with_registers",),
        "image",
        "Dinov2WithRegistersModel",
        "cls_token",
        EMMS,
    ),
    Architecture("DINOv3 ViT", ("dinov3_vit",), "image", "DINOv3ViTModel", "cls_token", EMMS),
    # BEiT's pooler has no weights of its own choosing: the mean of patches or CLS, as its config says.
    Architecture("BEiT", ("beit",), "image", "BeitModel", "pooler_output", CLASSIFIER),
    Architecture("Swin", ("swin",), "image", "SwinModel", "pooler_output", EMMS),
    Architecture("SwinV2", ("swinv2",), "image", "Swinv2Model", "pooler_output", EMMS),
    Architecture("PVT", ("pvt",), "image", "PvtModel", "late_cls_token", EMMS, first_layer=0),
    Architecture("PVTv2", ("pvt_v2",), "image", "PvtV2Model", "spatial_mean", EMMS, first_layer=0),
    Architecture(
        "CLIP vision tower",
        ("clip", "clip_vision_model"),
        "image",
        "CLIPVisionModel",
        "pooler_output",
        "arXiv 2103.00020, section 3.2: linear probes use the tower before its projection",
    ),
    Architecture(
        "SigLIP vision tower",
        ("siglip", "siglip_vision_model"),
        "image",
        "SiglipVisionModel",
        "pooler_output",
        "arXiv 2303.15343: attention pooling is the tower's output",
    ),
    # Captioners see the image and a start token, never a caption.
    Architecture(
        "VisionEncoderDecoder",
        ("vision-encoder-decoder",),
        "image",
        "VisionEncoderDecoderModel",
        "captioner_cross_attention",
        "ours: see captioners.py",
    ),
    Architecture(
        "BLIP", ("blip",), "image", "BlipForConditionalGeneration", "captioner_blip", "ours: see captioners.py"
    ),
    Architecture("GIT", ("git",), "image", "GitModel", "captioner_git", "ours: see captioners.py"),
    # Text encoders: EMMS takes the mean of the last hidden layer.
    Architecture("BERT", ("bert",), "text", "BertModel", "masked_mean", EMMS, poolerless=True),
    Architecture("RoBERTa", ("roberta",), "text", "RobertaModel", "masked_mean", EMMS, poolerless=True),
    Architecture("XLM-RoBERTa", ("xlm-roberta",), "text", "XLMRobertaModel", "masked_mean", EMMS, poolerless=True),
    Architecture("CamemBERT", ("camembert",), "text", "CamembertModel", "masked_mean", EMMS, poolerless=True),
    Architecture("DistilBERT", ("distilbert",), "text", "DistilBertModel", "masked_mean", EMMS),
    Architecture("ALBERT", ("albert",), "text", "AlbertModel", "masked_mean", EMMS, poolerless=True),
    Architecture("ELECTRA", ("electra",), "text", "ElectraModel", "masked_mean", EMMS),
    Architecture("DeBERTa", ("deberta",), "text", "DebertaModel", "masked_mean", EMMS),
    Architecture("DeBERTa-v2", ("deberta-v2",), "text", "DebertaV2Model", "masked_mean", EMMS),
    Architecture("ModernBERT", ("modernbert",), "text", "ModernBertModel", "masked_mean", EMMS),
    Architecture("MPNet", ("mpnet",), "text", "MPNetModel", "masked_mean", EMMS, poolerless=True),
    Architecture("GPT-2", ("gpt2",), "text", "GPT2Model", "masked_mean", EMMS),
    Architecture("GPT-NeoX", ("gpt_neox",), "text", "GPTNeoXModel", "masked_mean", EMMS),
    Architecture("OPT", ("opt",), "text", "OPTModel", "masked_mean", EMMS),
    Architecture("Llama", ("llama",), "text", "LlamaModel", "masked_mean", EMMS),
    Architecture("Qwen2", ("qwen2",), "text", "Qwen2Model", "masked_mean", EMMS),
    Architecture("T5 encoder", ("t5",), "text", "T5EncoderModel", "masked_mean", "Sentence-T5 (arXiv 2108.08877)"),
    Architecture("mT5 encoder", ("mt5",), "text", "MT5EncoderModel", "masked_mean", "Sentence-T5 (arXiv 2108.08877)"),
    Architecture("BART encoder", ("bart",), "text", "BartModel", "encoder_masked_mean", "as for T5"),
    Architecture(
        "CLIP text tower",
        ("clip", "clip_text_model"),
        "text",
        "CLIPTextModelWithProjection",
        "text_embeds",
        EMMS,
    ),
    Architecture(
        "SigLIP text tower",
        ("siglip", "siglip_text_model"),
        "text",
        "SiglipTextModel",
        "unmasked_pooler_output",
        "arXiv 2303.15343 and its model page: padded to the full length, no attention mask",
        pads_to_limit=True,
    ),
    # Pictures with texts, read in two towers.
    Architecture("CLIP", ("clip",), "image+text", "CLIPModel", "two_towers", TOWERS),
    Architecture("SigLIP", ("siglip",), "image+text", "SiglipModel", "unmasked_two_towers", TOWERS, pads_to_limit=True),
    Architecture(
        "VisionTextDualEncoder",
        ("vision-text-dual-encoder",),
        "image+text",
        "VisionTextDualEncoderModel",
        "two_towers",
        TOWERS,
    ),
    Architecture("OWL-ViT", ("owlvit",), "image+text", "OwlViTForObjectDetection", "owlvit", TOWERS),
    Architecture("OWLv2", ("owlv2",), "image+text", "Owlv2ForObjectDetection", "owlv2", TOWERS),
    # Pictures with texts, read together.
    Architecture("ViLT", ("vilt",), "image+text", "ViltModel", "vilt", FUSED, poolerless=True),
    Architecture("BLIP", ("blip",), "image+text", "BlipForQuestionAnswering", "blip", FUSED, unused=("text_decoder",)),
    Architecture("GIT", ("git",), "image+text", "GitModel", "git", FUSED),
    Architecture(
        "Grounding DINO",
        ("grounding-dino",),
        "image+text",
        "GroundingDinoForObjectDetection",
        "grounding_dino",
        FUSED,
    ),
)

# What reads a text as tokens also reads a question with its context.
_OF_TEXT_PAIRS = {"masked_mean": "question_context", "encoder_masked_mean": "encoder_question_context"}
ARCHITECTURES += tuple(
    replace(row, modality="text+text", pooling=_OF_TEXT_PAIRS[row.pooling], source="ours: see contexts.py")
    for row in ARCHITECTURES
    if row.modality == "text" and row.pooling in _OF_TEXT_PAIRS
)

FALLBACKS: dict[Modality, Architecture] = {
    "image": Architecture("", (), "image", "AutoModel", "image_fallback", "the documented fallback"),
    "text": Architecture("", (), "text", "AutoModel", "text_fallback", "the documented fallback"),
    "image+text": Architecture("", (), "image+text", "AutoModel", "two_towers", "the documented fallback"),
    "text+text": Architecture("", (), "text+text", "AutoModel", "question_context_fallback", "the documented fallback"),
}
# What a checkpoint is fed, in words.
FED: dict[Modality, str] = {
    "image": "images",
    "text": "texts",
    "image+text": "images with texts",
    "text+text": "pairs of texts",
}

_ROWS = {(row.modality, name): row for row in ARCHITECTURES for name in row.model_types}


def architectures() -> tuple[Architecture, ...]:
    """Every row of the table."""
    return ARCHITECTURES


def find_architecture(model_type: str, modality: Modality) -> Architecture | None:
    """The row of a `model_type` of config.json, or None where only the fallback is left.

    Raises:
        EmmsError: several packages have a row for it, or the one that has cannot be loaded.
    """
    own = _ROWS.get((modality, model_type))
    added = [(plugin, row) for plugin, row in _added(model_type) if row.modality == modality]
    check_alone((plugin for plugin, _ in added), built_in=own is not None)
    return added[0][1] if added else own


def other_modality(model_type: str, modality: Modality) -> bool:
    """Whether a known family reads other kinds of input only.

    Families that read images with texts may still have an image tower that the fallback finds.
    """
    singles: dict[Modality, tuple[Modality, ...]] = {"image": ("text",), "text": ("image",)}
    others = singles.get(modality, ("image", "text", "image+text"))
    known = any(find_architecture(model_type, other) is not None for other in others)
    return known and find_architecture(model_type, modality) is None


def families(modality: Modality) -> tuple[str, ...]:
    """The families of the table that read a kind of input."""
    return tuple(row.family for row in ARCHITECTURES if row.modality == modality)


def _added(model_type: str) -> list[tuple[Plugin, Architecture]]:
    """The rows that other packages have for a `model_type`: the name of their entry point."""
    found = []
    for plugin in plugins("hf_emms.architectures").get(model_type, ()):
        for row in plugin.load(Architecture):
            if model_type not in row.model_types:
                raise plugin.error(f"is for {', '.join(row.model_types)}: the entry point has to have such a name")
            found.append((plugin, replace(row, package=f"{plugin.package} {plugin.version}")))
    return found
