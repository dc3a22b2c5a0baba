"""The mean rank on other datasets as a control, from a folder or a results dataset."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_emms.errors import EmmsError
from hf_emms.hub import Repo
from hf_emms.options import Options
from hf_emms.presets import demo
from hf_emms.publish.card_text import card
from hf_emms.publish.results import KnownRankings, pull
from hf_emms.ranking import Ranking
from hf_emms.ranking.merge import merged, path_of
from hf_emms.run.ranking_job import rank_argv
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import cli, home
from tests.helpers.rankings import example
from tests.helpers.space import with_clear_order
from tests.hub import Hub, running_hub

__all__ = ["cli", "home"]

ID = "lab/emms-results"
FASHION = ("--dataset", "demo_fashion", "--max-samples", "40", "-e", "emms-demo/encoder-minilm-static")
WANTED = ("-c", "lab/a", "-c", "lab/b", "-c", "lab/new", "--results")


# Ids with values in a public table.
PUBLISHED = {"facebook/dinov2-small": 73.6, "facebook/dinov2-base": 76.6}


def test_mean_ranks_use_only_other_datasets_of_the_task() -> None:
    rankings = (
        with_clear_order("x", "a", "b"),
        with_clear_order("x", "a", "b", dataset_revision="f" * 40, split="test"),
        with_clear_order("y", "b", "a"),
        with_clear_order("z", "a", "b", task="text-classification"),
    )
    known = KnownRankings(Repo(ID, "dataset", "a" * 40), rankings)
    ranks, (note,) = known.mean_ranks_elsewhere("image-classification", "org/x", None)
    assert ranks == {"b": 0.25, "a": 0.75}
    assert note.code == "mean-rank-elsewhere"
    assert f"1 other dataset in {ID}" in note.text
    assert known.mean_ranks_elsewhere("image-classification", "org/x", "large")[0] == {"a": 0.5, "b": 0.5}
    assert known.mean_ranks_elsewhere("text-classification", "org/z", None)[0] == {}


def test_results_setting_does_not_change_scores() -> None:
    with_control = example(results=f"{ID}@{'a' * 40}")
    assert path_of(with_control) == path_of(example())
    assert merged(with_control, example(results=f"{ID}@{'b' * 40}")) is with_control
    assert Options("org/data", results=ID).scoring.in_keys() == Options("org/data").scoring.in_keys()


def test_job_accepts_only_a_results_dataset(tmp_path: Path) -> None:
    assert rank_argv(Options("org/data", results=ID))[-2:] == ["--results", ID]
    with pytest.raises(EmmsError, match="is on this machine"):
        rank_argv(Options("org/data", results=str(tmp_path)))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """Three checkpoints, and a results dataset that knows two of them."""
    known = {
        "hats": with_clear_order("hats", "lab/a", "lab/gone", "lab/b"),
        "shoes": with_clear_order("shoes", "lab/b", "lab/a"),
        "own": with_clear_order("fashion", "lab/new", "lab/b", "lab/a", dataset_id="emms-demo/fashion-mnist"),
        "texts": with_clear_order("texts", "lab/b", "lab/new", "lab/a", task="text-classification"),
    }
    files = {f"rankings/{name}.json": one.to_json().encode() for name, one in known.items()}
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        for id, name in (
            *(("lab/a", "regnet-random"), ("lab/b", "vit-random"), ("lab/new", "resnet-fashion")),
            *((id, "regnet-random") for id in PUBLISHED),
        ):
            folder = demo.folder_of(demo.DEMO_PREFIX + name)
            assert folder is not None
            running.store.put_files(id, {path.name: path.read_bytes() for path in folder.iterdir()})
        running.store.put_files(ID, files | {"rankings/damaged.json": b"{}"}, "dataset")
        running.store.put_files("lab/other", {"README.md": b"no rankings"}, "dataset")
        running.store.put_files("lab/damaged", {"rankings/damaged.json": b"{}"}, "dataset")
        yield running


def ranked_with(cli: CommandLine, *arguments: str | Path) -> Done:
    done = cli.run("rank", *FASHION, *arguments)
    assert done.code == 0, done.err
    return done


def shares(done: Done) -> dict[str, float | None]:
    return {row["checkpoint"]: row["mean_rank_elsewhere"] for row in json.loads(done.out)["rows"]}


@pytest.mark.slow
def test_published_values_of_hub_ids_are_a_column_with_its_table(hub: Hub, cli: CommandLine) -> None:
    named = [word for id in (*PUBLISHED, "lab/a") for word in ("-c", id)]
    ranking = json.loads(ranked_with(cli, *named, "--format", "json").out)
    assert {row["checkpoint"]: row["static"] for row in ranking["rows"]} == {**PUBLISHED, "lab/a": None}
    assert "MIEB" in ranking["static_table"]["title"]


def test_column_appears_in_tables_and_cards_for_cached_rows(hub: Hub, cli: CommandLine, tmp_path: Path) -> None:
    without = json.loads(ranked_with(cli, *WANTED[:-1], "--format", "json").out)
    file = tmp_path / "ranking.json"
    done = ranked_with(cli, *WANTED, ID, "--format", "json", "-o", file)
    found = json.loads(done.out)
    assert [row["cached"] for row in found["rows"]] == ["row"] * 3
    ranks, before = ({row["checkpoint"]: row["rank"] for row in whole["rows"]} for whole in (found, without))
    assert ranks == before
    assert shares(done) == {
        "lab/a": pytest.approx((1 / 6 + 3 / 4) / 2),
        "lab/b": pytest.approx(13 / 24),
        "lab/new": None,
    }
    assert found["settings"]["results"] == f"{ID}@{hub.store.repo(ID, 'dataset').refs['refs/heads/main']}"
    assert {"mean-rank-elsewhere", "result-files-skipped"} <= {
        note["code"] for note in found["notes"] if isinstance(note, dict)
    }
    table = ranked_with(cli, *WANTED, ID, "--format", "table").out.splitlines()
    assert table[0].split()[-5:] == ["elsewhere", "params", "license", "width", "seconds"]
    assert {line.split()[1]: line.split()[-5] for line in table[2:]} == {"lab/a": "46%", "lab/b": "54%", "lab/new": "–"}
    assert "elsewhere" not in ranked_with(cli, *WANTED[:-1], "--format", "table").out
    section = card(Ranking.load(file))
    assert "mean rank elsewhere (on other datasets" in section
    assert [text in section for text in (" elsewhere |", " 46% |", " 54% |")] == [True] * 3


def test_results_can_be_a_folder(cli: CommandLine, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / "deep").mkdir(exist_ok=True)
        (tmp_path / "deep" / f"{name}.json").write_text(with_clear_order(name, "lab/a", "lab/b").to_json())
    for _ in range(2):  # the second time its own ranking is there, too
        done = ranked_with(cli, *WANTED, tmp_path, "-o", tmp_path / "own.json", "--format", "json")
        assert shares(done) == {"lab/a": 0.25, "lab/b": 0.75, "lab/new": None}
    (tmp_path / "folder.json").mkdir()
    rankings, problems = pull(str(tmp_path))
    assert sorted(rankings) == ["deep/first", "deep/second", "own"]
    assert problems == ["folder: Is a directory"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("./nowhere", "there is no file or folder './nowhere'"),
        ("file.json", "file.json has no ranking that can be read"),
        ("empty", "empty has no ranking that can be read\n  → --results ORG/emms-results, or a folder"),
        ("lab/nowhere", "there is no dataset 'lab/nowhere'"),
        ("lab/other", "dataset 'lab/other' has no file that matches rankings/*.json"),
        ("lab/damaged", "lab/damaged has no ranking that can be read; the first file: damaged: this is not a ranking"),
    ],
)
def test_unreadable_results_are_reported_first(cli: CommandLine, place: str, message: str) -> None:
    (cli.folder / "empty").mkdir(exist_ok=True)
    (cli.folder / "file.json").touch()
    for more in ((), ("--dry-run",)):
        done = cli.run("rank", "--dataset", "./no-data", "--results", place, *more)
        assert (done.code, done.out) == (1, "")
        assert message in done.err
        assert done.err.count("Error") == 1
