"""Test pairs of texts and words in streams, the metric and with unusual data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import evaluate
import numpy as np
import pytest

import hf_emms
from hf_emms.features.device import gather_batches
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.hub import resolve
from hf_emms.options import LAST
from tests.helpers.errors import raises_code
from tests.helpers.samples import load_sample

GOOD, POOR, OTHER = "emms-demo/bert-distilled", "emms-demo/bert-random", "emms-demo/electra-distilled"
ENCODER = "emms-demo/encoder-minilm-static"
FEW: dict[str, Any] = {"encoders": ENCODER, "estimators": ["emms"], "layers": LAST, "cache": False}


@pytest.mark.parametrize("name", ["demo_pairs", "demo_words"])
def test_metric_and_stream_agree_with_a_ranking(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"max_samples": 120, "dtype": "float32", **FEW}
    full = hf_emms.rank(name, [GOOD, POOR, OTHER], **few)
    assert [row.error for row in full] == [None] * 3

    sample = load_sample(name, max_samples=120)
    kind = sample.task.input
    extractor = kind.load_extractor(make_feature_spec(resolve(GOOD, "model"), kind, "a test"), device="cpu")
    features = gather_batches(extractor.batches(sample.inputs), len(sample.inputs))[sample.input_of_row]
    metric = evaluate.load("emms", cache_dir=str(tmp_path))
    for half in np.array_split(np.arange(len(sample)), 2):
        labels = [sample.label_texts[sample.codes[row]] for row in half]
        metric.add_batch(predictions=features[half], references=labels)
    scored = metric.compute(groups=sample.groups, encoders=ENCODER, estimators="emms")
    assert scored["n"] == full.n == len(sample)
    assert scored["score"] == pytest.approx(full[GOOD].score, rel=1e-4)

    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)  # five seconds after every stream
    whole, stream = (hf_emms.rank(name, GOOD, max_samples=10_000, streaming=how, **FEW) for how in (False, True))
    assert (stream.n, stream.n_inputs) == (whole.n, whole.n_inputs)
    assert stream[GOOD].score == pytest.approx(whole[GOOD].score, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ([{"premise": f"a {i}", "hypothesis": "b", "label": "same"} for i in range(30)], "labels-all-equal"),
        ([{"premise": f"a {i}", "hypothesis": "", "label": "xy"[i % 2]} for i in range(30)], "rows-unusable"),
        ([{"tokens": [""], "ner_tags": ["O"]} for _ in range(30)], "rows-unusable"),
    ],
    ids=["one class", "no second text", "empty sentences"],
)
def test_unusable_rows_raise_errors(rows: list[dict[str, Any]], code: str) -> None:
    with raises_code(code) as refused:
        hf_emms.rank(datasets.Dataset.from_list(rows), GOOD, **FEW)
    assert refused.value.hint
