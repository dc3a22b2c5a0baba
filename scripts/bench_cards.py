"""How long cards take: `python scripts/bench_cards.py [--cards N] [--datasets N] [--checkpoints N]`.

Each row is one ranking put into one card: read the section's data, update one row, render, splice.
"""

from __future__ import annotations

import argparse
import time

from hf_emms.cards import update_model_card
from hf_emms.ranking import Encoder, Ranking, Row, Score, ranked


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
        seed=0,
        folds=5,
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


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cards", type=int, default=2500)
    parser.add_argument("--datasets", type=int, default=4, help="rows in each card, added one after the other")
    parser.add_argument("--checkpoints", type=int, default=50, help="of each ranking")
    asked = parser.parse_args()
    rankings = [ranking(number, asked.checkpoints) for number in range(asked.datasets)]
    start, busy, size = time.perf_counter(), time.process_time(), 0
    for number in range(asked.cards):
        card: bytes | None = readme(number)
        for one in rankings:
            card = update_model_card(card, [(one, f"org/checkpoint-{number % asked.checkpoints}")], "org/name")
        size += len(card or b"")
    seconds, busy, rows = time.perf_counter() - start, time.process_time() - busy, asked.cards * asked.datasets
    print(f"{rows:,} rows in {asked.cards:,} cards: {seconds:.1f} s ({busy:.1f} s of one core)")
    print(f"{1000 * busy / rows:.2f} ms a row")
    print(f"{size / 1e6:.0f} MB of cards")


if __name__ == "__main__":
    main()
