"""Results datasets on a Hub over HTTP: publish, merge, read back, concurrent publishers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import msgspec
import pytest
import yaml

from hf_emms.publish import wheel
from hf_emms.ranking import FineTuned, Ranking, Row, Seconds, ranked
from hf_emms.ranking.merge import merged, path_of
from hf_emms.scoring import Score
from tests.helpers.cli import program
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import cli, home, hub
from tests.helpers.rankings import example
from tests.hub import Hub
from tests.hub.fixtures import client_environment, run_client

__all__ = ["cli", "home", "hub"]

Run = Callable[..., Done]

ID = "lab/emms-results"


@pytest.fixture
def lab(hub: Hub) -> Iterator[Hub]:
    """The Hub, without the results of other tests."""
    if ("dataset", ID) in hub.store.repos:
        hub.store.delete(hub.store.repo(ID, "dataset"))
    yield hub
    hub.faults.clear()


@pytest.fixture
def token(hub: Hub) -> str:
    return hub.token(user="ada", orgs=["lab"])


def write(folder: Path, ranking: Ranking, name: str = "ranking.json") -> Path:
    file = folder / name
    file.write_text(ranking.to_json())
    return file


def with_rows(*rows: Row, **changes: object) -> Ranking:
    return example(**changes, rows=ranked(rows, "emms"))


def scored(name: str, value: float, **changes: object) -> Row:
    folds = (value, value + 0.01, value - 0.01)
    details = {"weights": [value % 1, 1 - value % 1], "r2": 0.1}
    return Row(name, "a" * 40, scores={"emms": Score(value, 0.01, folds, details)}, **changes)  # type: ignore[arg-type]


def names(ranking: Ranking) -> list[str]:
    return [row.checkpoint for row in ranking.rows]


def commits(hub: Hub) -> int:
    return len(hub.store.repo(ID, "dataset").commits)


def published(hub: Hub, ranking: Ranking) -> Ranking:
    return Ranking.from_json(hub.store.read(ID, f"rankings/{path_of(ranking)}.json", "dataset"))


def test_path_differs_exactly_if_rankings_are_not_comparable() -> None:
    same = [{}, {"created": "later", "device": "cuda", "notes": (), "versions": {}, "dataset": "another name"}]
    same.append({"rows": example().rows[:1]})
    other = [{"task": "image-to-text"}, {"dataset_id": "org/other"}, {"dataset_revision": "f" * 40}, {"n": 7}]
    other += [{"config": "small"}, {"split": "test"}, {"seed": 1}, {"folds": 5}, {"label_template": "a photo of a {}"}]
    other += [{"encoders": example().encoders[:1]}, {"estimators": ("emms",)}, {"columns": {"image": "picture"}}]
    # Paths of published files must not change.
    path = "image-classification/AI-Lab-Makerere--beans/default-train-n1034-seed0-6f2a13d19886"
    assert {path_of(example(**changes)) for changes in same} == {path}
    assert len({path_of(example(**changes)) for changes in [{}, *other]}) == len(other) + 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b\\c:d*?", "\N{SNOWMAN}" * 300, "", "CON.", ".hidden"])
def test_path_stays_inside_the_folder(name: str) -> None:
    path = path_of(example(dataset_id=name, config=name, split=name, task=name))
    pieces = path.split("/")
    assert len(pieces) == 3
    assert all(piece.isascii() and not piece.startswith(".") and 0 < len(piece) < 200 for piece in pieces)
    assert not set(path) & set("\\:*? ")


MERGED = {
    "other checkpoints": ([scored("org/a", 0.3)], [scored("org/b", 0.5)], {"org/b": 0.5, "org/a": 0.3}),
    "a newer row": ([scored("org/a", 0.3)], [scored("org/a", 0.4)], {"org/a": 0.4}),
    "a newer failure": (
        [scored("org/a", 0.3)],
        [Row("org/a", error="out of memory"), scored("org/b", 0.1)],
        {"org/a": 0.3, "org/b": 0.1},
    ),
}


@pytest.mark.parametrize("case", MERGED)
def test_merged_ranking_does_not_depend_on_order(case: str) -> None:
    old, new, expected = MERGED[case]
    earlier, later = with_rows(*old), with_rows(*new, created="2027")
    for both in (merged(earlier, later), merged(later, earlier)):
        assert [(row.checkpoint, row.scores["emms"].value) for row in both.rows] == [*expected.items()]
        assert [row.rank for row in both.rows] == [*range(1, len(expected) + 1)]
        if both is not later:
            mean = sum(expected.values()) / len(expected)
            assert [encoder.weight for encoder in both.encoders] == pytest.approx([mean, 1 - mean])


def test_settings_without_effect_change_nothing() -> None:
    plain, old = example(), with_rows(scored("org/a", 0.3))
    unset, new = (example(settings=plain.settings | {"new_option": value}) for value in (None, "x"))
    assert path_of(unset) == path_of(plain) != path_of(new)
    assert merged(plain, unset) is plain
    again = with_rows(scored("org/a", 0.3, seconds=Seconds(9, 9), cached="row"), created="2027", device="cuda")
    assert merged(old, again) is old
    assert merged(old, with_rows(scored("org/a", 0.31), created="2027")) is not old


@pytest.fixture
def publish(cli: CommandLine, token: str, tmp_path: Path) -> Run:
    """Runs ``hf-emms publish results`` with rankings, and words after them."""

    def run(*rankings: Ranking, words: tuple[str, ...] = (), token: str = token) -> Done:
        files = [("--ranking", write(tmp_path, ranking, f"{place}.json")) for place, ranking in enumerate(rankings)]
        return cli.run("publish", "results", "--repo-id", ID, *chain(*files), "--yes", *words, token=token)

    return run


def test_ranking_is_published_once_with_a_card(lab: Hub, publish: Run) -> None:
    folder = msgspec.structs.replace(scored("./folder", 0.1), revision="local-1")
    publish(with_rows(folder, dataset_id="./mine", dataset_revision="local-0123456789abcdef"), words=("--private",))
    assert lab.store.repo(ID, "dataset").private
    done = publish(example())
    assert done.code == 0, done
    assert done.out.startswith(f"{lab.url}/datasets/{ID}/commit/")
    rows = tuple(msgspec.structs.replace(row, cached="none") for row in example().rows)
    assert published(lab, example()) == msgspec.structs.replace(example(), rows=rows)
    card = lab.store.read(ID, "README.md", "dataset").decode()
    settings = yaml.safe_load(card.split("---")[1])
    assert settings["configs"][0]["data_files"] == [{"split": "train", "path": "data/**/*.parquet"}]
    before = commits(lab)
    assert "already" in publish(example(created="2027-01-01T00:00:00+00:00", device="cuda")).err
    assert commits(lab) == before


RANKING = f"rankings/{path_of(example())}.json"
# The published content, and the expected error.
KEPT = {
    "a newer ranking": (RANKING, example().to_json().replace('version": 1', 'version": 99'), ("schema_version",)),
}


@pytest.mark.parametrize("case", KEPT)
def test_newer_ranking_is_not_overwritten(lab: Hub, publish: Run, case: str) -> None:
    path, text, said = KEPT[case]
    content = text.encode()
    lab.store.put_files(ID, {path: content}, "dataset")
    done = publish(example())
    assert done.code == 1
    assert not [words for words in said if words not in done.err], done.err
    assert lab.store.read(ID, path, "dataset") == content


def test_push_to_hub_and_load_dataset(lab: Hub, publish: Run, token: str, tmp_path: Path) -> None:
    tuned = scored("org/a", 0.3, fine_tuned=FineTuned("accuracy", 0.91, 0.004, 0.9))
    settings = {"estimators": ("emms", "hscore"), "config": "test-train", "split": "validation"}
    publish(with_rows(tuned, scored("org/b", 0.2), **settings))
    file = write(tmp_path, example(), "pushed.json")
    code = f"""
        import json, hf_emms
        from datasets import load_dataset
        ranking = hf_emms.Ranking.load({str(file)!r})
        url = ranking.push_to_hub("{ID}")
        ranking.push_to_hub("lab/hidden", private=True)
        ranking.push_to_hub("lab/open")
        print(json.dumps([url, *load_dataset("{ID}", split="train").to_list()]))
        """
    url, *rows = run_client(lab, code, tmp_path / "reader", HF_TOKEN=token)
    assert f"/datasets/{ID}/commit/" in url
    are_private = [lab.store.repo(id, "dataset").private for id in (ID, "lab/hidden", "lab/open")]
    assert are_private == [False, True, False]
    by_name = {row["checkpoint"]: row for row in rows}
    assert len(rows) == len(by_name) == 6
    assert by_name["org/a"]["split"] == "validation"
    best = by_name["org/best"]
    assert best["ranking"] == path_of(example())
    assert {score["estimator"]: score["value"] for score in best["scores"]}["emms"] == pytest.approx(-0.31)
    assert by_name["org/broken"]["error"]
    columns = ("fine_tuned", "fine_tuned_spread", "fine_tuned_metric")
    assert [by_name["org/a"][column] for column in columns] == [0.91, 0.004, "accuracy"]
    assert {row[column] for name, row in by_name.items() if name != "org/a" for column in columns} == {None}


def test_concurrent_publishers_lose_nothing(lab: Hub, token: str, tmp_path: Path) -> None:
    """Two processes add to one ranking, a third publishes another; the dataset does not exist yet."""
    environment = client_environment(lab, tmp_path / "many", HF_TOKEN=token)
    command = program("publish", "results", "--repo-id", ID, "--yes", "--ranking")
    first, second = (with_rows(scored(f"org/c{number}", number / 10), created=f"202{number}") for number in range(2))
    other = with_rows(scored("org/x", 0.5), seed=3)
    files = [write(tmp_path, ranking, f"{place}.json") for place, ranking in enumerate((first, second, other))]
    running = [
        subprocess.Popen([*command, str(file)], env=environment, stderr=subprocess.PIPE, text=True) for file in files
    ]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], errors
    assert names(published(lab, first)) == ["org/c1", "org/c0"]
    assert names(published(lab, other)) == ["org/x"]
    assert commits(lab) == 1 + 3


def rows_of(hub: Hub) -> set[str]:
    """The checkpoints of all rankings of the dataset, as the leaderboard reads them."""
    paths = [path for path in hub.store.paths(ID, "dataset") if path.startswith("rankings/")]
    return {name for path in paths for name in names(Ranking.from_json(hub.store.read(ID, path, "dataset")))}


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_pull_requests_for_one_ranking_lose_no_row_in_any_order(lab: Hub, publish: Run, order: tuple[int, ...]) -> None:
    many = [scored(f"org/c{number}", number / 100) for number in range(25)]
    publish(with_rows(*many))
    for user, name in (("bob", "org/new"), ("eve", "org/newer")):
        ranking = with_rows(scored(name, 0.9), created=f"2027-{name}")
        done = publish(ranking, words=("--create-pr",), token=lab.token(user=user))
        assert done.code == 0, done
    expected = {row.checkpoint for row in many} | {"org/new", "org/newer"}
    for number in order:
        code = f"from huggingface_hub import HfApi; HfApi().merge_pull_request('{ID}', {number}, repo_type='dataset')"
        run_client(lab, f"{code}\nprint('null')", lab.store.folder / "owner", HF_TOKEN=lab.token(orgs=["lab"]))
    assert rows_of(lab) == expected
    done = publish()  # merges the files
    assert done.code == 0, done
    assert {*names(published(lab, with_rows(*many)))} == expected
    paths = lab.store.paths(ID, "dataset")
    assert len([path for path in paths if path.startswith("rankings/")]) == 1
    assert len([path for path in paths if path.startswith("data/")]) == 1
    assert "already has" in publish().err


def test_damaged_files_are_named_and_stop_no_other(lab: Hub, publish: Run) -> None:
    damaged = "rankings/image-classification/org/damaged.json"
    lab.store.put_files(ID, {RANKING: example().to_json(), damaged: b"{}"}, "dataset")
    done = publish()
    assert done.code == 0, done
    assert f"not merged: {damaged}: " in done.err
    assert f"data/{path_of(example())}.parquet" in lab.store.paths(ID, "dataset")


def test_missing_parquet_files_are_written(lab: Hub, publish: Run) -> None:
    lab.store.put_files(ID, {RANKING: example().to_json()}, "dataset")
    assert publish().code == 0
    assert [path for path in lab.store.paths(ID, "dataset") if path.startswith("data/")] == [
        f"data/{path_of(example())}.parquet"
    ]


def test_files_are_shown_before_anything_is_written(lab: Hub, publish: Run, cli: CommandLine, token: str) -> None:
    planned = publish(example(), words=("--dry-run",))
    assert planned.code == 0, planned
    assert [line.split()[0] for line in planned.out.splitlines()] == [
        RANKING,
        f"data/{path_of(example())}.parquet",
        wheel.NAME,
        "README.md",
    ]
    file = write(cli.folder, example())
    asked = cli.run("publish", "results", "--repo-id", ID, "--ranking", file, token=token)
    assert (asked.code, "--yes" in asked.err) == (1, True)
    assert RANKING in asked.err
    assert ("dataset", ID) not in lab.store.repos
