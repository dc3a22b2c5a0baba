"""The training loop of demo checkpoints, and their folders with weights and readers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel

from scripts.demo import sources

BATCH = 64
WEIGHT_DECAY = 0.02
WARM_UP = 0.1  # share of the steps
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def new_model(family: str, settings: dict[str, Any], auto: Any = AutoModel, **more: Any) -> PreTrainedModel:
    """Return a model of transformers with random weights and these settings of its configuration."""
    return auto.from_config(AutoConfig.for_model(family, **settings), **more)


def transformer(width: int, layers: int, **more: Any) -> dict[str, Any]:
    """Return the shape of a small transformer, for its configuration."""
    shape = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 2 * width}
    return {**shape, "num_attention_heads": 4, **more}


def gpt2(width: int, layers: int, **more: Any) -> dict[str, Any]:
    """Return the shape of a small GPT-2 without dropout, for its configuration."""
    without_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    return {"n_embd": width, "n_layer": layers, "n_head": 4, "n_inner": 2 * width, **without_dropout, **more}


def train(
    modules: list[torch.nn.Module],
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    rows: int,
    *,
    steps: int,
    rate: float,
    seed: int,
) -> None:
    """Minimise a loss with AdamW and a one-cycle schedule. Modules end in evaluation mode.

    `loss_of` returns the loss of a batch, given row indices int64 (BATCH,); `seed` is that of the batches.
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


Fit = Callable[[Any, int, int], None]
"""Trains a model for a number of steps with a seed."""


@dataclass(frozen=True)
class Checkpoint:
    """How to make a demo checkpoint. Its card, with the training data and their licences, is written by hand.

    Attributes:
        name: Repository name below emms-demo/.
        seed: Of the untrained weights and of the batches.
        build: Makes the untrained model.
        fit: Trains the model; None for random weights, as a control.
        steps: Optimiser steps of 64 examples.
        readers: Writes tokenizer and processor into a folder.
        kind: The folder below the demo's.
    """

    name: str
    seed: int
    build: Callable[[], PreTrainedModel]
    fit: Fit | None = None
    steps: int = 0
    _: KW_ONLY
    readers: Callable[[Path], object]
    kind: str = "checkpoints"

    def make(self, folder: Path | None = None) -> None:
        """Train the checkpoint and write its folder, by default in the demo."""
        torch.manual_seed(self.seed)
        model = self.build()
        if self.fit is not None:
            self.fit(model, self.steps, self.seed)
        folder = folder or sources.DEMO / self.kind / self.name
        folder.mkdir(parents=True, exist_ok=True)
        model.half().save_pretrained(folder)
        self.readers(folder)
