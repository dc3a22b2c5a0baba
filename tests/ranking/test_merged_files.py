"""Test adding rankings to files that other processes change."""

from __future__ import annotations

from multiprocessing.pool import ThreadPool
from pathlib import Path

import msgspec
import pytest

from hf_emms.ranking import FineTuned, Ranking, ranked
from hf_emms.ranking.files import add_to_file
from tests.helpers.rankings import example


def confirmed(*checkpoints: str, value: float = 0.9, **changes: object) -> Ranking:
    ranking = example(**changes)
    results = dict.fromkeys(checkpoints, FineTuned("accuracy", value, validation=value))
    rows = [msgspec.structs.replace(row, fine_tuned=results.get(row.checkpoint)) for row in ranking.rows]
    return msgspec.structs.replace(ranking, rows=ranked(rows, "emms"))


def added(ranking: Ranking, file: Path) -> Path:
    return add_to_file(ranking, file, Ranking.save)


def values(file: Path) -> dict[str, float | None]:
    return {row.checkpoint: row.fine_tuned.value for row in Ranking.load(file) if row.fine_tuned is not None}


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    file, names = tmp_path / "ranking.json", ("org/best", "org/worse", "org/close")
    with ThreadPool(3) as pool:
        assert pool.map(lambda name: added(confirmed(name), file), names * 3) == [file] * 9
    assert values(file) == dict.fromkeys(names, 0.9)


def test_the_latest_fine_tuned_score_wins(tmp_path: Path) -> None:
    file = added(confirmed("org/best", "org/close"), tmp_path / "ranking.json")
    added(example(created="2026-12-01T00:00:00+00:00"), file)
    added(confirmed("org/close", value=0.5), file)
    assert values(file) == {"org/best": 0.9, "org/close": 0.5}


def test_a_run_replaces_its_start_and_keeps_additions_of_others(tmp_path: Path) -> None:
    file = confirmed("org/best").save(tmp_path / "ranking.json")
    before = Ranking.load(file)
    add_to_file(example(), file, Ranking.save, before)
    assert values(file) == {}
    added(confirmed("org/worse"), file)
    add_to_file(confirmed("org/close"), file, Ranking.save, before)
    assert values(file) == {"org/close": 0.9, "org/worse": 0.9}
    added(confirmed("org/best", value=0.5), file)
    add_to_file(confirmed("org/best", "org/close"), file, Ranking.save, confirmed("org/best"))
    assert values(file) == {"org/best": 0.5, "org/close": 0.9, "org/worse": 0.9}
    assert values(example().save(file)) == {}  # saving replaces the file


@pytest.mark.parametrize(
    "change",
    [
        {"dataset_id": "org/other"},
        {"dataset_revision": "f" * 40},
        {"task": "text-classification"},
        {"seed": 7},
        {"rows": tuple(msgspec.structs.replace(row, revision="f" * 40) for row in confirmed("org/best").rows)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_different_ranking_gets_a_new_file(tmp_path: Path, change: dict[str, object]) -> None:
    file, beside = tmp_path / "ranking.json", tmp_path / "ranking-2.json"
    other = example(**change)
    other.save(file)
    assert added(confirmed("org/best"), file) == beside
    assert added(confirmed("org/worse"), file) == beside
    assert Ranking.load(file) == other
    assert values(beside) == {"org/best": 0.9, "org/worse": 0.9}


def test_rankings_of_datasets_in_memory_are_not_merged(tmp_path: Path) -> None:
    ranking = example(dataset="in-memory dataset", dataset_id="in-memory dataset", dataset_revision="")
    files = [added(ranking, tmp_path / "ranking.json").name for _ in range(2)]
    assert files == ["ranking.json", "ranking-2.json"]


def test_a_foreign_file_stays_and_an_empty_or_linked_file_is_filled(tmp_path: Path) -> None:
    notes, empty, linked = (tmp_path / f"{name}.json" for name in ("notes", "empty", "linked"))
    notes.write_text("my notes")
    empty.touch()
    linked.symlink_to(tmp_path / "target.json")
    for file, written in ((notes, tmp_path / "notes-2.json"), (empty, empty), (linked, linked)):
        assert added(example(), file) == written
        assert Ranking.load(written) == example()
    assert notes.read_text() == "my notes"
    assert linked.is_symlink()
