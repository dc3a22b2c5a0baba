"""Entries of the right checksum and another form: they are dropped and computed again, and the scores stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

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
    progress, settings = Notes(), {"max_samples": 60, "encoders": ENCODER, "layers": "last"}
    ranking = hf_emms.rank("demo_captions", GOOD, progress=progress, **settings, **options)
    return ranking, " ".join(progress.messages)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def one_weight_too_many(row: Any) -> Any:
    scores = {name: score | {"details": {"weights": [0.5] * 7}} for name, score in row["scores"].items()}
    return row | {"scores": scores}


def test_rows_and_arrays_of_another_form_are_computed_again(emms_cache: Path) -> None:
    expected = ranked()[0].rows[0].scores
    cache = Cache(emms_cache)
    entries = {entry.kind: entry.key for entry in cache.entries()}
    row = cache.get_json(entries["rows"], lambda value: value)
    for change in (
        lambda row: [row],
        lambda row: nested(500),
        lambda row: row | {"scores": {"emms": 3}},
        lambda row: row | {"error": "it failed"},
        lambda row: row | {"scores": {"hscore": {"value": 1.0}}},  # of other estimators
        one_weight_too_many,
    ):
        cache.put_json(entries["rows"], change(row))
        again, notes = ranked()
        assert "damaged" in notes
        assert (again.rows[0].cached, again.rows[0].scores) == ("features", expected)
        assert ranked()[0].rows[0].cached == "row"
    for kind, name, change in (
        ("features", "features", lambda x: x[:, :-1]),
        ("features", "features", lambda x: x.astype(np.int64)),
        ("labels", "table", lambda x: x[:-1]),
        ("labels", "table", lambda x: x.astype(np.float64)),
        ("labels", "table", lambda x: x * np.nan),
        ("labels", "other", lambda x: x),
    ):
        arrays = cache.get(entries[kind], dict)
        assert arrays is not None
        changed = change(arrays.pop({"features": "features", "labels": "table"}[kind]))
        cache.put(entries[kind], {**arrays, name: changed})
        again, notes = ranked(resume=False)
        assert "damaged" in notes
        assert again.rows[0].scores == expected
