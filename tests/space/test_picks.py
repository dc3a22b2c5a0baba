"""Every page, file and endpoint names the same checkpoint to fine-tune, and follows the filters."""

from __future__ import annotations

import msgspec
import pytest
from leaderboard import answer, home
from leaderboard.endpoints import Endpoints
from leaderboard.selection import View

from hf_emms.publish.card_text import card
from hf_emms.publish.results import _files
from hf_emms.ranking import FineTuned, Ranking, Row, TrainingRun, ranked
from tests.helpers.rankings import calibrated, emms_score
from tests.helpers.space import of_rows, scored, store_of, write

TIED, SMALL = (0.0, 0.02, -0.02), (0.0, -0.02, 0.02)


def row(name: str, score: float, folds: tuple[float, ...], parameters: int, **changes: object) -> Row:
    scores = {"emms": emms_score(*(score + step for step in folds))}
    return Row(name, "a" * 40, scores=scores, parameters=parameters, **changes)  # type: ignore[arg-type]


def shared() -> Ranking:
    """A ranking whose first two tie, the larger one first by score; others follow."""
    rows = [
        row("org/large", -0.1, TIED, 90_000_000, license="mit"),
        row("org/small", -0.11, SMALL, 20_000_000, license="apache-2.0"),
        row("org/worse", -0.4, TIED, 10_000_000, license="mit"),
    ]
    return of_rows("shared", rows=ranked(rows, "emms"), estimators=("emms",))


def tuned(ranking: Ranking, *names: str) -> Ranking:
    """Return a ranking whose checkpoints are fine-tuned, the first name the best."""
    results = {
        name: FineTuned("accuracy", 0.9 - place / 10, 0.01, 0.9 - place / 10) for place, name in enumerate(names)
    }
    rows = [msgspec.structs.replace(row, fine_tuned=results.get(row.checkpoint)) for row in ranking.rows]
    return msgspec.structs.replace(ranking, rows=tuple(rows))


@pytest.fixture
def asked(tmp_path):
    write(tmp_path, "shared", shared())
    write(
        tmp_path,
        "single",
        tuned(of_rows("single", scored("org/one", -0.1, 10), scored("org/two", -0.2, 20)), "org/one"),
    )
    store = store_of(tmp_path)
    return Endpoints(store), store.snapshot


def test_of_a_shared_first_rank_everything_names_the_same_checkpoint(asked) -> None:
    endpoints, snapshot = asked
    ranking = snapshot.entries["shared"].ranking
    assert ranking.rows[0].checkpoint == "org/large"
    readme = _files([ranking], "org/results", lambda path: None)["README.md"].decode()
    named = {
        "verdict": endpoints.get_ranking("shared")["verdict"]["checkpoint"],
        "list": {each["id"]: each["best"] for each in endpoints.list_rankings()}["shared"],
        "python": ranking.best.checkpoint,
    }
    assert set(named.values()) == {"org/small"}
    (line,) = (line for line in readme.splitlines() if line.startswith("| [org/shared]"))
    assert "org/small" in line
    assert "org/large" not in line
    assert "small</span>" in answer.answer(View(), ranking, snapshot).split("</a>")[0]
    assert "[org/small](https://huggingface.co/org/small) is one of the 2 best" in card(ranking)


@pytest.mark.parametrize(
    ("limits", "best", "lead"),
    [
        ({}, "org/small", "shared"),
        ({"max_parameters": 20e6}, "org/small", "clearly ahead"),
        ({"max_parameters": 15e6}, "org/worse", "alone"),
        ({"license": "mit"}, "org/large", "clearly ahead"),
        ({"license": "mit", "max_parameters": 30e6}, "org/worse", "alone"),
        ({"license": "gpl"}, None, "no score"),
    ],
)
def test_answers_to_programs_keep_to_their_limits(asked, limits, best, lead) -> None:
    endpoints, _ = asked
    found = endpoints.get_ranking("shared", **limits)
    assert (found["verdict"]["checkpoint"], found["verdict"]["lead"]) == (best, lead)
    beyond = {"org/large", "org/small", "org/worse"} - {row["checkpoint"] for row in found["rows"]}
    assert not any(name in f"{found['answer']} {found['advice']}" for name in beyond)


def test_a_single_fine_tuned_checkpoint_is_not_tied_and_every_checkpoint_is_found(asked) -> None:
    _, snapshot = asked
    assert "fine-tuned, tied" not in home.page(View(tab="home"), snapshot)
    found = home.page(View(tab="home", q="worse"), snapshot)
    assert ">1</span> of 2 datasets" in found
    assert "shared" in found


def test_programs_get_the_expected_gap_what_is_at_stake_and_the_learning_curve(tmp_path) -> None:
    runs = (TrainingRun(1e-3, 0, 0.7, curve=(0.1, 0.7)), TrainingRun(1e-4, 0, 0.9, curve=(0.2, 0.8, 0.9)))
    write(tmp_path, "gaps", calibrated(-0.3, -0.32, -0.5))
    first, *others = calibrated(-0.3, -0.32).rows
    measured = msgspec.structs.replace(first, fine_tuned=FineTuned("accuracy", 0.9, 0.01, 0.9, {}, 1e-4, runs))
    write(tmp_path, "measured", calibrated(-0.3, -0.32, n=500, rows=(measured, *others)))
    endpoints = Endpoints(store_of(tmp_path))
    found = endpoints.get_ranking("gaps")
    assert [row["points_behind"] for row in found["rows"]] == [None, pytest.approx(1.34), pytest.approx(13.4)]
    assert found["points_at_stake"] == pytest.approx(13.4)
    assert len(found["expected_gap"]) == 2
    small = endpoints.get_ranking("gaps", search="b | c")
    assert small["points_at_stake"] == pytest.approx(1.34)
    measured_rows = endpoints.get_ranking("measured")["rows"]
    assert [row["learning_curve"] for row in measured_rows] == [[0.2, 0.8, 0.9], []]
