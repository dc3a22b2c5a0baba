"""The training loop that every demo checkpoint goes through, and how it is stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

BATCH = 64
WEIGHT_DECAY = 0.02
WARM_UP = 0.1  # share of the steps


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
    """Save a transformers model as fp16 safetensors into an emptied folder.

    Args:
        model: a PreTrainedModel.
        folder: made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    model.half().save_pretrained(folder)
