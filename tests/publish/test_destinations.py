"""Destinations of sweeps: concurrent writers, unwritable folders, failed commits."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import pytest

from hf_emms import EmmsError, Ranking
from hf_emms.publish.destinations import ResultsFolder
from hf_emms.ranking import Row, ranked
from hf_emms.ranking.merge import path_of
from tests.helpers.rankings import emms_score, example
from tests.hub import Hub


def test_concurrent_writers_lose_no_row(tmp_path: Path) -> None:
    def add(writer: int) -> None:
        folder = ResultsFolder(tmp_path)
        for number in range(10):
            row = Row(f"org/{writer}-{number}", "a" * 40, scores={"emms": emms_score(-0.3, -0.4)})
            folder.add(example(rows=ranked([row], "emms"), estimators=("emms",)))

    with ThreadPool(3) as pool:
        pool.map(add, range(3))
    whole = ResultsFolder(tmp_path).ranking_at(path_of(example(estimators=("emms",))))
    assert len(whole.rows) == 30


@pytest.mark.parametrize("place", ["file", "file/folder", "x" * 300, "/proc/none"])
def test_unwritable_folder_is_refused_first(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmmsError, match="cannot be written: "):
        ResultsFolder(tmp_path / place)


def test_other_file_at_the_path_is_reported_and_stays(tmp_path: Path) -> None:
    folder, path = ResultsFolder(tmp_path), path_of(example())
    assert folder.ranking_at(path) is None
    file = tmp_path / f"{path}.json"
    file.parent.mkdir(parents=True)
    file.write_text("[]")
    with pytest.raises(EmmsError, match=r"cannot read .*\.json: this is not a ranking: .*\n  → remove it, or choose"):
        folder.add(example())
    assert file.read_text() == "[]"
    file.unlink()
    file.mkdir()
    with pytest.raises(EmmsError, match=r"cannot read .*\.json: Is a directory\n"):
        folder.ranking_at(path)
    (tmp_path / "text-classification").touch()
    with pytest.raises(EmmsError, match=r"cannot write .*\.json: (Not a directory|File exists)\n"):
        folder.add(example(task="text-classification"))


def test_failed_commit_is_repeated_with_the_next(hub: Hub, client: Callable[..., Any], tmp_path: Path) -> None:
    rankings = [example(config=config) for config in ("first", "second")]
    files = [str(ranking.save(tmp_path / f"{ranking.config}.json")) for ranking in rankings]
    hub.fail("POST /api/datasets/ada/swept/commit/*", 403)
    code = f"""
        import json
        from hf_emms import Ranking
        from hf_emms.publish import destinations
        notes = []
        dataset = destinations.ResultsDataset("ada/swept", notes.append)
        for file, destinations.COMMIT_SECONDS in zip({files!r}, (0.0, 3600.0)):
            notes.append(dataset.add(Ranking.load(file)).config)
        dataset.flush()
        dataset.flush()
        again = destinations.ResultsDataset("ada/swept", notes.append)
        read = [again.ranking_at(path) for path in ("none", *{[path_of(ranking) for ranking in rankings]!r})]
        print(json.dumps([*notes, *(ranking and ranking.config for ranking in read)]))
        """
    refused, *said = client(code, HF_TOKEN=hub.token(user="ada"))
    assert refused.startswith("not published yet: ")
    paths = [f"rankings/{path_of(ranking)}.json" for ranking in rankings]
    published = [f"published in ada/swept: {path}" for path in paths]
    assert said == ["first", "second", *published, *published, None, "first", "second"]
    dataset = hub.store.repo("ada/swept", "dataset")
    assert (len(dataset.commits), dataset.private) == (2, False)
    for path, ranking in zip(paths, rankings, strict=True):
        assert Ranking.from_json(hub.store.read("ada/swept", path, "dataset")).config == ranking.config
