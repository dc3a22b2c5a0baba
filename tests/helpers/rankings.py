"""Rankings with fixed scores, for tests that only read a ranking."""

from __future__ import annotations

import json
from typing import Any

from hf_emms.errors import Note
from hf_emms.options import Options
from hf_emms.ranking import Encoder, Ranking, Row, Seconds, ranked
from hf_emms.ranking.expected_gap import ENCODERS
from hf_emms.scoring import Score

NAMES = ("a", "b", "c", "d")


NULL_LOSS = 0.62


def emms_score(*folds: float) -> Score:
    value = sum(folds) / len(folds)
    details = {"weights": [0.5, 0.5], "r2": 1 + value / NULL_LOSS, "ridge": 0.1, "notes": []}
    return Score(value, 0.002, folds, details)


def example(**changes: Any) -> Ranking:
    """Return a ranking of four checkpoints with changed fields or settings: two tie, one is worse and one failed."""
    rows = [
        Row(
            "org/worse",
            "b" * 40,
            scores={"emms": emms_score(-0.52, -0.54, -0.53), "logme": Score(-1.5)},
            parameters=85_000_000,
            width=768,
            architecture="BertModel",
            pooling="mean of the last layer's tokens",
            seconds=Seconds(2.5, 0.25),
        ),
        Row(
            "org/best",
            "a" * 40,
            scores={"emms": emms_score(-0.30, -0.32, -0.31), "logme": Score(-1.1), "knn": Score(0.8, 0.01)},
            parameters=309_248,
            width=512,
            architecture="ResNetModel",
            pooling="pooled output",
            seconds=Seconds(1.0, 0.5),
        ),
        Row("org/broken", "c" * 40, error="the weights are truncated → download them again"),
        Row(
            "org/close",
            "d" * 40,
            scores={"emms": emms_score(-0.33, -0.29, -0.34), "logme": Score(-1.2), "knn": Score(0.7, 0.01)},
            parameters=1_300_000_000,
            width=1024,
            seconds=Seconds(3.0, 0.5),
            cached="features",
            notes=(Note("texts-truncated", "truncated 3 texts to 512 tokens, the model's maximum"),),
        ),
    ]
    fields: dict[str, Any] = {
        "dataset": "beans",
        "dataset_id": "AI-Lab-Makerere/beans",
        "dataset_revision": "e" * 40,
        "config": None,
        "split": "train",
        "columns": {"image": "image", "label": "labels"},
        "task": "image-classification",
        "n": 1034,
        "n_inputs": 1030,
        "n_labels": 3,
        "skipped": 1,
        "settings": Options.of("beans", folds=3).recorded(),
        "encoders": (Encoder("org/first", "1" * 40, 512, 0.5), Encoder("org/second", "2" * 40, 768, 0.5)),
        "estimators": ("emms", "logme", "knn"),
        "versions": {"hf_emms": "0.1.0", "torch": "2.13.0", "transformers": "5.24.0"},
        "created": "2026-11-25T12:00:00+00:00",
        "notes": (Note("column-used", "column 'image' feeds the checkpoints"),),
        "rows": ranked(rows, "emms"),
    }
    settings = {name: changes.pop(name) for name in [*changes] if name in {*fields["settings"], "sampled"}}
    return Ranking(**(fields | {"settings": fields["settings"] | settings} | changes))


def changed(**changes: object) -> str:
    """Return the example's JSON with other fields, which may be invalid."""
    return json.dumps(json.loads(example().to_json()) | changes)


def first_row_changed(**changes: object) -> str:
    """Return the example's JSON with other fields in its first row."""
    first, *others = json.loads(example().to_json())["rows"]
    return changed(rows=[first | changes, *others])


def ranking(org: str = "org", scores: tuple[float, ...] = (-0.1, -0.2, -0.3, -0.4), **changes: object) -> Ranking:
    """Return a ranking of ORG/a to ORG/d, in this order by EMMS and reversed by k-NN. ORG/a is the smallest."""
    rows = [
        Row(
            f"{org}/{name}",
            digit * 40,
            scores={"emms": emms_score(score, score - 0.001, score + 0.001), "knn": Score(-score)},
            parameters=place + 1,
        )
        for place, (name, digit, score) in enumerate(zip(NAMES, "1234", scores, strict=True))
    ]
    return example(**({"rows": ranked(rows, "emms"), "estimators": ("emms", "knn")} | changes))


def calibrated(*scores: float, **changes: object) -> Ranking:
    """Return a ranking of ORG/c, ORG/b and ORG/a whose expected gaps are known."""
    rows = [
        Row(f"org/{name}", scores={"emms_knn": Score(score, folds=(score, score))}, parameters=1_000 * (place + 1))
        for place, (name, score) in enumerate(zip("cba", scores, strict=False))
    ]
    encoders = tuple(Encoder(name, "1" * 40) for name in ENCODERS)
    given = {"encoders": encoders, "estimators": ("emms_knn",), "rows": ranked(rows, "emms_knn")}
    return example(**(given | changes))


def without_times(ranking: Ranking) -> dict[str, Any]:
    """Return all fields of a ranking except times, the machine, and the use of the cache."""
    content = json.loads(ranking.to_json())
    del content["created"]
    for row in (*content["rows"], *content["baselines"]):
        for name in ("seconds", "documents_per_second", "machine", "memory", "cached"):
            row.pop(name, None)
    return content
