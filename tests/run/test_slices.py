"""Test that moments of slices of a sample merge into the moments of the sample."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest

from hf_emms import emms
from hf_emms.data import Sample
from hf_emms.options import ScoringOptions
from hf_emms.run.engines.extraction import (
    Extraction,
    moments_of,
    slice_of,
    whole_sample,
)
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments
from tests.helpers.rows import texts
from tests.helpers.samples import load_sample

INPUTS, ROWS, WIDTH = 90, 220, 6
SETTINGS = ScoringOptions(estimators=("emms",), seed=3, folds=4)


@pytest.fixture(scope="module")
def target() -> Sample:
    """Inputs that feed none, one or several rows, in no order."""
    rng = np.random.default_rng(1)
    input_of_row = rng.integers(0, INPUTS, ROWS)
    return replace(
        load_sample(texts(20, ["a", "b"])),
        inputs=[f"text {number}" for number in range(INPUTS)],
        input_of_row=input_of_row,
        codes=rng.integers(0, 5, ROWS),
        groups=input_of_row.astype(np.uint64) * np.uint64(977),
    )


@pytest.fixture(scope="module")
def labels(target: Sample) -> LabelTable:
    return LabelTable(target.codes, (np.random.default_rng(2).normal(size=(5, 3)),))


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(INPUTS, WIDTH)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 7, 45, 89, 90, 1000])
def test_moments_of_slices_merge(target: Sample, labels: LabelTable, features: np.ndarray, size: int) -> None:
    parts = [slice_of(target, slice(start, start + size)) for start in range(0, INPUTS, size)]
    assert sorted(np.concatenate([part.rows for part in parts])) == list(range(ROWS))
    pieces = [
        moments_of(features[start : start + size], part, labels, SETTINGS)
        for start, part in zip(range(0, INPUTS, size), parts, strict=True)
    ]
    merged = reduce(Moments.merge, pieces)
    alone = moments_of(features, whole_sample(target), labels, SETTINGS)
    assert emms(merged).score == pytest.approx(emms(alone).score, rel=1e-6)
    np.testing.assert_array_equal(merged.sums().n, alone.sums().n)
    np.testing.assert_array_equal(merged.sums().y, alone.sums().y)


def test_seconds_of_slices_add_up() -> None:
    first = Extraction({}, refused={"1": "a"}, seconds=2.0, loading=1.0)
    both = first.merge(Extraction({}, refused={"2": "b"}, seconds=4.0, loading=0.5))
    assert both == Extraction({}, refused={"1": "a", "2": "b"}, seconds=6.0, loading=1.5)
