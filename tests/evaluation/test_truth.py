"""Read tables of fine-tuning results, and match their names with checkpoints."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hf_emms.errors import EmmsError
from hf_emms.evaluation import read_truth, truth_from_rankings
from hf_emms.evaluation.truth import dataset_of, matched
from hf_emms.ranking import FineTuned, Row
from tests.helpers.rankings import example, ranking

EXPECTED = {"org/a": 84.2, "org/b": 80.0}


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "checkpoint,score\norg/a,84.2\norg/b,80\n"),
        ("t.csv", "\ufeffModel Name;Accuracy\r\norg/a;84.2%\r\norg/b;80.0\r\n"),
        ("t.csv", "id,notes,acc\norg/a,good,84.2\norg/b,,80\n,,\n,of nobody,77\n"),
        ("t.csv", "checkpoint, score, seed\norg/a, 84.2, 1\norg/b, 80, 1\n"),
        ("t.tsv", "checkpoint\tscore\norg/a\t84.2\norg/b\t80\n"),
        ("t.json", '[{"model": "org/a", "acc": 84.2}, {"model": "org/b", "acc": 80}]'),
        ("t.json", '{"org/a": 84.2, "org/b": 80, "org/c": true, "org/d": null}'),
        ("t.jsonl", '{"id": "org/a", "acc": 84.2}\n\n{"id": "org/b", "acc": 80}\n'),
    ],
)
def test_all_table_formats_have_the_same_content(tmp_path: Path, name: str, text: str) -> None:
    file = write(tmp_path, name, text)
    assert read_truth(file).scores == {None: EXPECTED}
    if not name.endswith("l"):
        file.write_text(text.removeprefix("\ufeff"), encoding="utf-16")
        assert read_truth(file).scores == {None: EXPECTED}


def test_a_table_may_have_datasets_and_seeds(tmp_path: Path) -> None:
    rows = "checkpoint,target,acc\norg/a,x,1\norg/a,x,2\norg/b,x,nan\norg/a,y,7\n"
    truth = read_truth(write(tmp_path, "t.csv", rows))
    assert truth.scores == {"x": {"org/a": 1.5}, "y": {"org/a": 7}}
    assert truth.metric == "acc"
    assert [note.code for note in truth.notes] == ["no-number", "averaged"]
    nested = read_truth(write(tmp_path, "t.json", '{"x": {"org/a": 1.5}, "y": {"org/a": 7}}'))
    assert nested.scores == truth.scores


def test_the_metric_can_be_named_and_reversed(tmp_path: Path) -> None:
    file = write(tmp_path, "t.csv", "model,f1,eval_loss\norg/a,1,0.5\norg/b,2,0.25\n")
    truth = read_truth(file, metric="eval_loss", lower_is_better=True)
    assert truth.scores == {None: {"org/a": 0.5, "org/b": 0.25}}
    assert truth.higher_is_better(None) == {"org/a": -0.5, "org/b": -0.25}
    assert not truth.notes
    assert [note.code for note in read_truth(file, metric="eval_loss").notes] == ["higher-is-better"]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("t.csv", "", "no rows"),
        ("t.csv", "who,score\norg/a,1\n", "who, score"),
        ("t.csv", "model,f1,acc\norg/a,1,2\n", "several columns with numbers: f1, acc"),
        ("t.csv", "model,acc\norg/a,good\n", "no column with numbers"),
        ("t.json", "[1, 2]", "table of scores"),
        ("t.json", "{", "cannot be read as json"),
        ("t.json", "[" * 100_000, "cannot be read as json"),
        ("t.json", '{"org/a": 1' + "0" * 400 + "}", "no column with numbers"),
        ("t.csv", "model,acc\norg/a," + "1" * 200_000 + "\n", "no column with numbers"),
        ("t.txt", "model score", "'.txt'"),
    ],
)
def test_files_without_a_table_are_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises(EmmsError, match=told):
        read_truth(write(tmp_path, name, text))


@pytest.mark.parametrize(
    ("metric", "told", "hint"),
    [
        ("bleu", "no column 'bleu'", "from: acc, notes"),
        ("notes", "no number in column 'notes'", 'metric="NAME"'),
    ],
)
def test_a_metric_without_a_column_or_number_is_refused(tmp_path: Path, metric: str, told: str, hint: str) -> None:
    with pytest.raises(EmmsError, match=told) as caught:
        read_truth(write(tmp_path, "t.csv", "model,acc,notes\norg/a,1,good\n"), metric=metric)
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("checkpoint", "name", "same"),
    [
        ("org/a", "org/a", True),
        ("org/a@v1", "org/a", True),
        ("org/a", "org/a@v1", True),
        ("org/a@v1", "org/a@v1", True),
        ("org/a@v1", "org/a@v2", False),
        ("org/a", "org/a@" + "c" * 40, True),
        ("org/a", "org/a@ccccccc", True),
        ("org/a", "org/a@" + "d" * 40, False),
        ("org/a", "org/a@ddddddd", False),
        ("org/a", "org/a@dddddd", True),
        ("org/a", "org/a@release-1", True),
        ("org/a", "org/A", False),
        ("org/a", "a", False),
        ("./runs/a", "runs/a/", True),
    ],
)
def test_names_match_checkpoints(checkpoint: str, name: str, same: bool) -> None:
    assert matched([Row(checkpoint, "c" * 40)], [name]) == ({checkpoint: name} if same else {})


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
    with pytest.raises(EmmsError, match="accuracy, f1"):
        truth_from_rankings([example(rows=rows)])


def test_datasets_match_by_name_id_or_short_name() -> None:
    ranking = example()  # "beans", AI-Lab-Makerere/beans
    assert dataset_of(ranking, [None]) is None
    assert dataset_of(ranking, ["x", "AI-Lab-Makerere/beans"]) == "AI-Lab-Makerere/beans"
    assert dataset_of(ranking, ["x", "Beans"]) == "Beans"
    for names in (["x", "y"], ["Beans", "BEANS"]):
        with pytest.raises(EmmsError, match="no scores for 'beans'"):
            dataset_of(ranking, names)
