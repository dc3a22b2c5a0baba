"""The table of architectures: the class that loads a family of checkpoints, and the pooling of its features.

A new architecture is a row, here or in a package of the user's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, partial
from threading import Lock

from hf_emms.options.registry import Plugin, check_unique, plugins


@dataclass(frozen=True)
class Architecture:
    """A family of checkpoints with a kind of input; CLIP and SigLIP have a row for each tower.

    Attributes:
        family: Its name in reports.
        model_types: `model_type` in config.json.
        loader: The class of transformers that loads it, without heads that features don't need; "package.module:CLASS"
            is a class of another package.
        pooling: An entry of `pooling.POOLINGS`, `fusion.FUSIONS` or `pooling.STATES`; "package.module:NAME" is an
            object of another package.
        source: The reason for that pooling.
        input_kind: The name of the `Modality` that it reads: "image", "text", "image+text", "text+text", "text-pair",
            "words", "search", "reranked-search", "prompt", "audio".
        poolerless: The class takes `add_pooling_layer=False`; its pooler isn't used and often isn't saved.
        pads_to_limit: Texts are padded to the full length, as in the family's training.
        first_layer: The number of hidden layer 1 among its `hidden_states`: most families list their embeddings first.
        requires: A package that must be installed besides transformers; the extra of hf-emms has the same name.
        unused: Parts of the class that features don't need: they may lack weights, and are dropped.
        package: The package that adds the row and its version; empty for rows of hf_emms.
    """

    family: str
    model_types: tuple[str, ...]
    loader: str
    pooling: str
    source: str
    input_kind: str
    poolerless: bool = False
    pads_to_limit: bool = False
    first_layer: int = 1
    requires: str = ""
    unused: tuple[str, ...] = ()
    package: str = ""


# The family of tables of token vectors, without layers.
STATIC = "Static embedding"

EMMS = "EMMS (arXiv 2308.06262)"
CLIP_PAPER = "arXiv 2103.00020, section 3.2: linear probes use the tower before its projection"
SIGLIP_PAPER = "arXiv 2303.15343: attention pooling is the tower's output"
MAE_PAPER = "arXiv 2111.06377, appendix A.1: linear probes read the class token"
CLASSIFIER = "input of the classifier in the model's ...ForImageClassification"
CAPTIONERS = "hf_emms: features/captioners.py"
FUSION = "hf_emms: features/fusion.py"
FRAMES = "mean of frames, as the model's ...ForSequenceClassification pools them"

_PROMPTS = "hf_emms: inputs/prompt.py"

_image = partial(Architecture, input_kind="image")
_text = partial(Architecture, input_kind="text")
_image_text = partial(Architecture, input_kind="image+text")
_prompt = partial(Architecture, input_kind="prompt", source=_PROMPTS)
# A vector that takes the place of frames in training: many checkpoints lack it, and features do not need it.
_audio = partial(Architecture, input_kind="audio", unused=("masked_spec_embed",))

ARCHITECTURES: tuple[Architecture, ...] = (
    # Convolutional image encoders: the pooled map that feeds their classifier, as EMMS does for CNNs.
    _image("ResNet", ("resnet",), "ResNetModel", "pooler_output", EMMS),
    _image("RegNet", ("regnet",), "RegNetModel", "pooler_output", EMMS),
    _image("ConvNeXt", ("convnext",), "ConvNextModel", "pooler_output", CLASSIFIER),
    _image("ConvNeXtV2", ("convnextv2",), "ConvNextV2Model", "pooler_output", CLASSIFIER),
    _image("DINOv3 ConvNeXt", ("dinov3_convnext",), "DINOv3ConvNextModel", "pooler_output", CLASSIFIER),
    _image("MobileNetV1", ("mobilenet_v1",), "MobileNetV1Model", "pooler_output", EMMS, first_layer=0),
    _image("MobileNetV2", ("mobilenet_v2",), "MobileNetV2Model", "pooler_output", EMMS, first_layer=0),
    _image("EfficientNet", ("efficientnet",), "EfficientNetModel", "pooler_output", EMMS),
    # ResNet, DenseNet, MNASNet, MobileNet, Inception, and transformers too: all that timm has, by `architecture`.
    _image("timm", ("timm_wrapper",), "TimmWrapperModel", "timm", CLASSIFIER, first_layer=0, requires="timm"),
    # Image transformers.
    _image("ViT", ("vit",), "ViTModel", "cls_token", EMMS, poolerless=True),
    _image("DeiT", ("deit",), "DeiTModel", "cls_token", EMMS, poolerless=True),
    _image("DINOv2", ("dinov2",), "Dinov2Model", "cls_token", EMMS),
    _image("DINOv2 with registers", ("dinov2_with_registers",), "Dinov2WithRegistersModel", "cls_token", EMMS),
    _image("DINOv3 ViT", ("dinov3_vit",), "DINOv3ViTModel", "cls_token", EMMS),
    # The ViT of MAE without its masks, which leave out three of four patches at random.
    _image("ViT-MAE", ("vit_mae",), "ViTModel", "cls_token", MAE_PAPER, poolerless=True),
    # Checkpoints that were not trained as classifiers have no pooler.
    _image("Hiera", ("hiera",), "HieraModel", "image_fallback", CLASSIFIER),
    # BEiT's pooler is the mean of patches or CLS, as its config says.
    _image("BEiT", ("beit",), "BeitModel", "pooler_output", CLASSIFIER),
    _image("Swin", ("swin",), "SwinModel", "pooler_output", EMMS),
    _image("SwinV2", ("swinv2",), "Swinv2Model", "pooler_output", EMMS),
    _image("PVT", ("pvt",), "PvtModel", "late_cls_token", EMMS, first_layer=0),
    _image("PVTv2", ("pvt_v2",), "PvtV2Model", "spatial_mean", EMMS, first_layer=0),
    _image("CLIP vision tower", ("clip", "clip_vision_model"), "CLIPVisionModel", "pooler_output", CLIP_PAPER),
    _image(
        "SigLIP vision tower", ("siglip", "siglip_vision_model"), "SiglipVisionModel", "pooler_output", SIGLIP_PAPER
    ),
    # Captioners see the image and a start token, never a caption.
    _image(
        "VisionEncoderDecoder",
        ("vision-encoder-decoder",),
        "VisionEncoderDecoderModel",
        "captioner_cross_attention",
        CAPTIONERS,
    ),
    _image("BLIP", ("blip",), "BlipForConditionalGeneration", "captioner_blip", CAPTIONERS),
    _image("GIT", ("git",), "GitModel", "captioner_git", CAPTIONERS),
    # Text encoders: EMMS takes the mean of the last hidden layer.
    _text("BERT", ("bert",), "BertModel", "masked_mean", EMMS, poolerless=True),
    _text("RoBERTa", ("roberta",), "RobertaModel", "masked_mean", EMMS, poolerless=True),
    _text("XLM-RoBERTa", ("xlm-roberta",), "XLMRobertaModel", "masked_mean", EMMS, poolerless=True),
    _text("CamemBERT", ("camembert",), "CamembertModel", "masked_mean", EMMS, poolerless=True),
    _text("DistilBERT", ("distilbert",), "DistilBertModel", "masked_mean", EMMS),
    _text("ALBERT", ("albert",), "AlbertModel", "masked_mean", EMMS, poolerless=True),
    _text("ELECTRA", ("electra",), "ElectraModel", "masked_mean", EMMS),
    _text("DeBERTa", ("deberta",), "DebertaModel", "masked_mean", EMMS),
    _text("DeBERTa-v2", ("deberta-v2",), "DebertaV2Model", "masked_mean", EMMS),
    _text("ModernBERT", ("modernbert",), "ModernBertModel", "masked_mean", EMMS),
    _text("ModernBERT decoder", ("modernbert-decoder",), "ModernBertDecoderModel", "masked_mean", EMMS),
    _text("EuroBERT", ("eurobert",), "EuroBertModel", "masked_mean", EMMS),
    _text("Nomic BERT", ("nomic_bert",), "NomicBertModel", "masked_mean", EMMS),
    _text("MPNet", ("mpnet",), "MPNetModel", "masked_mean", EMMS, poolerless=True),
    _text("GPT-2", ("gpt2",), "GPT2Model", "masked_mean", EMMS),
    _text("GPT-NeoX", ("gpt_neox",), "GPTNeoXModel", "masked_mean", EMMS),
    _text("OPT", ("opt",), "OPTModel", "masked_mean", EMMS),
    _text("Llama", ("llama",), "LlamaModel", "masked_mean", EMMS),
    _text("Qwen2", ("qwen2",), "Qwen2Model", "masked_mean", EMMS),
    _text("Qwen3", ("qwen3",), "Qwen3Model", "masked_mean", EMMS),
    _text("Gemma", ("gemma",), "GemmaModel", "masked_mean", EMMS),
    _text("Gemma 2", ("gemma2",), "Gemma2Model", "masked_mean", EMMS),
    _text("Gemma 3", ("gemma3_text",), "Gemma3TextModel", "masked_mean", EMMS),
    _text(
        "EmbeddingGemma 2",
        ("embedding_gemma2",),
        "EmbeddingGemma2Model",
        "masked_mean",
        EMMS,
        unused=("vision_tower", "embed_vision", "audio_tower", "embed_audio"),
    ),
    _text("Mistral", ("mistral",), "MistralModel", "masked_mean", EMMS),
    _text("Phi-3", ("phi3",), "Phi3Model", "masked_mean", EMMS),
    _text("SmolLM3", ("smollm3",), "SmolLM3Model", "masked_mean", EMMS),
    _text("gpt-oss", ("gpt_oss",), "GptOssModel", "masked_mean", EMMS),
    _text("T5 encoder", ("t5",), "T5EncoderModel", "masked_mean", "Sentence-T5 (arXiv 2108.08877)"),
    _text("mT5 encoder", ("mt5",), "MT5EncoderModel", "masked_mean", "Sentence-T5 (arXiv 2108.08877)"),
    _text("BART encoder", ("bart",), "BartModel", "encoder_masked_mean", "as for T5"),
    _text(
        STATIC,
        ("model2vec",),
        "hf_emms.features.static_embedding:StaticEmbedding",
        "masked_mean",
        "sentence-transformers' StaticEmbedding: the mean of token vectors",
    ),
    _text("CLIP text tower", ("clip", "clip_text_model"), "CLIPTextModelWithProjection", "text_embeds", EMMS),
    _text(
        "SigLIP text tower",
        ("siglip", "siglip_text_model"),
        "SiglipTextModel",
        "unmasked_pooler_output",
        "arXiv 2303.15343 and its model page: padded to the full length, no attention mask",
        pads_to_limit=True,
    ),
    _text("CLAP text tower", ("clap",), "ClapTextModelWithProjection", "clap_text", "as for CLIP"),
    # Sound: encoders of waveforms or of spectrograms. MMS and XLS-R are of the type wav2vec2.
    _audio("wav2vec 2.0", ("wav2vec2",), "Wav2Vec2Model", "frames", FRAMES),
    _audio("Wav2Vec2-BERT", ("wav2vec2-bert",), "Wav2Vec2BertModel", "frames", FRAMES),
    _audio("Wav2Vec2-Conformer", ("wav2vec2-conformer",), "Wav2Vec2ConformerModel", "frames", FRAMES),
    _audio("HuBERT", ("hubert",), "HubertModel", "frames", FRAMES),
    _audio("WavLM", ("wavlm",), "WavLMModel", "frames", FRAMES),
    _audio("data2vec-audio", ("data2vec-audio",), "Data2VecAudioModel", "frames", FRAMES),
    _audio("UniSpeech", ("unispeech",), "UniSpeechModel", "frames", FRAMES),
    _audio("UniSpeech-SAT", ("unispeech-sat",), "UniSpeechSatModel", "frames", FRAMES),
    _audio("SEW", ("sew",), "SEWModel", "frames", FRAMES),
    _audio("SEW-D", ("sew-d",), "SEWDModel", "frames", FRAMES),
    _audio("Whisper encoder", ("whisper",), "WhisperModel", "frames", FRAMES, unused=("decoder",)),
    _audio("Moonshine encoder", ("moonshine",), "MoonshineModel", "frames", FRAMES, unused=("decoder",)),
    _audio(
        "Moonshine streaming encoder",
        ("moonshine_streaming",),
        "MoonshineStreamingModel",
        "frames",
        FRAMES,
        unused=("decoder",),
    ),
    _audio("Parakeet encoder", ("parakeet_ctc", "parakeet_encoder"), "ParakeetEncoder", "frames", FRAMES),
    _audio("SpeechT5 encoder", ("speecht5",), "SpeechT5ForSpeechToText", "frames", FRAMES),
    _audio(
        "AST",
        ("audio-spectrogram-transformer",),
        "ASTModel",
        "ast",
        "input of the classifier in ASTForAudioClassification",
    ),
    _audio("CLAP audio tower", ("clap",), "ClapAudioModelWithProjection", "clap_audio", CLIP_PAPER),
    # Images with texts, read in two towers.
    _image_text("CLIP", ("clip",), "CLIPModel", "two_towers", FUSION),
    _image_text("SigLIP", ("siglip",), "SiglipModel", "unmasked_two_towers", FUSION, pads_to_limit=True),
    _image_text(
        "VisionTextDualEncoder", ("vision-text-dual-encoder",), "VisionTextDualEncoderModel", "two_towers", FUSION
    ),
    _image_text("OWL-ViT", ("owlvit",), "OwlViTForObjectDetection", "owlvit", FUSION),
    _image_text("OWLv2", ("owlv2",), "Owlv2ForObjectDetection", "owlv2", FUSION),
    # Images with texts, read together.
    _image_text("ViLT", ("vilt",), "ViltModel", "vilt", FUSION, poolerless=True),
    _image_text("BLIP", ("blip",), "BlipForQuestionAnswering", "blip", FUSION, unused=("text_decoder",)),
    _image_text("GIT", ("git",), "GitModel", "git", FUSION),
    _image_text("Grounding DINO", ("grounding-dino",), "GroundingDinoForObjectDetection", "grounding_dino", FUSION),
    _image_text(
        "MM Grounding DINO", ("mm-grounding-dino",), "MMGroundingDinoForObjectDetection", "grounding_dino", FUSION
    ),
)

# Poolings of text towers: embeddings that images are compared with, not states of tokens.
TOWER_POOLINGS = ("text_embeds", "clap_text", "unmasked_pooler_output")
# Families whose feature is pooled from a text's tokens also read a question with a context.
_TOKEN_POOLINGS = {"masked_mean": "question_context", "encoder_masked_mean": "encoder_question_context"}
ARCHITECTURES += tuple(
    replace(row, input_kind="text+text", pooling=_TOKEN_POOLINGS[row.pooling], source="hf_emms: inputs/text_pair.py")
    for row in ARCHITECTURES
    if row.pooling in _TOKEN_POOLINGS
)
# Prompts: the next token depends on the decoder's state of the last token, or on the encoder's states.
_WRITERS = {
    "last_token": (
        *("GPT-2", "GPT-NeoX", "OPT", "Llama", "Qwen2", "Qwen3", "Gemma", "Gemma 2", "Gemma 3", "Mistral", "Phi-3"),
        *("SmolLM3", "gpt-oss", "ModernBERT decoder"),
    ),
    "masked_mean": ("T5 encoder", "mT5 encoder"),
    "encoder_masked_mean": ("BART encoder",),
}
ARCHITECTURES += tuple(
    replace(row, family=row.family.removesuffix(" encoder"), input_kind="prompt", pooling=pooling, source=_PROMPTS)
    for pooling, names in _WRITERS.items()
    for row in ARCHITECTURES
    if row.family in names and row.pooling in _TOKEN_POOLINGS
)
ARCHITECTURES += (
    _prompt("BLOOM", ("bloom",), "BloomModel", "last_token"),
    _prompt("Phi", ("phi",), "PhiModel", "last_token"),
    _prompt("OLMo 2", ("olmo2",), "Olmo2Model", "last_token"),
    _prompt("Mamba", ("mamba",), "MambaModel", "last_token"),
    _prompt("mBART", ("mbart",), "MBartModel", "encoder_masked_mean"),
    _prompt("Marian", ("marian",), "MarianMTModel", "encoder_masked_mean"),
    _prompt("M2M-100 and NLLB", ("m2m_100",), "M2M100Model", "encoder_masked_mean"),
    _prompt("Pegasus", ("pegasus",), "PegasusForConditionalGeneration", "encoder_masked_mean"),
)
# Families that read texts also read pairs of texts, words in texts, and queries with documents.
_OF_TEXTS = {
    "text": {
        "text-pair": "sentence_pair",
        "search": "search_collection",
        "reranked-search": "search_collection",
        "words": "words",
    }
}
ARCHITECTURES += tuple(
    replace(row, input_kind=kind, source=f"hf_emms: inputs/{module}.py")
    for row in ARCHITECTURES
    for kind, module in _OF_TEXTS.get(row.input_kind, {}).items()
)

# A kind of input → the kinds of its parts, where its name does not tell.
_MADE_OF = {kind: parts for parts, kinds in _OF_TEXTS.items() for kind in kinds} | {"prompt": "text"}

_BUILT_IN = {(row.input_kind, name): row for row in ARCHITECTURES for name in row.model_types}


def find_architecture(model_type: str, input_kind: str) -> Architecture | None:
    """Return the row of a `model_type` for a kind of input, or None. Raises an `EmmsError` if packages disagree."""
    built_in = _BUILT_IN.get((input_kind, model_type))
    added = [(plugin, row) for plugin, row in _plugin_rows(model_type) if row.input_kind == input_kind]
    check_unique((plugin for plugin, _ in added), built_in=built_in is not None)
    return added[0][1] if added else built_in


def other_inputs(model_type: str, input_kind: str) -> tuple[str, ...]:
    """Return the kinds that a family reads instead of this kind of input, such as ("image",); empty if it may read it.

    The rows of the table tell, and for other families their class of transformers. Families that read images with
    texts may still have an image tower that the fallback uses.
    """
    kinds = {kind for kind, name in _BUILT_IN if name == model_type}
    kinds |= {row.input_kind for _, row in _plugin_rows(model_type)}
    if input_kind in kinds:
        return ()
    kinds -= {"prompt"}  # a family that writes may read anything else
    parts = {*_MADE_OF.get(input_kind, input_kind).split("+")}
    if kinds:
        read = {part for kind in kinds for part in _MADE_OF.get(kind, kind).split("+")}
        return tuple(sorted(read)) if any(input_kind not in kind.split("+") for kind in kinds) else ()
    alone, together = _inputs_of_class(model_type)
    reads_it = parts <= together if len(parts) > 1 else parts <= alone
    return () if reads_it else tuple(sorted(alone))


# Readable names of the inputs of checkpoints.
INPUT_WORDS = {"text": "texts", "image": "images", "audio": "sound", "video": "videos", "time": "time series"}
# The same, by the main argument of a class of transformers.
_MAIN_INPUTS = {
    "input_ids": "text",
    "pixel_values": "image",
    "pixel_values_videos": "video",
    "input_values": "audio",
    "input_features": "audio",
    "past_values": "time",
}


# Checkpoints are planned in several threads, and a module that two threads import at once can be seen half-made.
_IMPORTING = Lock()


def _inputs_of_class(model_type: str) -> tuple[frozenset[str], frozenset[str]]:
    with _IMPORTING:
        return _stated_inputs(model_type)


@cache
def _stated_inputs(model_type: str) -> tuple[frozenset[str], frozenset[str]]:
    """Return the kinds that the class of `AutoModel` reads alone, and together, or all kinds if unknown."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    everything = frozenset(INPUT_WORDS)
    name = MODEL_MAPPING_NAMES.get(model_type)
    try:
        loader = getattr(transformers, name if isinstance(name, str) else name[0]) if name else None
    except (ImportError, AttributeError):  # it needs a package that is not installed: loading names it
        return everything, everything
    main = _MAIN_INPUTS.get(str(getattr(loader, "main_input_name", "")))
    if loader is None or main is None:
        return everything, everything
    stated = loader.input_modalities
    stated = {stated} if isinstance(stated, str) else {*stated}
    if stated & {main, "video"} == {"video"}:  # a class whose pixel_values contain multiple frames
        main = "video"
    alone = frozenset((main, *(part for part in INPUT_WORDS if hasattr(loader, f"get_{part}_features"))))
    return alone, alone | stated


def families(input_kind: str) -> tuple[str, ...]:
    return tuple(row.family for row in ARCHITECTURES if row.input_kind == input_kind)


def _plugin_rows(model_type: str) -> list[tuple[Plugin, Architecture]]:
    """Return the rows of other packages for a `model_type`, which is the name of their entry point."""
    rows = []
    for plugin in plugins("hf_emms.architectures").get(model_type, ()):
        for row in plugin.load(Architecture):
            if model_type not in row.model_types:
                raise plugin.error(f"is for {', '.join(row.model_types)}: the entry point needs such a name")
            rows.append((plugin, replace(row, package=f"{plugin.package} {plugin.version}")))
    return rows
