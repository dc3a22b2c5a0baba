"""Merged rankings, validation, cards and the leaderboard show fine-tuned scores next to estimates."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from hf_emms import Ranking
from hf_emms.cli.app import app
from hf_emms.evaluation import truth_from_rankings, validate
from hf_emms.finetune.saving import test_rows as rows_of_test
from hf_emms.heads import LabeledSplit
from hf_emms.publish.card_text import card
from hf_emms.ranking import FineTuned, TrainingRun
from hf_emms.ranking.merge import merged, path_of
from tests.helpers.errors import raises_code
from tests.helpers.rankings import ranking
from tests.helpers.space import snapshot_of, write

VALUES = {"org/a": 0.86, "org/b": 0.91, "org/c": 0.84}


def measured(value: float) -> FineTuned:
    run = TrainingRun(1e-4, 0, value + 0.01, {"accuracy": value}, 0.004, 100, 32, 3.5)
    rows = {"train": "700 rows, split train", "validation": "150 rows, held out of it", "test": "150 rows, split test"}
    recipe = {"method": "full", "epochs": 5, "steps": None}
    return FineTuned("accuracy", value, 0.004, value + 0.01, {"accuracy": value}, 1e-4, (run,), recipe, rows)


@pytest.fixture
def confirmed() -> Ranking:
    """A ranking with three of four checkpoints fine-tuned, in which the estimate's second is the best."""
    rows = tuple(
        msgspec.structs.replace(row, fine_tuned=measured(VALUES[row.checkpoint])) if row.checkpoint in VALUES else row
        for row in ranking().rows
    )
    return msgspec.structs.replace(ranking(), rows=rows)


def test_a_new_ranking_keeps_the_fine_tuned_scores_of_the_same_revision(confirmed: Ranking) -> None:
    assert path_of(confirmed) == path_of(ranking())
    later = msgspec.structs.replace(ranking(), created="2027-01-01T00:00:00+00:00")
    both = merged(confirmed, later)
    assert [row.fine_tuned for row in both.rows] == [row.fine_tuned for row in confirmed.rows]
    moved = tuple(msgspec.structs.replace(row, revision="9" * 40) for row in later.rows)
    assert not merged(confirmed, msgspec.structs.replace(later, rows=moved)).fine_tuned


def test_a_ranking_is_checked_against_its_own_fine_tunings_without_a_file(confirmed: Ranking, tmp_path: Path) -> None:
    truth = truth_from_rankings([confirmed])
    assert truth.scores == {confirmed.dataset_id: {name: pytest.approx(100 * value) for name, value in VALUES.items()}}
    (target,) = validate([confirmed], truth).targets
    assert target.lines[0].values["regret"] == pytest.approx(5.0)
    file = str(confirmed.save(tmp_path / "ranking.json"))
    done = CliRunner().invoke(app, ["validate", "--ranking", file])
    assert done.exit_code == 0, done.output
    assert "the rankings' own fine-tunings" in done.stderr
    with raises_code("not-fine-tuned") as raised:
        truth_from_rankings([ranking()])
    assert "hf-emms confirm" in raised.value.hint


def test_a_card_distinguishes_fine_tuned_scores_from_estimates(confirmed: Ranking) -> None:
    assert "| accuracy 91.0 ± 0.4" in card(confirmed, "org/b")
    assert "| accuracy" not in card(confirmed, "org/d")


def test_the_test_rows_are_listed(confirmed: Ranking) -> None:
    test = LabeledSplit.of_inputs(range(3), ["a", "b", "a"])
    kept = {"dataset": "AI-Lab-Makerere/beans", "revision": "e" * 40, "config": None, "split": "", "columns": ["image"]}
    kept["ids"] = ["0000000000000000", "0100000000000000", "0200000000000000"]
    content = json.dumps(kept, indent=1, ensure_ascii=False)
    assert rows_of_test(confirmed, test) == {"test_rows.json": f"{content}\n"}


def test_the_leaderboard_has_a_column_and_the_result_in_its_answer(confirmed: Ranking, tmp_path: Path) -> None:
    from leaderboard.answer import answer
    from leaderboard.selection import View
    from leaderboard.table import table, to_csv

    write(tmp_path, "one", confirmed)
    snapshot = snapshot_of(tmp_path)
    entry = snapshot.entries["one"]
    view = View()
    assert "91.0 ± 0.4" in table(view, entry.ranking, snapshot)
    assert "accuracy 91.0" in answer(view, entry.ranking, snapshot)
    assert ",0.91," in to_csv(view, entry.ranking, snapshot)
    write(tmp_path, "one", ranking())
    snapshot = snapshot_of(tmp_path)
    assert "Fine-tuned" not in table(view, snapshot.entries["one"].ranking, snapshot)
