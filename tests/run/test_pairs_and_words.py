"""Pairs of texts and words in everything that rankings go through: sweeps, races, streams, the metric, odd data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pytest

import hf_emms
from hf_emms.data import Sample
from hf_emms.features.device import in_order
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.hub import resolve
from hf_emms.options import LAST
from hf_emms.ranking import Ranking
from tests.helpers.samples import load_sample

GOOD, POOR, OTHER = "emms-demo/bert-distilled", "emms-demo/bert-random", "emms-demo/electra-distilled"
ENCODER = "emms-demo/encoder-minilm-static"
DATASETS = ("demo_pairs", "demo_words")
FEW: dict[str, Any] = {"encoders": ENCODER, "estimators": ["emms"], "layers": LAST, "cache": False}


def scores(ranking: Ranking) -> dict[str, Any]:
    return {row.checkpoint: (row.error, row.scores["emms"].value) for row in ranking}


def test_a_sweep_over_both_gives_what_single_rankings_give(tmp_path: Path) -> None:
    swept = hf_emms.sweep([*DATASETS], [GOOD, POOR], output=tmp_path, max_samples=80, **FEW)
    for name in DATASETS:
        alone = hf_emms.rank(name, [GOOD, POOR], max_samples=80, **FEW)
        assert scores(swept.rankings[name]) == scores(alone)
        assert len(alone) == 2
        assert alone.best is not None


@pytest.mark.parametrize("name", DATASETS)
def test_a_race_ends_with_the_score_of_a_full_run(name: str) -> None:
    full = scores(hf_emms.rank(name, [GOOD, POOR, OTHER], max_samples=120, **FEW))
    race = hf_emms.rank(name, [GOOD, POOR, OTHER], max_samples=120, race=1, **FEW)
    assert race.best is not None
    assert race.best.checkpoint == max(full, key=lambda checkpoint: full[checkpoint][1])
    assert race.best.score == pytest.approx(full[race.best.checkpoint][1], abs=1e-6)


@pytest.mark.parametrize("name", DATASETS)
def test_a_stream_of_all_rows_is_the_dataset(name: str) -> None:
    whole, stream = (
        hf_emms.rank(name, GOOD, max_samples=10_000, streaming=streaming, **FEW) for streaming in (False, True)
    )
    assert (stream.n, stream.n_inputs) == (whole.n, whole.n_inputs)
    assert stream[GOOD].score == pytest.approx(whole[GOOD].score, abs=1e-6)


def features_of(sample: Sample) -> np.ndarray:
    """float32 (N, D1), a row of the sample each."""
    kind = sample.task.input
    extractor = kind.load_extractor(plan_extraction(resolve(GOOD, "model"), kind, "a test"), device="cpu")
    return in_order(extractor.batches(sample.inputs), len(sample.inputs))[sample.input_of_row]


@pytest.mark.parametrize("name", DATASETS)
def test_the_metric_takes_words_and_pairs_as_rows(name: str, tmp_path: Path) -> None:
    sample = load_sample(name, max_samples=80)
    ranking = hf_emms.rank(name, GOOD, max_samples=80, dtype="float32", **FEW)
    metric = evaluate.load("emms", cache_dir=str(tmp_path))
    features, labels = features_of(sample), [sample.label_texts[code] for code in sample.codes]
    for half in np.array_split(np.arange(len(sample)), 2):
        metric.add_batch(predictions=features[half], references=[labels[row] for row in half])
    scored = metric.compute(groups=sample.groups, encoders=ENCODER, method="emms")
    assert scored["n"] == ranking.n == len(sample)
    assert scored["score"] == pytest.approx(ranking[GOOD].score, rel=1e-4)


def test_two_hundred_tags_are_two_hundred_labels() -> None:
    rows = [
        {"tokens": [f"w{row}", "of", "kind", "."], "tags": [f"T{(4 * row + place) % 200:03d}" for place in range(4)]}
        for row in range(150)
    ]
    ranking = hf_emms.rank(datasets.Dataset.from_list(rows), GOOD, **FEW)
    assert (ranking.task, ranking.n, ranking.n_labels) == ("token-classification", 600, 200)
    assert ranking[GOOD].error is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"premise": f"a {i}", "hypothesis": "b", "label": "same"} for i in range(30)], "the same"),
        ([{"premise": f"a {i}", "hypothesis": "", "label": "xy"[i % 2]} for i in range(30)], "is empty"),
        ([{"tokens": ["a", f"b{i}"], "ner_tags": ["O", "O"]} for i in range(30)], "the same tags"),
        ([{"tokens": ["a", f"b{i}"], "ner_tags": ["O", "B-PER", "O"]} for i in range(30)], "2 words and 3"),
        ([{"tokens": [""], "ner_tags": ["O"]} for _ in range(30)], "no words"),
    ],
    ids=["one class", "no second text", "one tag", "tags of another length", "empty sentences"],
)
def test_rows_that_cannot_be_ranked_are_refused_with_what_they_hold(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(hf_emms.EmmsError, match=message) as refused:
        hf_emms.rank(datasets.Dataset.from_list(rows), GOOD, **FEW)
    assert refused.value.hint
