"""Read tables of fine-tuning results, and match their names with checkpoints."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hf_emms.evaluation import read_truth, truth_from_rankings
from hf_emms.evaluation.truth import dataset_of, matched
from hf_emms.ranking import FineTuned, Row
from tests.helpers.errors import raises_code
from tests.helpers.rankings import example, ranking

EXPECTED = {"org/a": 84.2, "org/b": 80.0}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "checkpoint,score\norg/a,84.2\norg/b,80\norg/c,\norg/d,good\n,77\n"),
        ("t.csv", "\ufeffcheckpoint; score; seed\r\norg/a; 84.2; 1\r\norg/b; 79; 1\r\norg/b; 81; 2\r\n"),
        ("t.tsv", "checkpoint\tscore\norg/a\t84.2\norg/b\t80\n"),
    ],
)
def test_all_table_formats_have_the_same_content(tmp_path: Path, name: str, text: str) -> None:
    assert read_truth(write(tmp_path, name, text)).scores == {None: EXPECTED}


def test_a_table_may_have_datasets_and_losses(tmp_path: Path) -> None:
    rows = "checkpoint,dataset,score\norg/a,x,1\norg/a,x,2\norg/b,x,nan\norg/a,y,7\n"
    truth = read_truth(write(tmp_path, "t.csv", rows), lower_is_better=True)
    assert truth.scores == {"x": {"org/a": 1.5}, "y": {"org/a": 7}}
    assert truth.higher_is_better("x") == {"org/a": -1.5}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model,score\norg/a,1\n",
        "checkpoint,score\norg/a," + "1" * 200_000 + "\n",
    ],
)
def test_files_without_a_table_are_refused(tmp_path: Path, text: str) -> None:
    with raises_code("truth-empty"):
        read_truth(write(tmp_path, "t.csv", text))


@pytest.mark.parametrize(
    ("checkpoint", "name", "same"),
    [
        ("org/a", "org/a", True),
        ("org/a@v1", "org/a", True),
        ("org/a", "org/a@v1", True),
        ("org/a@v1", "org/a@v1", True),
        ("org/a@v1", "org/a@v2", False),
        ("org/a", "org/A", False),
        ("org/a", "a", False),
    ],
)
def test_names_match_checkpoints(checkpoint: str, name: str, same: bool) -> None:
    assert matched([Row(checkpoint)], [name]) == ({checkpoint: name} if same else {})


def test_an_ambiguous_name_matches_no_checkpoint() -> None:
    rows = [Row("org/a@v1"), Row("org/a@v2")]
    assert matched(rows, ["org/a"]) == {}
    assert matched(rows, ["org/a", "org/a@v2"]) == {"org/a@v1": "org/a", "org/a@v2": "org/a@v2"}
    assert matched([Row("org/a")], ["org/a@v1", "org/a@v2"]) == {}


def test_fine_tuned_scores_are_points_of_one_metric_per_ranking() -> None:
    results = FineTuned("accuracy", 0.5, validation=0.5), FineTuned("f1", 0.25, validation=0.5)
    rows = [
        msgspec.structs.replace(row, fine_tuned=result) for row, result in zip(ranking().rows, results, strict=False)
    ]
    truth = truth_from_rankings([example(rows=rows[:1]), example(rows=rows[1:], dataset_id="org/x")])
    assert truth.scores == {"AI-Lab-Makerere/beans": {"org/a": 50}, "org/x": {"org/b": 25}}
    assert (truth.metric, truth.lower_is_better, len(truth.notes)) == ("accuracy, f1", False, 1)


def test_datasets_match_by_name_or_id() -> None:
    ranking = example()  # "beans", AI-Lab-Makerere/beans
    assert dataset_of(ranking, [None]) is None
    for name in ("beans", "AI-Lab-Makerere/beans"):
        assert dataset_of(ranking, ["x", name]) == name
    with raises_code("truth-without-dataset", "'beans'"):
        dataset_of(ranking, ["x", "y"])
