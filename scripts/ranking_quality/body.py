"""A candidate ready for full fine-tuning: the same network and the same pooled feature that hf_emms scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from hf_emms.features.plan import ExtractionPlan, plan_extraction
from hf_emms.features.pooling import POOLINGS
from hf_emms.hub import resolve
from ranking_quality.candidates import checkpoint
from torch import Tensor

TOKENS = 64  # the most tokens of a text; the micro checkpoints read no more

Inputs = dict[str, Tensor]


@dataclass
class Body:
    """A candidate's network.

    Attributes:
        model: its weights, all trainable.
        plan: how hf_emms reads it.
        revision: hash of its files.
    """

    model: Any
    plan: ExtractionPlan

    @property
    def revision(self) -> str:
        return self.plan.repo.revision

    def features(self, inputs: Inputs) -> Tensor:
        """The pooled feature, float32 (B, D1), with gradients."""
        return POOLINGS[self.plan.pooling].features(self.model, inputs)


def load(name: str, modality: str, task: str) -> Body:
    """Load a candidate in float32."""
    plan = plan_extraction(resolve(checkpoint(name), "model"), modality, task)
    options = {"add_pooling_layer": False} if plan.architecture.poolerless else {}
    loader = getattr(transformers, plan.architecture.loader)
    model = loader.from_pretrained(plan.model_folder, dtype=torch.float32, local_files_only=True, **options)
    for module in model.modules():
        # transformers' MobileNetV2 has 0.997, the other framework's convention: only the last batch would count
        if isinstance(module, torch.nn.BatchNorm2d) and module.momentum is not None and module.momentum > 0.5:
            module.momentum = 0.1
    if modality == "image":
        model.to(memory_format=torch.channels_last)  # 1.7 times as fast on a CPU
    return Body(model, plan)


def prepare(body: Body, values: Sequence[Any]) -> Inputs:
    """Pictures or texts as the candidate's own processor or tokenizer gives them, all rows at once."""
    folder = body.plan.model_folder
    if body.plan.architecture.modality == "image":
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        parts = [
            processor(images=[image.convert("RGB") for image in values[start : start + 256]], return_tensors="pt")
            for start in range(0, len(values), 256)
        ]
        pixels = torch.cat([part["pixel_values"] for part in parts])
        return {"pixel_values": pixels.contiguous(memory_format=torch.channels_last)}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    encoded = tokenizer(
        list(values), padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt"
    )
    return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}


def take(inputs: Inputs, rows: Tensor) -> Inputs:
    """A batch; texts only as long as its longest."""
    batch = {name: tensor[rows] for name, tensor in inputs.items()}
    if "attention_mask" in batch:
        longest = int(batch["attention_mask"].sum(1).max())
        batch = {name: tensor[:, :longest] for name, tensor in batch.items()}
    return batch
