"""A ranking is plain data: it survives being written, and its ranks admit noise."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_emms.errors import EmmsError
from hf_emms.options import Options
from hf_emms.ranking import SCHEMA_VERSION, Ranking, Row, plain, ranked
from hf_emms.ranking import text as views
from hf_emms.ranking.advice import recommendation
from hf_emms.ranking.columns import format_number
from hf_emms.ranking.files import from_parquet, to_parquet
from hf_emms.scoring import Score
from tests.helpers.rankings import emms_score, example


def order(*rows: Row) -> list[tuple[str, int | None, bool]]:
    return [(row.checkpoint, row.rank, row.tied) for row in ranked(rows, "emms")]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6), st.text())
def test_json_round_trip_keeps_every_digit_and_character(values: list[float], text: str) -> None:
    score = Score(values[0], abs(values[-1]), tuple(values), {"text": text})
    ranking = example(rows=ranked([Row(text, scores={"emms": score}), Row("x", error=text)], "emms"))
    assert Ranking.from_json(ranking.to_json()) == ranking


def test_json_has_the_documented_shape() -> None:
    content = json.loads(example().to_json())
    assert content["schema_version"] == SCHEMA_VERSION == 2
    assert {"dataset", "config", "split", "dataset_revision", "n", "settings", "task", "versions"} <= set(content)
    assert content["settings"] == Options("x", folds=3).recorded()
    assert content["encoders"][0] == {"id": "org/first", "revision": "1" * 40, "width": 512, "weight": 0.5}
    first = content["rows"][0]
    assert first["checkpoint"] == "org/best"
    assert first["scores"]["emms"]["value"] == pytest.approx(-0.31)
    assert first["scores"]["emms"]["stderr"] == 0.002
    assert first["error"] is None
    assert content["rows"][-1]["error"].startswith("the weights")


def test_parquet_round_trip_loses_nothing_and_reads_flat(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "ranking.parquet"
    to_parquet(example(), path)
    assert from_parquet(path, Ranking) == example()
    table = pq.read_table(path).to_pylist()
    assert [line["checkpoint"] for line in table] == [row.checkpoint for row in example().rows]
    assert table[0]["emms_r2"] == pytest.approx(0.5)


@pytest.mark.parametrize(("version", "way_out"), [(SCHEMA_VERSION - 1, "writes one"), (SCHEMA_VERSION + 1, "newer")])
def test_another_schema_is_refused_with_a_way_out(version: int, way_out: str) -> None:
    other = json.loads(example().to_json()) | {"schema_version": version}
    with pytest.raises(EmmsError, match=f"schema version {version}") as caught:
        Ranking.from_json(json.dumps(other))
    assert way_out in str(caught.value.hint)


WRONG = {
    "cut off": (lambda data: json.dumps(data)[:200], "truncated"),
    "a list": (lambda data: "[]", "Expected `object`, got `array`"),
    "not a ranking": (lambda data: "{}", "missing required field `schema_version`"),
    "newer": (lambda data: json.dumps(data | {"schema_version": 3}), "schema version 3; this version"),
    "no dataset": (
        lambda data: json.dumps({k: v for k, v in data.items() if k != "dataset"}),
        "missing required field `dataset`",
    ),
    "text for number": (lambda data: json.dumps(data | {"n": "many"}), r"Expected `int`, got `str` - at `\$.n`"),
    "no rows": (lambda data: json.dumps(data | {"rows": []}), "rows is empty"),
    "no estimators": (lambda data: json.dumps(data | {"estimators": []}), "estimators is empty"),
    "no score": (lambda data: json.dumps(data | {"rows": [{"checkpoint": "a/b"}]}), "neither a score of emms nor an e"),
    **{
        f"{name} of another type": (
            lambda data, change=change: json.dumps(
                data | {"rows": [data["rows"][0] | {"scores": {"emms": {"value": 0.5} | change}}]}
            ),
            rf"rows\[0\].scores.emms.{name} should be",
        )
        for name, change in {
            "details.r2": {"details": {"r2": "x"}},
            "details.weights": {"details": {"weights": [0.5, {}]}},
        }.items()
    },
    "a rank of text": (
        lambda data: json.dumps(data | {"rows": [data["rows"][0] | {"rank": "first"}]}),
        r"Expected `int \| null`, got `str` - at `\$.rows",
    ),
    "no rank": (
        lambda data: json.dumps(data | {"rows": [data["rows"][0] | {"rank": None}]}),
        r"rows\[0\].rank should be 1 or more",
    ),
    "deep": (lambda data: "[" * 100_000, "not a ranking"),
    "deep in an object": (lambda data: '{"schema_version": ' + "[" * 100_000, "not a ranking"),
}


@pytest.mark.parametrize("change", WRONG)
def test_what_is_wrong_with_a_file_is_said(change: str) -> None:
    make, message = WRONG[change]
    with pytest.raises(EmmsError, match=message):
        Ranking.from_json(make(json.loads(example().to_json())))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 2}', '{"schema_version": "a"}', b"\xff"])
def test_what_is_no_ranking_is_refused(text: str | bytes) -> None:
    with pytest.raises(EmmsError, match="not a ranking"):
        Ranking.from_json(text)


def test_foreign_parquet_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    for name in ("other.parquet", "text.parquet", "missing.parquet"):
        with pytest.raises(EmmsError, match=name):
            from_parquet(tmp_path / name, Ranking)


def test_checkpoints_within_the_noise_of_the_folds_share_a_rank() -> None:
    best = Row("best", scores={"emms": emms_score(0.50, 0.60, 0.40)})
    close = Row("close", scores={"emms": emms_score(0.55, 0.45, 0.47)})
    worse = Row("worse", scores={"emms": emms_score(0.10, 0.20, 0.00)})
    assert order(worse, close, best) == [("best", 1, True), ("close", 1, True), ("worse", 3, False)]


def test_a_small_but_steady_difference_is_a_difference() -> None:
    """The folds are paired: what all checkpoints find hard does not blur their order."""
    first = Row("first", scores={"emms": emms_score(0.91, 0.51, 0.11)})
    second = Row("second", scores={"emms": emms_score(0.90, 0.50, 0.10)})
    assert order(second, first) == [("first", 1, False), ("second", 2, False)]


def test_ranks_never_fall_along_the_order() -> None:
    steady = Row("steady", scores={"emms": emms_score(0.50, 0.50, 0.50)})
    lower = Row("lower", scores={"emms": emms_score(0.40, 0.40, 0.40)})
    wild = Row("wild", scores={"emms": emms_score(1.2, -0.9, 0.6)})
    assert order(steady, lower, wild) == [("steady", 1, False), ("lower", 2, True), ("wild", 2, True)]


def test_a_rank_is_shared_with_the_first_of_its_band() -> None:
    """A row that cannot be told from those right above it has their rank, though one further up is clearly better."""
    folds = {"a": (0.9, 0.9, 0.9), "b": (0.5, 0.6, 0.5), "c": (0.52, 0.5, 0.57), "d": (0.51, 0.58, 0.49)}
    rows = [Row(name, scores={"emms": emms_score(*values)}) for name, values in folds.items()]
    low = Row("e", scores={"emms": emms_score(0.50, 0.57, 0.48)})  # clearly below "d", not below "b"
    assert [rank for _, rank, _ in order(*rows, low)] == [1, 2, 2, 2, 2]


def test_without_folds_only_equal_values_tie() -> None:
    rows = [Row(name, scores={"emms": Score(value)}) for name, value in [("a", 0.1), ("b", 0.2), ("c", 0.1)]]
    assert order(*rows) == [("b", 1, False), ("a", 2, True), ("c", 2, True)]


def test_failed_rows_come_last_without_a_rank() -> None:
    failed = Row("a", rank=1, error="broken")
    assert order(failed, Row("b", scores={"emms": Score(-9.0)})) == [("b", 1, False), ("a", None, False)]


def test_the_order_of_the_rows_given_does_not_matter() -> None:
    rows = list(example().rows)
    assert ranked(rows[::-1], "emms") == ranked(rows, "emms")


def test_best_and_row() -> None:
    ranking = example()
    assert ranking.best is not None
    assert ranking.best.checkpoint == "org/best"
    assert example(rows=(Row("x", error="broken"),)).best is None
    assert [row.checkpoint for row in ranking.top(2)] == ["org/best", "org/close"]
    assert [row.checkpoint for row in ranking.top()] == ["org/best", "org/close", "org/worse"]
    assert ranking.row("org/close").width == 1024
    with pytest.raises(EmmsError, match="'nobody'") as caught:
        ranking.row("nobody")
    assert "org/close" in str(caught.value.hint)


def test_records_say_on_how_many_rows_each_score_is() -> None:
    scored = [Row(name, scores={"emms": emms_score(0.5, 0.6, 0.7)}, n=n) for name, n in (("a", None), ("b", 100))]
    ranking = example(rows=ranked([*scored, Row("c", error="broken")], "emms"), n=400, estimators=("emms",))
    assert [(record["checkpoint"], record["n"]) for record in ranking.records()] == [
        ("a", 400),
        ("b", 100),
        ("c", None),
    ]


def test_plain_makes_what_json_can_hold() -> None:
    value = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": (float("nan"), float("inf"), None), 1: True}
    assert plain(value) == {"a": 0.5, "b": [1, 2], "c": [None, None, None], "1": True}
    msgspec.json.encode(plain(value))


def test_text_table() -> None:
    lines = views.to_text(example()).splitlines()
    words = [" ".join(line.split()) for line in lines]
    assert words[0] == "rank checkpoint explained LogME k-NN params width seconds"
    assert words[2] == "=1 org/best 0.500 ± 0.003 -1.1000 0.8000 309k 512 1.5"
    assert lines[3].split()[:2] == ["=1", "org/close"]
    assert "1.3B" in lines[3]
    assert lines[4].split()[:2] == ["3", "org/worse"]
    assert lines[4].split()[6:] == ["–", "85.0M", "768", "2.8"]
    assert lines[5].split() == ["–", "org/broken", *["–"] * 6]
    assert lines[6] == "failed: org/broken: the weights are truncated → download them again"


@pytest.mark.parametrize(("render", "separator"), [(views.to_csv, ","), (views.to_tsv, "\t")])
def test_separated_values_are_whole_and_unrounded(render: object, separator: str) -> None:
    ranking = example()
    lines = list(csv.DictReader(io.StringIO(render(ranking)), delimiter=separator))  # type: ignore[operator]
    assert [line["checkpoint"] for line in lines] == [row.checkpoint for row in ranking.rows]
    assert float(lines[0]["emms"]) == ranking.rows[0].scores["emms"].value
    assert lines[2]["knn"] == ""
    assert lines[3]["error"] == ranking.rows[3].error
    assert len({len(line) for line in lines}) == 1


def test_markdown_lists_failures_below_the_table() -> None:
    lines = views.to_markdown(example()).splitlines()
    assert lines[1] == "| ---: | :--- |" + " ---: |" * 6
    assert lines[2].startswith("| =1 | org/best | 0.500 ± 0.003 | -1.1000 |")
    assert lines[-1].startswith("- org/broken: the weights")


def test_hostile_text_cannot_steer_a_terminal_or_break_a_table() -> None:
    name = "org/\x1b[2Jx|y\n<b>"
    ranking = example(rows=(Row(name, error="a\tb\r\nc"),))
    for text in (views.to_text(ranking), views.to_tsv(ranking)):
        assert "\x1b" not in text
        assert "a b c" in text
    row = views.to_markdown(ranking).splitlines()[2]
    assert "\\|y \\<b\\>" in row
    assert row.replace("\\|", "").count("|") == 7  # scores that no row has are no columns


def test_large_scores_keep_four_digits() -> None:
    assert format_number(-12345.678) == "-1.235e+04"
    assert format_number(0.12345) == "0.1235"
    assert format_number(None) == "–"
    assert format_number(-0.00001) == "0.0000"


def test_the_answer_is_one_sentence() -> None:
    row = {row.checkpoint: row for row in example().rows}
    assert recommendation(example()) == (
        "org/best and org/close are not told apart: take the smallest, org/best (309k parameters)."
    )
    two = example(rows=ranked([row["org/best"], row["org/worse"], row["org/broken"]], "emms"))
    assert recommendation(two) == (
        "Fine-tune org/best (309k parameters): explained 0.500 ± 0.003 of the variance, clearly ahead of org/worse "
        "(0.145 ± 0.003)."
    )
    assert recommendation(example(rows=ranked([row["org/best"]], "emms"))).startswith("Only org/best (309k parameters)")
    assert recommendation(example(rows=(row["org/broken"],))) == "No checkpoint has a score here."
    no_folds = [Row(name, scores={"emms": Score(value)}) for name, value in (("a", -0.25), ("b", -0.5))]
    assert recommendation(example(rows=ranked(no_folds, "emms"))) == "Fine-tune a: EMMS -0.2500, ahead of b (-0.5000)."
    raced = [row["org/best"], msgspec.structs.replace(row["org/worse"], n=100)]
    assert "a race stopped org/worse" in recommendation(example(rows=ranked(raced, "emms")))
