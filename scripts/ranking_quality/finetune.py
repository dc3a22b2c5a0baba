"""One full fine-tuning: every weight of the candidate and of a new head, AdamW, validated and tested at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ranking_quality.body import Body, Inputs, take
from ranking_quality.heads import Head
from ranking_quality.protocol import BATCH, WARM_UP, WEIGHT_DECAY

Encode = Callable[[Inputs], Tensor]

FIRST_ROWS = 512  # enough for the mean and deviation of a feature


@dataclass(frozen=True)
class MakeHead:
    """How a head is made for a feature width, and whether it reads tokens."""

    make: Callable[[int], Head]
    of_tokens: bool = False


@dataclass(frozen=True)
class Part:
    """Rows of a split as the candidate reads them, and how answers are scored against its labels."""

    inputs: Inputs
    score: Callable[[list], float]

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True)
class Outcome:
    """What a fine-tuning came to: scores in points, seconds of training, the last loss."""

    validation: float
    test: float
    seconds: float
    steps: int
    loss: float


class Standardise(nn.Module):
    """Features with the mean and deviation that training rows had before training, so that one rate suits all."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.mean = features.mean(0)
        self.scale = 1 / (features.std(0) + 1e-6 * features.std() + 1e-12)

    def forward(self, features: Tensor) -> Tensor:
        return (features - self.mean) * self.scale


def fine_tune(
    body: Body,
    make_head: MakeHead,
    train: Part,
    validation: Part,
    test: Part,
    *,
    epochs: int,
    rate: float,
    seed: int,
) -> Outcome:
    """Train body and head together with a one-cycle schedule.

    Args:
        body: the candidate, as loaded; its weights change.
        make_head: makes the head; says what it reads before there is one.
        train: rows to train on; the head knows their labels.
        validation: rows that choose the rate.
        test: rows that are reported.
        epochs: how often every training row is seen.
        rate: peak rate of the body; the head has its own.
        seed: of the head's weights and the order of rows.
    """
    torch.manual_seed(seed)
    encode = body.tokens if make_head.of_tokens else body.features
    standardise = Standardise(_features(body, encode, train.inputs))
    head = make_head.make(len(standardise.mean))
    steps = epochs * (len(train) // BATCH)
    weights = [p for p in body.model.parameters() if p.requires_grad]
    groups = [{"params": weights, "lr": rate}, {"params": list(head.parameters()), "lr": head.rate}]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=[rate, head.rate], total_steps=steps, pct_start=WARM_UP
    )
    start = time.perf_counter()
    body.model.train()
    loss = torch.zeros(())
    for _ in range(epochs):
        for rows in torch.randperm(len(train))[: steps // epochs * BATCH].split(BATCH):
            batch = take(train.inputs, rows)
            loss = head.loss(standardise(encode(batch)), batch, rows)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*weights, *head.parameters()], 1.0)
            optimizer.step()
            schedule.step()
    seconds = time.perf_counter() - start
    scores = [part.score(_answers(body, encode, standardise, head, part.inputs)) for part in (validation, test)]
    return Outcome(scores[0], scores[1], seconds, steps, loss.item())


@torch.no_grad()
def _features(body: Body, encode: Encode, inputs: Inputs) -> Tensor:
    """Features of the first rows as training will see them: with the statistics of a batch, not with stored ones."""
    body.model.train()
    found = []
    for rows in torch.arange(FIRST_ROWS).split(BATCH):
        batch = take(inputs, rows)
        features = encode(batch)
        found.append(features[batch["attention_mask"].bool()] if features.ndim == 3 else features)
    return torch.cat(found)


@torch.inference_mode()
def _answers(body: Body, encode: Encode, standardise: Standardise, head: Head, inputs: Inputs) -> list:
    body.model.eval()
    head.eval()
    count = len(next(iter(inputs.values())))
    answers: list = []
    for rows in torch.arange(count).split(64):
        batch = take(inputs, rows)
        answers += head.answers(standardise(encode(batch)), batch)
    return answers
