"""From a Hub over HTTP to a table: real images and questions, and checkpoints that truly differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_emms.presets import demo
from hf_emms.ranking import Ranking
from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import commands, home, hub
from tests.hub import Hub

__all__ = ["home", "hub"]

ENCODER = "emms-demo/encoder-minilm-static"

# Task, embedded dataset, trained checkpoints, random ones.
TASKS = (
    ("image-classification", "fashion-mnist", ("resnet-distilled",), ("regnet-random", "vit-random")),
    ("visual-question-answering", "easy-vqa", ("vilt-vqa", "twotower-distilled"), ("vilt-random", "clip-random")),
)


@pytest.fixture(scope="module")
def cli(hub: Hub, home: Path) -> Iterator[CommandLine]:
    with commands(hub, home, "60") as running:
        yield running


def upload(hub: Hub, name: str, kind: str) -> str:
    """Puts a part of the embedded demo on the Hub, under an id that no client has embedded."""
    folder = demo.folder_of(f"emms-demo/{name}")
    assert folder is not None
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    hub.store.put_files(f"zoo/{name}", files, kind)  # type: ignore[arg-type]
    return f"zoo/{name}"


@pytest.mark.parametrize(("task", "dataset", "trained", "random"), TASKS, ids=[task[0] for task in TASKS])
def test_trained_checkpoints_come_before_random_ones(
    hub: Hub,
    cli: CommandLine,
    tmp_path: Path,
    task: str,
    dataset: str,
    trained: tuple[str, ...],
    random: tuple[str, ...],
) -> None:
    source = upload(hub, dataset, "dataset")
    ids = [upload(hub, name, "model") for name in (*random, *trained)]
    named = [word for id in ids for word in ("-c", id)]
    file = tmp_path / "ranking.json"
    done = cli.run("rank", "--dataset", source, "--task", task, *named, "--max-samples", 300, "-e", ENCODER, "-o", file)
    assert done.code == 0, done.err
    ranking = Ranking.from_json(file.read_bytes())
    assert ranking.task == task
    assert {row.checkpoint for row in ranking.rows[: len(trained)]} == {f"zoo/{name}" for name in trained}
    assert all(row.revision == hub.store.repo(row.checkpoint).refs["refs/heads/main"] for row in ranking.rows)
