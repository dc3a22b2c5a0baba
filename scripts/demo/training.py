"""What every demo checkpoint goes through: a training loop, and a folder with weights, readers and a model card."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from scripts.demo import sources
from scripts.demo.tables import write_card

BATCH = 64
WEIGHT_DECAY = 0.02
WARM_UP = 0.1  # share of the steps
RANDOM = "Random weights, as a control: never trained."
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
GPT2_WITHOUT_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def train(
    modules: list[torch.nn.Module],
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    rows: int,
    *,
    steps: int,
    rate: float,
    seed: int,
) -> float:
    """Minimise a loss with AdamW and a one-cycle schedule.

    Args:
        modules: what is trained; left in evaluation mode.
        loss_of: loss of a batch, given row indices int64 (BATCH,).
        rows: how many rows there are to draw from.
        steps: optimiser steps.
        rate: peak learning rate.
        seed: of the batches.

    Returns:
        Seconds of training.
    """
    parameters = [p for module in modules for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps, pct_start=WARM_UP)
    generator = torch.Generator().manual_seed(seed)
    for module in modules:
        module.train()
    start = time.perf_counter()
    for step in range(steps):
        loss = loss_of(torch.randint(rows, (BATCH,), generator=generator))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"  step {step:5d}  loss {loss.item():.4f}  {time.perf_counter() - start:.0f} s", flush=True)
    for module in modules:
        module.eval()
    return time.perf_counter() - start


def store(model: torch.nn.Module, folder: Path) -> None:
    """Save a transformers model as fp16 safetensors into an emptied folder, which is made if it does not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    model.half().save_pretrained(folder)


@dataclass(frozen=True)
class Checkpoint:
    """How a demo checkpoint comes about, and what its card says.

    Attributes:
        name: repository name below emms-demo/.
        seed: of the untrained weights and of the batches.
        build: makes the untrained model.
        readers: writes tokenizer and processor into a folder.
        pipeline: the Hub's pipeline tag.
        how: one or two sentences on how the weights came about.
        fit: trains a model for so many steps with a seed and returns the seconds; None for random weights.
        steps: optimiser steps of 64 examples.
        data: what it was trained on.
        language: of its texts, for text models.
        kind: the demo's folder that it lies in.
    """

    name: str
    seed: int
    build: Callable[[], PreTrainedModel]
    readers: Callable[[Path], object]
    pipeline: str
    how: str = RANDOM
    fit: Callable[[Any, int, int], float] | None = None
    steps: int = 0
    data: tuple[str, ...] = ()
    language: str | None = None
    kind: str = "checkpoints"

    def make(self, folder: Path | None = None) -> None:
        """Train the checkpoint and write its folder, by default that of the demo."""
        torch.manual_seed(self.seed)
        model = self.build()
        seconds = self.fit(model, self.steps, self.seed) if self.fit else 0.0
        folder = folder or sources.DEMO / self.kind / self.name
        architecture, parameters = model.config.model_type, sum(p.numel() for p in model.parameters())
        store(model, folder)
        self.readers(folder)
        head = {"license": "apache-2.0", "library_name": "transformers", "pipeline_tag": self.pipeline}
        head |= {"tags": ["hf-emms-demo", architecture]} | ({"language": [self.language]} if self.language else {})
        trained = f"{self.steps:,} steps of 64 in {seconds:.0f} s on one CPU core" if self.steps else "none"
        body = f"""# emms-demo/{self.name}

A demo checkpoint of hf_emms, made to be ranked in seconds. Not for use.

{self.how}

| | |
|---|---|
| architecture | {architecture} |
| parameters | {parameters:,} |
| training | {trained} |
| data | {", ".join(self.data) or "none"} |
| weights | fp16 safetensors |

Made by `scripts/demo/make.py`; sources and licences stand in hf_emms' NOTICE.
"""
        write_card(folder, head, body)
