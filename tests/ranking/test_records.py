"""Test the records of rankings: files, ranks and tables."""

from __future__ import annotations

import csv
import importlib
import io
import json
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_emms.options import Options
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, explained, plain, ranked
from hf_emms.ranking import text as views
from hf_emms.ranking.columns import format_number, format_rank
from hf_emms.scoring import Score
from tests.helpers.errors import raises_code
from tests.helpers.rankings import changed, emms_score, example, first_row_changed
from tests.helpers.rankings import ranking as four_scored


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6), st.text())
def test_json_round_trip_keeps_every_digit_and_character(values: list[float], text: str) -> None:
    score = Score(values[0], abs(values[-1]), tuple(values), {"text": text})
    rows = Row(text, scores={"emms": score}, unknown_tokens=0, truncated_texts=1, width=10**15), Row("x", error=text)
    ranking = example(rows=ranked(rows, "emms"))
    assert Ranking.from_json(ranking.to_json()) == ranking


def test_json_has_the_documented_shape() -> None:
    content = json.loads(example().to_json())
    assert example().to_json() == json.dumps(content, indent=2, ensure_ascii=False)
    assert content["schema_version"] == 1
    assert content["settings"] == Options.of("x", folds=3).recorded()
    assert content["encoders"][0] == {"id": "org/first", "revision": "1" * 40, "width": 512, "weight": 0.5}
    empty = {"tied": False, "scores": {}, "cached": "none", "notes": [], "layers": {}, "dimensions": {}}
    empty["seconds"] = {"features": 0.0, "scoring": 0.0, "loading": 0.0}
    failed = {"checkpoint": "org/broken", "revision": "c" * 40, "error": example().rows[-1].error}
    assert content["rows"][-1] == dict.fromkeys(Row.__struct_fields__) | empty | failed
    run = {"learning_rate": 0.1, "seed": 3, "scores": {}, "steps": 0, "batch_size": 0, "seconds": 0.0, "curve": ()}
    run |= {"notes": (), "error": "broken", "has_diverged": False, "has_learned": True, "is_untrained": False}
    run |= {"discarded_scores": {}, "saved_scores": {}}
    failed_run = TrainingRun(0.1, 3, error="broken")
    assert msgspec.to_builtins(failed_run) == dict.fromkeys(TrainingRun.__struct_fields__) | run


WRONG: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "not a ranking"),
    "no UTF-8": (b"\xff", "not a ranking"),
    "cut off": (changed()[:200], "truncated"),
    "a list": ("[]", "Expected `object`, got `array`"),
    "empty": ("{}", "missing required field `dataset`"),
    "an unknown score of a baseline": (
        changed(baselines=[{"checkpoint": "BM25", "scores": {"unknown": {"value": 0.5}}}]),
        "baselines[0].scores.unknown",
    ),
    "another version": (changed(schema_version=3), "$.schema_version"),
    "text for number": (changed(n="many"), "`$.n`"),
    "no rows": (changed(rows=[]), "rows is empty"),
    "no estimators": (changed(estimators=[]), "estimators is empty"),
    "no score": (changed(rows=[{"checkpoint": "a/b"}]), "rows[0]"),
    "an R² of text": (
        first_row_changed(scores={"emms": {"value": 0.5, "details": {"r2": "x"}}}),
        "rows[0].scores.emms.details.r2",
    ),
    "a weight that is no number": (
        first_row_changed(scores={"emms": {"value": 0.5, "details": {"weights": [0.5, {}]}}}),
        "rows[0].scores.emms.details.weights",
    ),
    "a baseline with weights of text": (
        changed(baselines=[{"checkpoint": "BM25", "scores": {"emms": {"value": 0.5, "details": {"weights": "x"}}}}]),
        "baselines[0].scores.emms.details.weights",
    ),
    "a share of more than all": (first_row_changed(truncated_texts=1.5), "`$.rows[0]"),
    "a number of more than 64 bits": (changed(n=2**63), "not a ranking"),
    "a rank of text": (first_row_changed(rank="first"), "`$.rows[0]"),
    "no rank": (first_row_changed(rank=None), "rows[0].rank"),
    "a rank of 0": (first_row_changed(rank=0), "rows[0].rank"),
    "deep": ("[" * 100_000, "not a ranking"),
    "deep in an object": ('{"columns": ' + "[" * 100_000, "not a ranking"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_of_files_name_the_field(case: str) -> None:
    text, value = WRONG[case]
    with raises_code("not-a-ranking", value):
        Ranking.from_json(text)


def test_records_are_frozen() -> None:
    for module in ("evaluation", "features.feature_spec", "finetune.saving"):
        importlib.import_module(f"hf_emms.{module}")
    kinds: list[type[msgspec.Struct]] = [msgspec.Struct]
    for kind in kinds:
        kinds += kind.__subclasses__()
    ours = [kind for kind in kinds if kind.__module__.startswith("hf_emms.")]
    changeable = {kind.__name__ for kind in ours if not kind.__struct_config__.frozen}
    assert changeable <= {"ReadCounts", "_Head", "_PackedListing"}


# Name → score of each fold, a score without folds, or None for a failed row; and the order with ranks.
ORDERS: dict[str, tuple[dict[str, tuple[float, ...] | float | None], str]] = {
    "within the noise of the folds": (
        {"best": (0.50, 0.60, 0.40), "close": (0.55, 0.45, 0.47), "worse": (0.10, 0.20, 0.00)},
        "=1 best, =1 close, 3 worse",
    ),
    # The folds are paired: what all checkpoints find hard does not blur their order.
    "a small but steady difference": (
        {"first": (0.91, 0.51, 0.11), "second": (0.8865, 0.4965, 0.1065)},
        "1 first, 2 second",
    ),
    "ranks never fall along the order": (
        {"steady": (0.50, 0.50, 0.50), "lower": (0.40, 0.40, 0.40), "wild": (1.2, -0.9, 0.6)},
        "1 steady, =2 lower, =2 wild",
    ),
    # The last is clearly below "d", and cannot be told from "b", which leads the band.
    "a rank is shared with the first of its band": (
        {
            "a": (0.9, 0.9, 0.9),
            "b": (0.5, 0.6, 0.5),
            "c": (0.52, 0.5, 0.57),
            "d": (0.51, 0.58, 0.49),
            "e": (0.50, 0.57, 0.48),
        },
        "1 a, =2 b, =2 c, =2 d, =2 e",
    ),
    "two folds have noise": ({"a": (0.6, 0.4), "b": (0.3, 0.5)}, "=1 a, =1 b"),
    "folds of other numbers are not paired": ({"a": (0.6, 0.5, 0.4), "b": (0.4, 0.5)}, "1 a, 2 b"),
    "without folds only equal values tie": ({"a": 0.1, "b": 0.2, "c": 0.1}, "1 b, =2 a, =2 c"),
    "failed rows come last without a rank": ({"a": None, "b": -9.0}, "1 b, – a"),
}


@pytest.mark.parametrize("case", ORDERS)
def test_ranks_tie_within_the_noise_of_the_folds(case: str) -> None:
    scores, expected = ORDERS[case]
    rows = []
    for name, values in scores.items():
        if values is None:
            rows.append(Row(name, rank=1, error="broken"))
        else:
            score = emms_score(*values) if isinstance(values, tuple) else Score(values)
            rows.append(Row(name, scores={"emms": score}))
    for given_rows in (rows, rows[::-1]):
        order = ranked(given_rows, "emms")
        assert ", ".join(f"{format_rank(row)} {row.checkpoint}" for row in order) == expected


def test_rows_by_position_and_name() -> None:
    ranking = four_scored()
    assert ranking.best == ranking.rows[0] == ranking.row("org/a")
    assert [row.checkpoint for row in ranking.top()] == ["org/a", "org/b", "org/c"]
    assert len(example().top(4)) == 3  # one has failed
    assert example(rows=(Row("x", error="broken"),)).best is None
    assert example(rows=(Row("org/x@v1", error="broken"),)).row("x").checkpoint == "org/x@v1"
    with raises_code("unknown-row", "nobody", "org/best, org/close"):
        example().row("nobody")


def test_a_baseline_follows_equal_rows() -> None:
    rows = example().rows
    for equal, place in ((rows[1], 2), (rows[2], 3)):
        baseline = Row("BM25", scores={"emms": equal.scores["emms"]})
        ranking = example(baselines=(baseline,))
        assert ranking.shown_rows == (*rows[:place], baseline, *rows[place:])
        assert views.flat_records(ranking)[place]["tied"] is False


def test_plain_returns_json_values() -> None:
    value = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": (float("nan"), float("inf"), None), 1: True}
    assert plain(value) == {"a": 0.5, "b": [1, 2], "c": [None, None, None], "1": True}


TABLE = """\
rank  checkpoint      explained    LogME    k-NN  params  width  seconds
----  ----------  -------------  -------  ------  ------  -----  -------
  =1  org/best    0.500 ± 0.003  -1.1000  0.8000    309k    512      1.5
  =1  org/close   0.484 ± 0.003  -1.2000  0.7000    1.3B   1024      3.5
   3  org/worse   0.145 ± 0.003  -1.5000       –   85.0M    768      2.8
   –  org/broken              –        –       –       –      –        –
failed: org/broken: the weights are truncated → download them again
"""


def test_tables_for_people_are_aligned_and_list_failures_below() -> None:
    header, _, *rows, failed = TABLE.splitlines()
    assert views.to_text(example()) == TABLE
    cells = [re.split(r"  +", row.strip()) for row in rows]
    markdown = ["| " + " | ".join(row) + " |" for row in [header.split(), ["---:", ":---", *["---:"] * 6], *cells]]
    assert views.to_markdown(example()).splitlines() == [*markdown, "", "Failed:", "", failed.replace("failed:", "-")]


def test_separated_values_are_complete_and_unrounded() -> None:
    ranking = example()
    header, *lines = csv.reader(io.StringIO(views.to_csv(ranking)))
    cells = [
        ["" if value is None else str(value) for value in record.values()] for record in views.flat_records(ranking)
    ]
    assert (header, lines) == ([*views.flat_records(ranking)[0]], cells)
    columns = "rank tied checkpoint revision emms emms_stderr explained explained_stderr logme knn knn_stderr"
    more = "width hours_per_million architecture pooling seconds_features seconds_scoring machine memory cached error"
    assert header == f"{columns} parameters {more} pick certainty caveats".split()


def test_hostile_text_cannot_steer_a_terminal_or_break_a_table() -> None:
    name = "org/\x1b[2Jx|y\n<b>"
    ranking = example(rows=(Row(name, error="a\tb\r\nc"),))
    text = views.to_text(ranking)
    assert "\x1b" not in text
    assert "a b c" in text
    row = views.to_markdown(ranking).splitlines()[2]
    assert "\\|y \\<b\\>" in row
    assert row.replace("\\|", "").count("|") == 7  # scores that no row has get no column


def test_a_narrow_terminal_omits_the_least_important_columns() -> None:
    values = {
        "license": "mit",
        "layer": "3",
        "fine_tuned": FineTuned("accuracy", 0.5),
    }
    rows = tuple(msgspec.structs.replace(row, **({} if row.error else values)) for row in example().rows)
    wide = example(rows=rows, estimators=("emms", "short_run", "knn"), layers=["3"])
    assert [record["fine_tuned"] for record in views.flat_records(wide)] == [0.5, 0.5, 0.5, None]
    titles = views.dispensable_titles(wide)
    assert titles == [
        *("width", "layer", "k-NN"),
        *("license", "params", "minutes", "fine-tuned"),
    ]


def test_large_scores_keep_four_digits() -> None:
    assert format_number(-12345.678) == "-1.235e+04"
    assert (format_number(99.99), format_number(100)) == ("99.9900", "100")
    assert format_number(0.12345) == "0.1235"
    assert format_number(None) == "–"
    assert format_number(-0.00001) == "0.0000"
    assert explained(Score(0.0, 0.1, details={"r2": 1.0})) == (1.0, 0.0)  # no loss is left to err in
