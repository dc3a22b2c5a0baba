"""What goes on top of a candidate, by task: its loss and the score of its answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn


class Head(Protocol):
    """A trainable head that reads standardised features."""

    rate: float

    def loss(self, features: Tensor, rows: Tensor) -> Tensor:
        """Mean loss of training rows; `rows` are their numbers."""
        ...

    def answers(self, features: Tensor) -> list:
        """One answer a row."""
        ...


class Classifier(nn.Module):
    """A linear layer; accuracy."""

    rate = 2e-3

    def __init__(self, width: int, labels: Sequence[int]) -> None:
        super().__init__()
        self.labels = torch.tensor(labels)
        self.linear = nn.Linear(width, int(self.labels.max()) + 1)

    def loss(self, features: Tensor, rows: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.linear(features), self.labels[rows])

    def answers(self, features: Tensor) -> list[int]:
        return self.linear(features).argmax(1).tolist()


class Captioner(nn.Module):
    """A recurrent decoder of words whose first state is the feature; greedy captions."""

    rate = 5e-3
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

    def loss(self, features: Tensor, rows: Tensor) -> Tensor:
        tokens = self.tokens[rows]
        state = torch.tanh(self.first(features))
        hidden, _ = self._decode(tokens[:, :-1], state, state[None])
        return nn.functional.cross_entropy(self.out(hidden).flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=0)

    def _decode(self, tokens: Tensor, seen: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states; what was seen stands beside every word."""
        beside = seen[:, None].expand(-1, tokens.shape[1], -1)
        return self.decoder(torch.cat([self.embed(tokens), beside], 2), state)

    def answers(self, features: Tensor) -> list[str]:
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


MEASURES = {"accuracy": accuracy, "BLEU": bleu}
