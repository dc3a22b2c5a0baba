"""Published values of Hub ids in a ranking, and the rankings of a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_emms.presets import demo
from hf_emms.publish.results import rankings_below
from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import cli, home
from tests.helpers.space import with_clear_order
from tests.hub import Hub, running_hub

__all__ = ["cli", "home"]

FASHION = ("--dataset", "demo_fashion", "--max-samples", "40", "-e", "emms-demo/encoder-minilm-static")
# Ids with values in a public table.
PUBLISHED = {"facebook/dinov2-small": 73.6, "facebook/dinov2-base": 76.6}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder = demo.folder_of(demo.DEMO_PREFIX + "regnet-random")
    assert folder is not None
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        for id in (*PUBLISHED, "lab/a"):
            running.store.put_files(id, {path.name: path.read_bytes() for path in folder.iterdir()})
        yield running


@pytest.mark.slow
def test_published_values_of_hub_ids_are_a_column_with_its_table(hub: Hub, cli: CommandLine) -> None:
    named = [word for id in (*PUBLISHED, "lab/a") for word in ("-c", id)]
    done = cli.run("rank", *FASHION, *named, "--format", "json")
    assert done.code == 0, done.err
    ranking = json.loads(done.out)
    assert {row["checkpoint"]: row["published"] for row in ranking["rows"]} == {**PUBLISHED, "lab/a": None}
    assert "MIEB" in ranking["published_table"]["title"]


def test_rankings_are_read_at_any_depth_with_their_problems(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("first", "second"):
        (tmp_path / "deep" / f"{name}.json").write_text(with_clear_order(name, "lab/a", "lab/b").to_json())
    (tmp_path / "folder.json").mkdir()
    rankings, problems = rankings_below(tmp_path)
    assert sorted(rankings) == ["deep/first", "deep/second"]
    assert problems == ["folder: Is a directory"]
