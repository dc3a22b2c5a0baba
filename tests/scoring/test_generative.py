"""Bits per byte of held-out labels: which rows are held out, the ratio and its standard error."""

from dataclasses import replace

import numpy as np
import pytest

from hf_emms.scoring import Score
from hf_emms.scoring.generative import short_run, split_rows, word_error_rate, zero_shot
from hf_emms.scoring.ratio import ratio
from tests.helpers.errors import raises_code


class Half:
    """Writes every byte with one bit, and with half of it once it was trained."""

    truncated_responses = 0.12346
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(200, dtype=np.uint64), 3))

    def bits(self, rows: np.ndarray, trained_on: np.ndarray | None = None) -> np.ndarray:
        assert trained_on is None or not {*self.groups[rows]} & {*self.groups[trained_on]}
        return np.column_stack([np.full(len(rows), 10.0 if trained_on is None else 5.0), np.full(len(rows), 10.0)])

    def word_errors(self, rows: np.ndarray) -> np.ndarray:
        return np.zeros((len(rows), 2))


def test_groups_are_never_on_both_sides_of_the_short_run() -> None:
    before, after = zero_shot(Half()), short_run(Half())
    assert before == Score(1.0, 0.0, (1.0,) * 5, {"rows": 256, "row_limit": 256, "truncated_responses": 0.1235})
    assert after == replace(before, value=0.5, folds=(0.5,) * 5, details={**before.details, "training_rows": 198})
    for groups, expected in ([7, 8, 9, 8, 5], [[4, 0], [1, 3, 2]]), ([5, 5, 5, 9], [[0, 1, 2], [3]]):
        assert [part.tolist() for part in split_rows(np.array(groups))] == expected
    with raises_code("one-group"):
        split_rows(np.zeros(9, np.uint64))
    with raises_code("no-words"):
        word_error_rate(Half())


def test_long_labels_count_more_and_the_error_is_that_of_the_ratio() -> None:
    rng = np.random.default_rng(1)
    groups = np.arange(400, dtype=np.uint64)
    values = []
    for _ in range(300):
        size = rng.integers(1, 100, 400).astype(float)
        score = ratio(np.column_stack([size * rng.normal(1, 0.2, 400), size]), groups)
        values.append((score.value, score.stderr))
    means, errors = np.array(values).T
    assert means.mean() == pytest.approx(1, abs=0.005)
    assert errors.mean() == pytest.approx(means.std(), rel=0.15)
    two = np.array([[1.0, 1.0], [9.0, 3.0]])
    for limit, told in ((2, {"row_limit": 2}), (3, {}), (None, {})):
        assert ratio(two, groups[:2], limit) == Score(2.5, 0.75, (1.0, 3.0), {"rows": 2, **told})
    assert ratio(two, groups[[0, 0]], None) == Score(2.5, None, (2.5,), {"rows": 2})
    # Rows of one group say the same twice.
    bits = np.repeat(rng.normal(1, 0.2, 50), 4)
    repeated = np.column_stack([bits, np.ones(200)])
    alone = ratio(repeated, groups[:200]).stderr
    together = ratio(repeated, np.repeat(groups[:50], 4)).stderr
    assert alone is not None
    assert together == pytest.approx(2 * alone, rel=0.05)
