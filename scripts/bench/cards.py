"""How long cards take.

    python -m scripts.bench cards [--cards N] [--datasets N] [--checkpoints N]

Each row is one ranking put into one card: read the section's data, update one row, render, splice.
"""

from __future__ import annotations

import argparse

from hf_emms.publish.cards import model_card
from hf_emms.ranking import Encoder, Ranking, Row, ranked
from hf_emms.scoring import Score
from scripts.bench.timing import timed


def ranking(dataset: int, checkpoints: int) -> Ranking:
    """A ranking with as many checkpoints as asked for, each with three estimators."""
    rows = []
    for number in range(checkpoints):
        value = -0.2 - (number * 7919 + dataset * 104729) % 1009 / 2018
        folds = tuple(value + step / 1000 for step in (-2, -1, 0, 1, 2))
        emms = Score(value, 0.001, folds, {"weights": [0.4, 0.6], "r2": 0.3})
        scores = {"emms": emms, "logme": Score(value / 2), "knn": Score(0.8, 0.01)}
        rows.append(
            Row(f"org/checkpoint-{number}", "a" * 40, scores=scores, parameters=86_000_000, width=768, pooling="mean")
        )
    return Ranking(
        dataset=f"dataset-{dataset}",
        dataset_id=f"org/dataset-{dataset}",
        dataset_revision="e" * 40,
        config=None,
        split="train",
        columns={"image": "image", "label": "label"},
        task="image-classification",
        n=5000,
        n_inputs=5000,
        n_labels=100,
        settings={"seed": 0, "folds": 5},
        encoders=(Encoder("org/first", "1" * 40), Encoder("org/second", "2" * 40)),
        estimators=("emms", "logme", "knn"),
        versions={"hf_emms": "0.1.0", "torch": "2.13.0", "transformers": "5.24.0"},
        created="2026-11-25T12:00:00+00:00",
        rows=ranked(rows, "emms"),
    )


def readme(number: int) -> bytes:
    """A card of about 6 kB, every third one with the line breaks of Windows."""
    text = f"---\nlicense: mit\nlanguage: no\n---\n\n# Checkpoint {number}\n\n" + "Some text of its owner.\n" * 250
    return (text.replace("\n", "\r\n") if number % 3 == 0 else text).encode()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cards", type=int, default=2500)
    parser.add_argument("--datasets", type=int, default=4, help="rows in each card, added one after the other")
    parser.add_argument("--checkpoints", type=int, default=50, help="of each ranking")


def run(options: argparse.Namespace) -> None:
    """Print the figures."""
    rankings = [ranking(number, options.checkpoints) for number in range(options.datasets)]
    size = 0

    def update_all() -> None:
        nonlocal size
        for number in range(options.cards):
            card: bytes | None = readme(number)
            for one in rankings:
                card = model_card([one], f"org/checkpoint-{number % options.checkpoints}").updated(card)
            size += len(card or b"")

    seconds, rows = timed(update_all), options.cards * options.datasets
    print(f"{rows:,} rows in {options.cards:,} cards: {seconds.wall:.1f} s ({seconds.cpu:.1f} s of one core)")
    print(f"{1000 * seconds.cpu / rows:.2f} ms a row")
    print(f"{size / 1e6:.0f} MB of cards")
