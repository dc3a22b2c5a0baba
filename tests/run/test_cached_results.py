"""Entries of the right checksum and another form: they are dropped and computed again, and the scores stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hf_emms
from hf_emms.cache import Cache
from hf_emms.ranking import Ranking
from hf_emms.ranking.progress import Silent

GOOD, ENCODER = "emms-demo/resnet-distilled", "emms-demo/encoder-minilm-static"


class Notes(Silent):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def noted(self, message: str) -> None:
        self.messages.append(message)


def ranked(**options: Any) -> tuple[Ranking, str]:
    progress = Notes()
    ranking = hf_emms.rank("demo_captions", GOOD, max_samples=60, encoders=ENCODER, progress=progress, **options)
    return ranking, " ".join(progress.messages)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def scores_of_others(row: Any) -> Any:
    return row | {"scores": {"hscore": {"value": 1.0}}}


def one_weight_too_many(row: Any) -> Any:
    scores = {name: score | {"details": {"weights": [0.5] * 7}} for name, score in row["scores"].items()}
    return row | {"scores": scores}


@pytest.mark.parametrize(
    "change",
    [
        lambda row: [row],
        lambda row: nested(500),
        lambda row: row | {"scores": {"emms": 3}},
        lambda row: row | {"error": "it failed"},
        scores_of_others,
        one_weight_too_many,
    ],
)
def test_a_row_of_another_form_is_computed_again(emms_cache: Path, change: Callable[[Any], Any]) -> None:
    expected, _ = ranked()
    cache = Cache(emms_cache)
    (entry,) = (one for one in cache.entries() if one.kind == "rows")
    stored = cache.get_json(entry.key, lambda value: value)
    cache.put_json(entry.key, change(stored))
    again, notes = ranked()
    assert "damaged" in notes
    assert again.rows[0].cached == "features"
    assert again.rows[0].scores == expected.rows[0].scores
    assert ranked()[0].rows[0].cached == "row"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("features", lambda x: x[:, :-1]),
        ("features", lambda x: x.astype(np.int64)),
        ("labels", lambda x: x[:-1]),
        ("labels", lambda x: x.astype(np.float64)),
        ("labels", lambda x: x * np.nan),
        ("labels", lambda x: None),
    ],
)
def test_arrays_of_another_form_are_computed_again(
    emms_cache: Path, kind: str, change: Callable[[np.ndarray], np.ndarray | None]
) -> None:
    expected, _ = ranked(layers="last")
    cache = Cache(emms_cache)
    (entry,) = (one for one in cache.entries() if one.kind == kind)
    stored = cache.get(entry.key, dict)
    assert stored is not None
    name = {"features": "features", "labels": "table"}[kind]
    changed = change(stored.pop(name))
    cache.put(entry.key, stored | ({} if changed is None else {name: changed}))
    again, notes = ranked(layers="last", resume=False)
    assert "damaged" in notes
    assert again.rows[0].scores == expected.rows[0].scores
