"""One full fine-tuning: every weight of the candidate and of a new head, AdamW, validated and tested at the end.

The head depends on the task: its loss, its answers and their score.
"""

from __future__ import annotations

import string
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import box_convert, box_iou, generalized_box_iou_loss

from scripts.quality.candidates import Backbone, Inputs, take
from scripts.quality.protocol import BATCH, WARM_UP, WEIGHT_DECAY

Encode = Callable[[Inputs], Tensor]

FIRST_ROWS = 512  # enough for the mean and deviation of a feature


class Head(Protocol):
    """A trainable head that reads standardised features.

    Attributes:
        rate: its peak learning rate.
        of_tokens: whether it reads every token (B, T, D1), or the pooled feature (B, D1).
    """

    rate: float
    of_tokens: bool

    def loss(self, features: Tensor, inputs: Inputs, rows: Tensor) -> Tensor:
        """Mean loss of training rows; `rows` are their numbers."""
        ...

    def answers(self, features: Tensor, inputs: Inputs) -> list:
        """One answer a row."""
        ...


class Classifier(nn.Module):
    """A linear layer; accuracy."""

    rate = 2e-3
    of_tokens = False

    def __init__(self, width: int, labels: Sequence[int]) -> None:
        super().__init__()
        self.labels = torch.tensor(labels)
        self.linear = nn.Linear(width, int(self.labels.max()) + 1)

    def loss(self, features: Tensor, inputs: Inputs, rows: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.linear(features), self.labels[rows])

    def answers(self, features: Tensor, inputs: Inputs) -> list[int]:
        return self.linear(features).argmax(1).tolist()


class Captioner(nn.Module):
    """A recurrent decoder of words whose first state is the feature; greedy captions."""

    rate = 5e-3
    of_tokens = False
    hidden = 128
    longest = 16

    def __init__(self, width: int, captions: Sequence[str]) -> None:
        super().__init__()
        words = sorted({word for caption in captions for word in _words(caption)})
        self.words = ["<pad>", "<start>", "<end>", *words]
        numbers = {word: i for i, word in enumerate(self.words)}
        self.tokens = torch.zeros(len(captions), self.longest + 2, dtype=torch.int64)
        for row, caption in enumerate(captions):
            ids = [1, *(numbers[word] for word in _words(caption)[: self.longest]), 2]
            self.tokens[row, : len(ids)] = torch.tensor(ids)
        self.first = nn.Linear(width, self.hidden)
        self.embed = nn.Embedding(len(self.words), self.hidden)
        self.decoder = nn.GRU(2 * self.hidden, self.hidden, batch_first=True)
        self.out = nn.Linear(self.hidden, len(self.words))

    def loss(self, features: Tensor, inputs: Inputs, rows: Tensor) -> Tensor:
        tokens = self.tokens[rows]
        state = torch.tanh(self.first(features))
        hidden, _ = self._decode(tokens[:, :-1], state, state[None])
        return nn.functional.cross_entropy(self.out(hidden).flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)

    def _decode(self, tokens: Tensor, seen: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states; the feature is joined to every word."""
        repeated = seen[:, None].expand(-1, tokens.shape[1], -1)
        return self.decoder(torch.cat([self.embed(tokens), repeated], 2), state)

    def answers(self, features: Tensor, inputs: Inputs) -> list[str]:
        seen = torch.tanh(self.first(features))
        state = seen[None]
        token = torch.ones(len(features), 1, dtype=torch.int64)
        chosen = []
        for _ in range(self.longest):
            hidden, state = self._decode(token, seen, state)
            token = self.out(hidden[:, -1:]).argmax(2)
            chosen.append(token[:, 0])
        rows = torch.stack(chosen, 1).tolist()
        return [" ".join(self.words[i] for i in row[: row.index(2) if 2 in row else None]) for row in rows]


class Boxer(nn.Module):
    """Centre, width and height of a box as shares of the picture; L1 and generalised IoU as in DETR."""

    rate = 5e-3
    of_tokens = False
    hidden = 64

    def __init__(self, width: int, boxes: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.boxes = torch.tensor(boxes)
        self.layers = nn.Sequential(nn.Linear(width, self.hidden), nn.GELU(), nn.Linear(self.hidden, 4))

    def loss(self, features: Tensor, inputs: Inputs, rows: Tensor) -> Tensor:
        found, wanted = self.layers(features).sigmoid(), self.boxes[rows]
        overlap = generalized_box_iou_loss(*(box_convert(b, "cxcywh", "xyxy") for b in (found, wanted)), "mean")
        return 5 * nn.functional.l1_loss(found, wanted) + 2 * overlap

    def answers(self, features: Tensor, inputs: Inputs) -> list[list[float]]:
        return self.layers(features).sigmoid().tolist()


class SpanFinder(nn.Module):
    """Start and end of an answer among the context's tokens; spans of tokens."""

    rate = 2e-3
    of_tokens = True
    longest = 12  # tokens of an answer

    def __init__(self, width: int, spans: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.spans = torch.tensor(spans)
        self.linear = nn.Linear(width, 2)

    def loss(self, features: Tensor, inputs: Inputs, rows: Tensor) -> Tensor:
        logits = self._logits(features, inputs)
        wanted = self.spans[rows]
        known = wanted[:, 0] >= 0  # answers behind the cut teach nothing
        if not known.any():
            return 0 * features.sum()
        ends = [nn.functional.cross_entropy(logits[known, :, end], wanted[known, end]) for end in (0, 1)]
        return (ends[0] + ends[1]) / 2

    def answers(self, features: Tensor, inputs: Inputs) -> list[tuple[int, int]]:
        start, end = self._logits(features, inputs).log_softmax(1).unbind(2)
        sums = start[:, :, None] + end[:, None, :]
        length = sums.shape[1]
        possible = torch.ones(length, length).triu().tril(self.longest - 1).bool()
        best = sums.masked_fill(~possible, float("-inf")).flatten(1).argmax(1)
        return [(int(one) // length, int(one) % length) for one in best]

    def _logits(self, features: Tensor, inputs: Inputs) -> Tensor:
        return self.linear(features).masked_fill(~inputs["context"][..., None], -1e4)


def _words(caption: str) -> list[str]:
    return caption.lower().replace(",", " ,").split()


def accuracy(answers: Sequence, wanted: Sequence) -> float:
    """Share of right answers, in points."""
    return 100.0 * float(np.mean([a == b for a, b in zip(answers, wanted, strict=True)]))


def bleu(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """Corpus BLEU-4 (sacrebleu), in points."""
    from sacrebleu.metrics import BLEU

    plain = [" ".join(_words(caption)) for caption in wanted]
    return float(BLEU(tokenize="none").corpus_score(list(answers), [plain]).score)


def iou(answers: Sequence, wanted: Sequence) -> float:
    """Mean intersection over union of boxes (cx, cy, w, h), in points."""
    found, right = (box_convert(torch.tensor(boxes), "cxcywh", "xyxy") for boxes in (answers, wanted))
    return 100.0 * float(box_iou(found, right).diagonal().mean())


def f1(answers: Sequence[str], wanted: Sequence[str]) -> float:
    """SQuAD's F1 of words (Rajpurkar et al. 2016), mean over rows, in points."""
    return 100.0 * float(np.mean([_f1(a, b) for a, b in zip(answers, wanted, strict=True)]))


def _f1(answer: str, wanted: str) -> float:
    found, right = (Counter(_plain(text)) for text in (answer, wanted))
    common = (found & right).total()
    return 2 * common / (found.total() + right.total()) if common else 0.0


def _plain(text: str) -> list[str]:
    """Words without case, punctuation and articles, as SQuAD compares them."""
    letters = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return [word for word in letters.split() if word not in ("a", "an", "the")]


MEASURES = {"accuracy": accuracy, "BLEU": bleu, "F1": f1, "IoU": iou}


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
    backbone: Backbone,
    make_head: MakeHead,
    train: Part,
    validation: Part,
    test: Part,
    *,
    epochs: int,
    rate: float,
    seed: int,
) -> Outcome:
    """Train backbone and head together with a one-cycle schedule.

    Args:
        backbone: the candidate, as loaded; its weights change.
        make_head: makes the head; declares what it reads before it is made.
        train: rows to train on; the head knows their labels.
        validation: rows that choose the rate.
        test: rows that are reported.
        epochs: how often every training row is seen.
        rate: peak rate of the backbone; the head has its own.
        seed: of the head's weights and the order of rows.
    """
    torch.manual_seed(seed)
    encode = backbone.tokens if make_head.of_tokens else backbone.features
    standardise = Standardise(_features(backbone, encode, train.inputs))
    head = make_head.make(len(standardise.mean))
    steps = epochs * (len(train) // BATCH)
    weights = [p for p in backbone.model.parameters() if p.requires_grad]
    groups = [{"params": weights, "lr": rate}, {"params": list(head.parameters()), "lr": head.rate}]
    optimizer = torch.optim.AdamW(groups, weight_decay=WEIGHT_DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=[rate, head.rate], total_steps=steps, pct_start=WARM_UP
    )
    start = time.perf_counter()
    backbone.model.train()
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
    scores = [part.score(_answers(backbone, encode, standardise, head, part.inputs)) for part in (validation, test)]
    return Outcome(scores[0], scores[1], seconds, steps, loss.item())


@torch.no_grad()
def _features(backbone: Backbone, encode: Encode, inputs: Inputs) -> Tensor:
    """Features of the first rows as training will see them: with the statistics of a batch, not with stored ones."""
    backbone.model.train()
    found = []
    for rows in torch.arange(FIRST_ROWS).split(BATCH):
        batch = take(inputs, rows)
        features = encode(batch)
        found.append(features[batch["attention_mask"].bool()] if features.ndim == 3 else features)
    return torch.cat(found)


@torch.inference_mode()
def _answers(backbone: Backbone, encode: Encode, standardise: Standardise, head: Head, inputs: Inputs) -> list:
    backbone.model.eval()
    head.eval()
    count = len(next(iter(inputs.values())))
    answers: list = []
    for rows in torch.arange(count).split(64):
        batch = take(inputs, rows)
        answers += head.answers(standardise(encode(batch)), batch)
    return answers
