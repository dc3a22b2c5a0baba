"""Moments folded on a device are those of the CPU; where a GPU is, also on that."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hf_emms import EmmsError, LabelTable, Moments
from hf_emms.scoring.device_moments import DeviceMoments, device_bytes
from hf_emms.scoring.emms import METHODS, score_moments

DEVICES = (
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")),
)
INPUTS, ROWS, WIDTH, BATCH = 9_000, 11_000, 48, 700
TEXTS = {"classes": 7, "texts": 400}  # the latter are more than label columns, and so kept as columns


class Problem:
    """Features of inputs, and rows that each name one of them: some inputs feed none, some several."""

    def __init__(self, kind: str) -> None:
        rng = np.random.default_rng(0)
        texts = TEXTS[kind]
        tables = tuple(rng.normal(1, 1, (texts, width)).astype(np.float32) for width in (24, 16))
        self.labels = LabelTable(rng.integers(0, texts, ROWS), tables, categorical=kind == "classes")
        self.groups = rng.integers(0, 5_000, ROWS).astype(np.uint64)
        self.inputs = rng.integers(0, INPUTS, ROWS)
        signal = np.zeros((INPUTS, 24))
        signal[self.inputs] = tables[0][self.labels.codes]
        mixed = signal @ rng.normal(size=(24, WIDTH)) + rng.normal(size=(INPUTS, WIDTH))
        self.features = (rng.normal(0, 30, WIDTH) + mixed * rng.gamma(1, size=WIDTH)).astype(np.float32)

    def batches(self, first: int = 0, stop: int = INPUTS) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Features of a batch, which of them each of its rows has, and these rows."""
        found = []
        for start in range(first, stop, BATCH):
            end = min(start + BATCH, stop)
            rows = np.flatnonzero((self.inputs >= start) & (self.inputs < end))
            found.append((self.features[start:end], self.inputs[rows] - start, rows))
        return found

    def form(self) -> Moments:
        return Moments.like(self.labels, WIDTH, folds=4, seed=3)

    def expected(self) -> Moments:
        moments = self.form()
        for features, places, rows in self.batches():
            moments.update(features[places], self.labels.take(rows), self.groups[rows])
        return moments

    def on_device(self, device: str, first: int = 0, stop: int = INPUTS) -> DeviceMoments:
        moments = DeviceMoments(self.form(), torch.device(device))
        for features, places, rows in self.batches(first, stop):
            there = torch.from_numpy(features).to(device)
            moments.update(there, places, self.labels.take(rows), self.groups[rows])
        return moments


@pytest.fixture(scope="module", params=list(TEXTS))
def problem(request: pytest.FixtureRequest) -> Problem:
    return Problem(request.param)


@pytest.fixture(scope="module")
def expected(problem: Problem) -> Moments:
    return problem.expected()


@pytest.mark.parametrize("device", DEVICES)
def test_sums_are_those_of_the_cpu(problem: Problem, expected: Moments, device: str) -> None:
    moments = problem.on_device(device).moments()
    assert (moments.n, moments.dtype, moments.tables is None) == (ROWS, np.float32, expected.tables is None)
    reference = expected.folded()
    found = moments.folded().about(reference.origin_x, reference.origin_y, moments.widths)
    for name in ("n", "x", "xx", "y", "xy", "yy"):
        own, array = getattr(found, name), getattr(reference, name)
        assert (own.shape, own.dtype) == (array.shape, np.float64), name
        if name == "xx":
            own, array = np.triu(own), np.triu(array)
        # Sums about a mean cancel: an error counts beside what was added up.
        scale = np.abs(array).max(initial=1.0) if name in ("xx", "xy", "yy") else ROWS * np.abs(array).max() + 1
        np.testing.assert_allclose(own, array, atol=1e-6 * scale, rtol=0, err_msg=name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("method", sorted(METHODS))
def test_scores_are_those_of_the_cpu(problem: Problem, expected: Moments, device: str, method: str) -> None:
    found, reference = score_moments(problem.on_device(device).moments(), method), score_moments(expected, method)
    assert found.n == reference.n
    assert found.score == pytest.approx(reference.score, rel=1e-6)
    assert found.folds == pytest.approx(reference.folds, rel=1e-6)


def test_parts_of_device_and_cpu_merge(problem: Problem, expected: Moments) -> None:
    first = problem.on_device("cpu", 0, 6 * BATCH).moments()
    second = problem.form()
    for features, places, rows in problem.batches(6 * BATCH):
        second.update(features[places], problem.labels.take(rows), problem.groups[rows])
    assert score_moments(first.merge(second)).score == pytest.approx(score_moments(expected).score, rel=1e-6)


def test_the_last_rows_are_in_however_often_one_looks(problem: Problem) -> None:
    moments = problem.on_device("cpu", 0, 6 * BATCH)
    half = moments.moments()
    for features, places, rows in problem.batches(6 * BATCH):
        moments.update(torch.from_numpy(features), places, problem.labels.take(rows), problem.groups[rows])
    assert 0 < half.n < ROWS  # what was handed out stays as it was
    assert moments.moments().n == ROWS
    np.testing.assert_array_equal(half.folded().n.sum(), half.n)


def test_a_feature_that_is_no_number_is_refused() -> None:
    moments = DeviceMoments(Moments(3, [2]), torch.device("cpu"))
    labels = LabelTable(np.arange(4), (np.eye(4, 2),), categorical=False)
    features = torch.ones(4, 3)
    features[2, 1] = torch.nan
    moments.update(features, np.arange(4), labels, np.arange(4, dtype=np.uint64))
    with pytest.raises(EmmsError, match=r"features of shape \(4, 3\) holds 1 NaN"):
        moments.moments()


def test_memory_that_sums_take_is_said(problem: Problem) -> None:
    """Of the sums themselves, which grow fastest; the rest is an allowance."""
    form = problem.form()
    sums = problem.on_device("cpu").moments().folded()
    assert sum(array.nbytes for array in sums.arrays().values()) <= device_bytes(form)
    assert device_bytes(Moments(8_192, [384])) < 8e9
