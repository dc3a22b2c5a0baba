"""The table of architectures: the class that loads a family of checkpoints, and the pooling of its features.

A new architecture is a row, here or in a package of the user's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from hf_emms.options.registry import plugins


@dataclass(frozen=True)
class Architecture:
    """A family of checkpoints with a kind of input; CLIP and SigLIP have a row for each tower.

    Attributes:
        family: Its name in reports.
        model_types: `model_type` in config.json.
        loader: The class of transformers that loads it, without heads that features don't need; "package.module:CLASS"
            is a class of another package.
        pooling: An entry of `pooling.POOLINGS` or `fusion.FUSIONS`; "package.module:NAME" is an object of another
            package.
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
FRAMES = "mean of frames, as the model's ...ForSequenceClassification pools them"
AST_CLASSIFIER = "input of the classifier in ASTForAudioClassification"
PROMPTS = "hf_emms: inputs/prompt.py"
SENTENCE_T5 = "Sentence-T5 (arXiv 2108.08877)"
STATIC_EMBEDDING = "sentence-transformers' StaticEmbedding: the mean of token vectors"
_OTHER_TOWERS = ("vision_tower", "embed_vision", "audio_tower", "embed_audio")

_image = partial(Architecture, input_kind="image", pooling="pooler_output", source=EMMS)
_captioner = partial(Architecture, input_kind="image", source="hf_emms: features/pooling.py")
# EMMS takes the mean of the last hidden layer.
_text = partial(Architecture, input_kind="text", pooling="masked_mean", source=EMMS)
_image_text = partial(Architecture, input_kind="image+text", source="hf_emms: features/fusion.py")
_prompt = partial(Architecture, input_kind="prompt", source=PROMPTS)
# A vector that takes the place of frames in training: many checkpoints lack it, and features do not need it.
_audio = partial(Architecture, input_kind="audio", pooling="frames", source=FRAMES, unused=("masked_spec_embed",))

ARCHITECTURES: tuple[Architecture, ...] = (
    # Convolutional image encoders: the pooled map that feeds their classifier, as EMMS does for CNNs.
    _image("ResNet", ("resnet",), "ResNetModel"),
    _image("RegNet", ("regnet",), "RegNetModel"),
    _image("ConvNeXt", ("convnext",), "ConvNextModel", source=CLASSIFIER),
    _image("ConvNeXtV2", ("convnextv2",), "ConvNextV2Model", source=CLASSIFIER),
    _image("DINOv3 ConvNeXt", ("dinov3_convnext",), "DINOv3ConvNextModel", source=CLASSIFIER),
    _image("MobileNetV1", ("mobilenet_v1",), "MobileNetV1Model", first_layer=0),
    _image("MobileNetV2", ("mobilenet_v2",), "MobileNetV2Model", first_layer=0),
    _image("EfficientNet", ("efficientnet",), "EfficientNetModel"),
    # ResNet, DenseNet, MNASNet, MobileNet, Inception, and transformers too: all that timm has, by `architecture`.
    _image(
        "timm", ("timm_wrapper",), "TimmWrapperModel", pooling="timm", source=CLASSIFIER, first_layer=0, requires="timm"
    ),
    # Image transformers.
    _image("ViT", ("vit",), "ViTModel", pooling="cls_token", poolerless=True),
    _image("DeiT", ("deit",), "DeiTModel", pooling="cls_token", poolerless=True),
    _image("DINOv2", ("dinov2",), "Dinov2Model", pooling="cls_token"),
    _image("DINOv2 with registers", ("dinov2_with_registers",), "Dinov2WithRegistersModel", pooling="cls_token"),
    _image("DINOv3 ViT", ("dinov3_vit",), "DINOv3ViTModel", pooling="cls_token"),
    # The ViT of MAE without its masks, which leave out three of four patches at random.
    _image("ViT-MAE", ("vit_mae",), "ViTModel", pooling="cls_token", source=MAE_PAPER, poolerless=True),
    # Checkpoints that were not trained as classifiers have no pooler.
    _image("Hiera", ("hiera",), "HieraModel", pooling="image_fallback", source=CLASSIFIER),
    # BEiT's pooler is the mean of patches or CLS, as its config says.
    _image("BEiT", ("beit",), "BeitModel", source=CLASSIFIER),
    _image("Swin", ("swin",), "SwinModel"),
    _image("SwinV2", ("swinv2",), "Swinv2Model"),
    _image("PVT", ("pvt",), "PvtModel", pooling="late_cls_token", first_layer=0),
    _image("PVTv2", ("pvt_v2",), "PvtV2Model", pooling="spatial_mean", first_layer=0),
    _image("CLIP vision tower", ("clip", "clip_vision_model"), "CLIPVisionModel", source=CLIP_PAPER),
    _image("SigLIP vision tower", ("siglip", "siglip_vision_model"), "SiglipVisionModel", source=SIGLIP_PAPER),
    # Captioners see the image and a start token, never a caption.
    _captioner("VisionEncoderDecoder", ("vision-encoder-decoder",), "VisionEncoderDecoderModel", "captioner"),
    _captioner("BLIP", ("blip",), "BlipForConditionalGeneration", "captioner_blip"),
    _captioner("GIT", ("git",), "GitModel", "captioner_git"),
    # Text encoders.
    _text("BERT", ("bert",), "BertModel", poolerless=True),
    _text("RoBERTa", ("roberta",), "RobertaModel", poolerless=True),
    _text("XLM-RoBERTa", ("xlm-roberta",), "XLMRobertaModel", poolerless=True),
    _text("CamemBERT", ("camembert",), "CamembertModel", poolerless=True),
    _text("DistilBERT", ("distilbert",), "DistilBertModel"),
    _text("ALBERT", ("albert",), "AlbertModel", poolerless=True),
    _text("ELECTRA", ("electra",), "ElectraModel"),
    _text("DeBERTa", ("deberta",), "DebertaModel"),
    _text("DeBERTa-v2", ("deberta-v2",), "DebertaV2Model"),
    _text("ModernBERT", ("modernbert",), "ModernBertModel"),
    _text("ModernBERT decoder", ("modernbert-decoder",), "ModernBertDecoderModel"),
    _text("EuroBERT", ("eurobert",), "EuroBertModel"),
    _text("Nomic BERT", ("nomic_bert",), "NomicBertModel"),
    _text("MPNet", ("mpnet",), "MPNetModel", poolerless=True),
    _text("GPT-2", ("gpt2",), "GPT2Model"),
    _text("GPT-NeoX", ("gpt_neox",), "GPTNeoXModel"),
    _text("OPT", ("opt",), "OPTModel"),
    _text("Llama", ("llama",), "LlamaModel"),
    _text("Qwen2", ("qwen2",), "Qwen2Model"),
    _text("Qwen3", ("qwen3",), "Qwen3Model"),
    _text("Gemma", ("gemma",), "GemmaModel"),
    _text("Gemma 2", ("gemma2",), "Gemma2Model"),
    _text("Gemma 3", ("gemma3_text",), "Gemma3TextModel"),
    _text("EmbeddingGemma 2", ("embedding_gemma2",), "EmbeddingGemma2Model", unused=_OTHER_TOWERS),
    _text("Mistral", ("mistral",), "MistralModel"),
    _text("Phi-3", ("phi3",), "Phi3Model"),
    _text("SmolLM3", ("smollm3",), "SmolLM3Model"),
    _text("gpt-oss", ("gpt_oss",), "GptOssModel"),
    _text("T5 encoder", ("t5",), "T5EncoderModel", source=SENTENCE_T5),
    _text("mT5 encoder", ("mt5",), "MT5EncoderModel", source=SENTENCE_T5),
    _text("BART encoder", ("bart",), "BartModel", pooling="encoder_masked_mean", source="as for T5"),
    _text(STATIC, ("model2vec",), "hf_emms.features.static_embedding:StaticEmbedding", source=STATIC_EMBEDDING),
    _text("CLIP text tower", ("clip", "clip_text_model"), "CLIPTextModelWithProjection", pooling="text_embeds"),
    _text(
        "SigLIP text tower",
        ("siglip", "siglip_text_model"),
        "SiglipTextModel",
        pooling="unmasked_pooler_output",
        source="arXiv 2303.15343 and its model page: padded to the full length, no attention mask",
        pads_to_limit=True,
    ),
    _text("CLAP text tower", ("clap",), "ClapTextModelWithProjection", pooling="clap_text", source="as for CLIP"),
    # Sound: encoders of waveforms or of spectrograms. MMS and XLS-R are of the type wav2vec2.
    _audio("wav2vec 2.0", ("wav2vec2",), "Wav2Vec2Model"),
    _audio("Wav2Vec2-BERT", ("wav2vec2-bert",), "Wav2Vec2BertModel"),
    _audio("Wav2Vec2-Conformer", ("wav2vec2-conformer",), "Wav2Vec2ConformerModel"),
    _audio("HuBERT", ("hubert",), "HubertModel"),
    _audio("WavLM", ("wavlm",), "WavLMModel"),
    _audio("data2vec-audio", ("data2vec-audio",), "Data2VecAudioModel"),
    _audio("UniSpeech", ("unispeech",), "UniSpeechModel"),
    _audio("UniSpeech-SAT", ("unispeech-sat",), "UniSpeechSatModel"),
    _audio("SEW", ("sew",), "SEWModel"),
    _audio("SEW-D", ("sew-d",), "SEWDModel"),
    _audio("Whisper encoder", ("whisper",), "WhisperModel", unused=("decoder",)),
    _audio("Moonshine encoder", ("moonshine",), "MoonshineModel", unused=("decoder",)),
    _audio("Moonshine streaming encoder", ("moonshine_streaming",), "MoonshineStreamingModel", unused=("decoder",)),
    _audio("Parakeet encoder", ("parakeet_ctc", "parakeet_encoder"), "ParakeetEncoder"),
    _audio("SpeechT5 encoder", ("speecht5",), "SpeechT5ForSpeechToText"),
    _audio("AST", ("audio-spectrogram-transformer",), "ASTModel", pooling="ast", source=AST_CLASSIFIER),
    _audio("CLAP audio tower", ("clap",), "ClapAudioModelWithProjection", pooling="clap_audio", source=CLIP_PAPER),
    # Images with texts, read in two towers.
    _image_text("CLIP", ("clip",), "CLIPModel", "two_towers"),
    _image_text("SigLIP", ("siglip",), "SiglipModel", "unmasked_two_towers", pads_to_limit=True),
    _image_text("VisionTextDualEncoder", ("vision-text-dual-encoder",), "VisionTextDualEncoderModel", "two_towers"),
    _image_text("OWL-ViT", ("owlvit",), "OwlViTForObjectDetection", "owlvit"),
    _image_text("OWLv2", ("owlv2",), "Owlv2ForObjectDetection", "owlv2"),
    # Images with texts, read together.
    _image_text("ViLT", ("vilt",), "ViltModel", "vilt", poolerless=True),
    _image_text("BLIP", ("blip",), "BlipForQuestionAnswering", "blip", unused=("text_decoder",)),
    _image_text("GIT", ("git",), "GitModel", "git"),
    _image_text("Grounding DINO", ("grounding-dino",), "GroundingDinoForObjectDetection", "grounding_dino"),
    _image_text("MM Grounding DINO", ("mm-grounding-dino",), "MMGroundingDinoForObjectDetection", "grounding_dino"),
)

# Poolings of text towers: embeddings that images are compared with, not states of tokens.
TOWER_POOLINGS = ("text_embeds", "clap_text", "unmasked_pooler_output")
# Prompts: the next token depends on the decoder's state of the last token, or on the encoder's states.
_WRITERS = {
    "last_token": (
        *("GPT-2", "GPT-NeoX", "OPT", "Llama", "Qwen2", "Qwen3", "Gemma", "Gemma 2", "Gemma 3", "Mistral", "Phi-3"),
        *("SmolLM3", "gpt-oss", "ModernBERT decoder"),
    ),
    "masked_mean": ("T5 encoder", "mT5 encoder"),
    "encoder_masked_mean": ("BART encoder",),
}
_TEXT_ROWS = tuple(row for row in ARCHITECTURES if row.input_kind == _text.keywords["input_kind"])
ARCHITECTURES += tuple(
    replace(row, family=row.family.removesuffix(" encoder"), input_kind="prompt", pooling=pooling, source=PROMPTS)
    for pooling, names in _WRITERS.items()
    for row in _TEXT_ROWS
    if row.family in names
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
# Families that read texts also read pairs of texts, words in texts, and queries with documents. Towers have no states
# of a question and a context together.
_OF_TOKENS = {"text+text": "text_pair"}
_OF_TEXTS = {
    "text-pair": "sentence_pair",
    "search": "search_collection",
    "reranked-search": "search_collection",
    "words": "words",
}
ARCHITECTURES += tuple(
    replace(row, input_kind=kind, source=f"hf_emms: inputs/{module}.py")
    for row in _TEXT_ROWS
    for kind, module in (_OF_TEXTS if row.pooling in TOWER_POOLINGS else _OF_TEXTS | _OF_TOKENS).items()
)

# A kind of input → the kind of its parts, if its name does not contain them.
_MADE_OF = dict.fromkeys(_OF_TEXTS, "text")

_BUILT_IN = {(row.input_kind, name): row for row in ARCHITECTURES for name in row.model_types}


def find_architecture(model_type: str, input_kind: str) -> Architecture | None:
    """Return the row of a `model_type` for a kind of input, or None."""
    if (input_kind, model_type) in _BUILT_IN:
        return _BUILT_IN[input_kind, model_type]
    return next((row for row in _plugin_rows(model_type) if row.input_kind == input_kind), None)


def other_inputs(model_type: str, input_kind: str) -> tuple[str, ...]:
    """Return the inputs that a family of the table reads instead, such as ("image",). Empty if it may read this kind.

    Families that read images with texts may still have an image tower that the fallback uses.
    """
    kinds = {kind for kind, name in _BUILT_IN if name == model_type}
    kinds |= {row.input_kind for row in _plugin_rows(model_type)}
    if input_kind in kinds:
        return ()
    kinds -= {"prompt"}  # a family that writes may read anything else
    if all(input_kind in kind.split("+") for kind in kinds):
        return ()
    return tuple(sorted({part for kind in kinds for part in _MADE_OF.get(kind, kind).split("+")}))


# Readable names of the inputs of checkpoints.
INPUT_WORDS = {"text": "texts", "image": "images", "audio": "sound"}


def families(input_kind: str) -> tuple[str, ...]:
    return tuple(row.family for row in ARCHITECTURES if row.input_kind == input_kind)


def _plugin_rows(model_type: str) -> list[Architecture]:
    """Return the rows of another package for a `model_type`, which is the name of its entry point."""
    plugin = plugins("hf_emms.architectures").get(model_type)
    if plugin is None:
        return []
    rows = plugin.load(Architecture)
    for row in rows:
        if model_type not in row.model_types:
            raise plugin.error(f"is for {', '.join(row.model_types)}: the entry point needs such a name")
    return [replace(row, package=f"{plugin.package} {plugin.version}") for row in rows]
