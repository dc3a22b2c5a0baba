"""The targets of sound: digits and speakers of recordings, and the language of synthesised numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from datasets import Audio, concatenate_datasets

from scripts.demo import sounds
from scripts.quality.rows import Table, hub_rows, split_rows

SEED = 70
COUNTS = (300, 60, 300)
LANGUAGES = ("de", "fr", "es", "it", "pl", "sv")
NUMBERS = 84  # of each language, of two digits


def digits() -> Table:
    """Free Spoken Digits: ten digits, each said often by each of six speakers."""
    return _recordings("label", [str(digit) for digit in range(10)])


def speakers() -> Table:
    """Who says them."""
    return _recordings("speaker")


def _recordings(column: str, classes: list[str] | None = None) -> Table:
    parts = [hub_rows("mteb/free-spoken-digit-dataset", "data", split) for split in ("train", "test")]
    rows = concatenate_datasets([part.cast_column("audio", Audio(decode=False)) for part in parts])
    labels = [str(value) for value in rows[column]]
    names = classes or sorted({*labels})
    columns = {"audio": list(rows["audio"]), "label": [names.index(label) for label in labels]}
    return split_rows(columns, classes=names, seed=SEED, counts=COUNTS)


def languages() -> Table:
    """Numbers that espeak-ng reads in six languages, in voices and at speeds drawn at random."""
    rng = np.random.default_rng(SEED)
    clips, labels = [], []
    for label, language in enumerate(LANGUAGES):
        for number in range(10, 10 + NUMBERS):
            variant = rng.choice(["m1", "m2", "m3", "f1", "f2", "f3"])
            voice = sounds.Voice(f"{language}+{variant}", int(rng.integers(130, 200)), int(rng.integers(30, 75)))
            clips.append(sounds.flac(sounds.spoken(str(number), voice)))
            labels.append(label)
    columns = {"audio": clips, "label": labels}
    return split_rows(columns, classes=LANGUAGES, seed=SEED, shares=(0.6, 0.1, 0.3))


MAKERS: dict[str, Callable[[], Table]] = {"spoken-digits": digits, "speakers": speakers, "languages": languages}
