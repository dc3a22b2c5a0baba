"""The candidate checkpoints: the demo's, and folders made of real pretrained weights that packages ship."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ranking_quality.places import fetch_sources, use_demo_scripts, work
from ranking_quality.protocol import DUALS, SIDE

MINILM_LAYERS = {"minilm-6-layers": 6, "minilm-3-layers": 3, "minilm-0-layers": 0}
DUAL_WIDTH = 64
LITE0 = "efficientnet-lite0"


def checkpoint(name: str) -> str:
    """What `hf_emms.hub.resolve` takes for a candidate; its folder is made on first use."""
    makers = {LITE0: _make_lite0}
    makers |= {one: partial(_make_minilm, layers=layers) for one, layers in MINILM_LAYERS.items()}
    makers |= {one: partial(_make_dual, parts=parts) for one, parts in DUALS.items()}
    if name not in makers:
        return f"emms-demo/{name}"
    folder = work() / "candidates" / name
    if not (folder / "config.json").exists():
        fetch_sources()
        makers[name](folder)
    return str(folder)


def _make_lite0(folder: Path) -> None:
    """EfficientNet-Lite0 with ImageNet weights as a timm checkpoint that reads pictures of SIDE pixels."""
    use_demo_scripts()
    import sources
    import torch
    from transformers import TimmWrapperConfig, TimmWrapperModel

    config = TimmWrapperConfig(
        architecture="tf_efficientnet_lite0",
        num_labels=0,
        pretrained_cfg={
            "input_size": [3, SIDE, SIDE],
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "crop_pct": 1.0,
            "interpolation": "bilinear",
        },
    )
    model = TimmWrapperModel(config)
    network = model.timm_model
    weights = torch.load(sources.LITE0, weights_only=True)
    # other names, same layers in the same order: load_state_dict checks every shape
    kept = list(weights.values())[: len(network.state_dict())]
    network.load_state_dict(dict(zip(network.state_dict(), kept, strict=True)))
    model.save_pretrained(folder)


def _make_minilm(folder: Path, layers: int) -> None:
    """The first layers of all-MiniLM-L6-v2."""
    use_demo_scripts()
    import sources
    from transformers import AutoTokenizer, BertModel

    model = BertModel.from_pretrained(sources.MINILM, add_pooling_layer=False)
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(sources.MINILM).save_pretrained(folder)


def _make_dual(folder: Path, parts: tuple[str, str]) -> None:
    """An image checkpoint and a text checkpoint of the demo in one space, as if they were about to be trained."""
    import torch
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, VisionTextDualEncoderModel

    from hf_emms.hub import resolve

    torch.manual_seed(0)
    vision, text = (resolve(f"emms-demo/{part}", "model").folder for part in parts)
    models = [AutoModel.from_pretrained(part, dtype=torch.float32) for part in (vision, text)]
    config = VisionTextDualEncoderModel.config_class.from_vision_text_configs(
        models[0].config, models[1].config, projection_dim=DUAL_WIDTH
    )
    VisionTextDualEncoderModel(config, vision_model=models[0], text_model=models[1]).save_pretrained(folder)
    AutoImageProcessor.from_pretrained(vision).save_pretrained(folder)
    AutoTokenizer.from_pretrained(text).save_pretrained(folder)
