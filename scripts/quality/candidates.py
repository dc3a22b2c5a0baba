"""The candidate checkpoints: their folders, and each as a network with the pooled feature that hf_emms scores."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

from hf_emms.features.feature_plan import ExtractionPlan, plan_extraction
from hf_emms.features.fusion import Fused, find_fusion
from hf_emms.features.pooling import POOLINGS
from hf_emms.hub import resolve
from scripts.demo import sources
from scripts.quality.protocol import DUALS, SIDE, Candidate, work

TOKENS = 64  # the most tokens of a text; the micro checkpoints read no more
MINILM_LAYERS = {"minilm-6-layers": 6, "minilm-3-layers": 3, "minilm-0-layers": 0}
DUAL_WIDTH = 64
LITE0 = "efficientnet-lite0"

Inputs = dict[str, Tensor]


def checkpoint(name: str) -> str:
    """What `hf_emms.hub.resolve` takes for a candidate; its folder is made on first use."""
    makers = {LITE0: _make_lite0}
    makers |= {one: partial(_make_minilm, layers=layers) for one, layers in MINILM_LAYERS.items()}
    makers |= {one: partial(_make_dual, parts=parts) for one, parts in DUALS.items()}
    if name not in makers:
        return f"emms-demo/{name}"
    folder = work() / "candidates" / name
    if not (folder / "config.json").exists():
        sources.fetch()
        makers[name](folder)
    return str(folder)


def _make_lite0(folder: Path) -> None:
    """EfficientNet-Lite0 with ImageNet weights as a timm checkpoint that reads pictures of SIDE pixels."""
    config = transformers.TimmWrapperConfig(
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
    model = transformers.TimmWrapperModel(config)
    network = model.timm_model
    weights = torch.load(sources.LITE0, weights_only=True)
    # other names, same layers in the same order: load_state_dict checks every shape
    chosen = list(weights.values())[: len(network.state_dict())]
    network.load_state_dict(dict(zip(network.state_dict(), chosen, strict=True)))
    model.save_pretrained(folder)


def _make_minilm(folder: Path, layers: int) -> None:
    """The first layers of all-MiniLM-L6-v2."""
    model = transformers.BertModel.from_pretrained(sources.MINILM, add_pooling_layer=False)
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
    model.save_pretrained(folder)
    transformers.AutoTokenizer.from_pretrained(sources.MINILM).save_pretrained(folder)


def _make_dual(folder: Path, parts: tuple[str, str]) -> None:
    """An image checkpoint and a text checkpoint of the demo in one space, as if they were about to be trained."""
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


@dataclass
class Backbone:
    """A candidate's network.

    Attributes:
        model: its weights, all trainable.
        plan: how hf_emms reads it.
        revision: hash of its files.
        half: whether products run in bfloat16.
    """

    model: Any
    plan: ExtractionPlan
    half: bool = False

    @property
    def revision(self) -> str:
        return self.plan.repo.revision

    @property
    def reading(self) -> str:
        """Hash of its processor's or tokenizer's files: candidates that share it read the same tensors."""
        digest = hashlib.sha256()
        for name in ("preprocessor_config.json", "tokenizer.json"):
            path = self.plan.model_folder / name
            digest.update(path.read_bytes() if path.exists() else b"")
        if not (self.plan.model_folder / "preprocessor_config.json").exists():
            digest.update(self.plan.architecture.family.encode())
        return digest.hexdigest()

    def features(self, inputs: Inputs) -> Tensor:
        """The pooled feature, float32 (B, D1), with gradients."""
        if self.plan.architecture.modality == "image+text":
            return self._joined(inputs)
        with self._precision():
            return POOLINGS[self.plan.pooling].features(self.model, self._read(inputs)).float()

    def _joined(self, inputs: Inputs) -> Tensor:
        fusion = find_fusion(self.plan.pooling)
        picture = fusion.picture(self.model, inputs["pixel_values"])
        words = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        if isinstance(fusion, Fused):
            return fusion.fuse(self.model, {"picture": picture, **words})
        return fusion.join(picture, fusion.text(self.model, words))

    def tokens(self, inputs: Inputs) -> Tensor:
        """The last layer's tokens, float32 (B, T, D1), with gradients."""
        with self._precision():
            return self.model(**self._read(inputs)).last_hidden_state.float()

    def _precision(self) -> torch.autocast:
        return torch.autocast("cpu", torch.bfloat16, enabled=self.half)

    def _read(self, inputs: Inputs) -> Inputs:
        """What the network takes; heads may need more."""
        known = inspect.signature(self.model.forward).parameters
        return {name: tensor for name, tensor in inputs.items() if name in known}


def load(candidate: Candidate, task: str) -> Backbone:
    """Load a candidate in float32."""
    plan = plan_extraction(resolve(checkpoint(candidate.name), "model"), candidate.modality, task)
    options = {"add_pooling_layer": False} if plan.architecture.poolerless else {}
    loader = getattr(transformers, plan.architecture.loader)
    model = loader.from_pretrained(plan.model_folder, dtype=torch.float32, local_files_only=True, **options)
    if plan.architecture.modality == "image+text" and isinstance(find_fusion(plan.pooling), Fused):
        find_fusion(plan.pooling).prepare(model)
    for module in model.modules():
        # transformers' MobileNetV2 has 0.997, the other framework's convention: only the last batch would count
        if isinstance(module, torch.nn.BatchNorm2d) and module.momentum is not None and module.momentum > 0.5:
            module.momentum = 0.1
    if "image" in candidate.modality:
        model.to(memory_format=torch.channels_last)  # 1.7 times as fast on a CPU
    return Backbone(model, plan, candidate.half)


def pixels(backbone: Backbone, pictures: Sequence[Any]) -> Inputs:
    """Pictures as the candidate's own processor gives them, all rows at once."""
    processor = transformers.AutoImageProcessor.from_pretrained(backbone.plan.model_folder, local_files_only=True)
    parts = [
        processor(images=[image.convert("RGB") for image in pictures[start : start + 256]], return_tensors="pt")
        for start in range(0, len(pictures), 256)
    ]
    values = torch.cat([part["pixel_values"] for part in parts])
    return {"pixel_values": values.contiguous(memory_format=torch.channels_last)}


def words(backbone: Backbone, texts: Sequence[str]) -> Inputs:
    """Texts as the candidate's own tokenizer gives them, all rows at once."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone.plan.model_folder, local_files_only=True)
    longest = min(TOKENS, tokenizer.model_max_length)
    encoded = tokenizer(list(texts), padding="max_length", truncation=True, max_length=longest, return_tensors="pt")
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


def prepare_pairs(backbone: Backbone, questions: Sequence[str], contexts: Sequence[str]) -> tuple[Inputs, Tensor]:
    """Questions with their contexts in one sequence each; contexts are cut where it is too long.

    Returns:
        Tensors of N rows, "context" marking the context's tokens; where each token is in its context,
        int64 (N, T, 2).
    """
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone.plan.model_folder, local_files_only=True)
    encoded = tokenizer(
        list(questions),
        list(contexts),
        padding="max_length",
        truncation="only_second",
        max_length=TOKENS,
        return_offsets_mapping=True,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    names = ("input_ids", "attention_mask", "token_type_ids")
    second = [[part == 1 for part in encoded.sequence_ids(row)] for row in range(len(questions))]
    return {**{name: encoded[name] for name in names}, "context": torch.tensor(second)}, encoded["offset_mapping"]


def take(inputs: Inputs, rows: Tensor) -> Inputs:
    """A batch; texts only as long as its longest."""
    batch = {name: tensor[rows] for name, tensor in inputs.items()}
    if "attention_mask" in batch:
        longest = int(batch["attention_mask"].sum(1).max())
        batch = {name: tensor[:, :longest] if tensor.ndim == 2 else tensor for name, tensor in batch.items()}
    return batch
