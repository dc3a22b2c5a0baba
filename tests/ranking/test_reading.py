"""The preview of how a dataset was read."""

from __future__ import annotations

import pytest

from hf_emms.cli.option_flags import FLAGS
from hf_emms.ranking.reading import ColumnReading, Reading
from hf_emms.texts import hint_style
from tests import ROOT

LABEL = ColumnReading("label", "stars", n_classes=900, classes={f"a class of many words {n}": 90 for n in range(6)})


@pytest.mark.parametrize(
    "columns",
    [
        (ColumnReading("text", "review", '"Arrived late."'), LABEL),
        (ColumnReading("expression", ",".join(f"annotations.phrase_{n}" for n in range(9)), f'"{"long " * 9}"'), LABEL),
        (ColumnReading("text", "a" * 70, "b" * 70), ColumnReading("label", "score", low=0, high=1)),
        (ColumnReading("a_role_of_another_package_with_a_long_name", "text", '"Arrived late."'), LABEL),
    ],
    ids=["short", "several columns", "long words", "a long role"],
)
def test_a_preview_shows_every_cell_and_the_setting_that_changes_it(columns: tuple[ColumnReading, ...]) -> None:
    reading = Reading(
        dataset="ORG/NAME",
        split="train",
        task="text-classification",
        columns=columns,
        splits=tuple(f"part-{number}" for number in range(40)),
        examples=1000,
        facts=("1,997 spans of 464 contexts, for 500 questions: the answer and up to 3 other spans of as many words",),
        unused=tuple(f"column_{number}" for number in range(12)),
    )
    head, *lines = reading.lines()
    starts = [line.split()[0] for line in lines]
    for each in columns:
        assert lines[starts.index(each.role)].endswith(f" {each.role}_column")
    text = "".join(str(reading).split())
    assert all(name in text for name in (*reading.unused, *reading.splits))
    if len(columns[0].role) < 20:
        assert max(map(len, (head, *lines))) <= 80


def test_the_page_of_the_tasks_shows_a_preview() -> None:
    counts = {"5": 508, "4": 227, "1": 139, "3": 106, "2": 20}
    reading = Reading(
        dataset="reviews.csv",
        split="train",
        task="text-classification",
        columns=(
            ColumnReading("text", "review", '"Arrived late, and box 47 was open."'),
            ColumnReading("label", "stars", n_classes=5, classes=counts),
        ),
        examples=1000,
    )
    with hint_style(FLAGS):
        assert f"```text\n{reading}\n" in (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8")
