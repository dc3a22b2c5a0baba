"""Submissions to the leaderboard: checks and merging."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import msgspec
import pytest
from leaderboard import render, submit
from leaderboard.checks import recomputed
from leaderboard.home import task_names

from hf_emms.scoring import Score
from hf_emms.tasks import list_tasks
from tests.helpers.rankings import changed, example, first_row_changed
from tests.helpers.space import of_rows, scored, snapshot_of, write


def test_a_good_ranking_may_be_submitted():
    found = submit.checked(example().to_json())
    assert found.ranking == recomputed(example())
    assert found.remarks == ("1 checkpoint failed and will be shown without a rank",)


def test_ranks_and_errors_follow_from_the_folds(tmp_path):
    rows = [msgspec.structs.replace(row, rank=1, tied=False) for row in example().rows[2::-1]]
    score = Score(-0.31, 9.0, (-0.30, -0.32, -0.31))
    rows[-1] = msgspec.structs.replace(rows[-1], scores={"emms": score})
    write(tmp_path, "beans", example(rows=tuple(rows)))
    for ranking in (submit.checked(example(rows=tuple(rows)).to_json()).ranking, beans_of(tmp_path)):
        assert [(row.checkpoint, row.rank) for row in ranking.rows] == [
            ("org/best", 1),
            ("org/close", 1),
            ("org/worse", 3),
        ]
        assert ranking.rows[0].scores["emms"].stderr == pytest.approx(0.01 / 3**0.5)


def beans_of(folder):
    return snapshot_of(folder).entries["beans"].ranking


def test_files_with_the_same_settings_are_one_ranking(tmp_path):
    """They would be one in a results dataset; a checkpoint must not count twice across datasets."""
    write(tmp_path, "beans", example())
    again = of_rows("beans", scored("org/new", -0.2, 10), scored("org/best", -0.31, 10), created="2026-11-26T00:00:00")
    write(tmp_path, "copy", msgspec.structs.replace(again, dataset_id=example().dataset_id))
    entries = snapshot_of(tmp_path).entries
    assert list(entries) == ["beans"]
    assert [remark.partition(" ")[0] for remark in snapshot_of(tmp_path).remarks] == ["copy.json:"]
    assert {row.checkpoint for row in entries["beans"].ranking.rows} == {
        *(row.checkpoint for row in example().rows),
        "org/new",
    }


def fine_tuned(metric, value, **changes):
    """A file whose first row was fine-tuned."""
    return first_row_changed(fine_tuned={"metric": metric, "value": value} | changes)


BAD = {
    "nothing": (" ", "empty"),
    "no ranking": ("[]", "this is not a ranking: Expected `object`"),
    "too large": ("x" * (submit.MAX_BYTES + 1), "limit of 3 MB"),
    "too long a name": (changed(dataset="x" * 300), "dataset should have 1 to 200"),
    "a time": (changed(created="yesterday"), "created should be a time"),
    "twice": (changed(rows=json.loads(example().to_json())["rows"][:1] * 2), "listed twice"),
    "a score above 0": (first_row_changed(scores={"emms": {"value": 5, "folds": [5, 5, 5]}}), "should be 0 or less"),
    "an accuracy of 2": (first_row_changed(scores={"emms": {"value": -1}, "knn": {"value": 2}}), "at most 1"),
    "negative parameters": (first_row_changed(parameters=-5), "Expected `int` >= 1"),
    "other folds": (
        first_row_changed(scores={"emms": {"value": -0.3, "folds": [-0.2, -0.4]}}),
        "rows should have the same number of folds",
    ),
    "no id": (first_row_changed(checkpoint="org/../name"), "rows.0..checkpoint .* is not a Hub id"),
    "no dataset": (changed(dataset_id="a b/c"), "dataset_id .* is not a Hub id"),
    "NaN": (example().to_json().replace("-0.31,", "NaN,", 1), "NaN is not a number"),
    "an accuracy of 2 after fine-tuning": (fine_tuned("accuracy", 2), "fine_tuned.value should be between 0 and 1"),
    "a correlation below -1": (fine_tuned("Spearman", -1.5), "between -1 and 1"),
    "R² above 1": (fine_tuned("R²", 1.5), "fine_tuned.value should be between"),
    "other scores of 2": (fine_tuned("accuracy", 0.5, scores={"macro F1": 2}), "between 0 and 1"),
    "not shown": (fine_tuned("accuracy", 0.5, validation=0.5, recipe={"steps": "many"}), "cannot be shown: ValueError"),
    "not UTF-8": (changed(dataset="caf\u00e9").replace("caf\\u00e9", "café").encode("latin-1"), "not a ranking"),
    "twice but for case": (
        first_row_changed(checkpoint="Org/Close", revision="d" * 40),
        "listed twice",
    ),
    "many": (
        example(rows=[msgspec.structs.replace(scored(f"a/{i}", -0.1, 1), rank=1) for i in range(submit.MAX_ROWS + 1)])
        .to_json(indent=None)
        .replace('"notes":[]', '"notes": []'),
        "the limit is 2,000",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_submission_is_told_why_and_a_folder_leaves_it_out(case, tmp_path):
    content, message = BAD[case]
    with pytest.raises(submit.SubmissionError, match=message):
        submit.checked(content)
    if case not in ("nothing", "too large", "many"):  # limits of submissions alone
        (tmp_path / "bad.json").write_bytes(content.encode() if isinstance(content, str) else content)
        found = snapshot_of(tmp_path)
        assert not found.entries
        assert re.search(message, found.problems[0])


@pytest.mark.parametrize(("metric", "value"), [("R²", -3), ("Spearman", -0.5), ("1 - WER", -0.4)])
def test_a_fine_tuned_score_may_have_all_values_of_its_metric(metric, value):
    assert submit.checked(fine_tuned(metric, value)).ranking.fine_tuned == []


def test_what_looks_wrong_is_shown_with_a_remark(tmp_path):
    rows = (*example().rows, msgspec.structs.replace(scored("org/last", -0.9, 10), rank=1))
    odd = example(task="image-clasification", rows=rows)
    moved = "1 rank did not match the scores and changed"
    remarks = submit.checked(odd.to_json()).remarks
    assert remarks[:2] == (moved, "the task image-clasification is unknown: check its spelling")
    write(tmp_path, "odd", odd)
    assert snapshot_of(tmp_path).remarks == (f"odd.json: {moved}",)


def test_tasks_with_plain_names_are_those_of_the_package():
    assert {*task_names()} == {*list_tasks()}


def test_every_bad_file_is_named(tmp_path):
    for number in range(30):
        (tmp_path / f"bad-{number}.json").write_text("{")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.json")).write_text(example().to_json())
    text = render.about_the_data(snapshot_of(tmp_path), "")
    assert all(f"bad-{number}.json: " in text for number in range(30))
    assert "caf?.json: " in text
    assert "Skipped: 31 files" in text
