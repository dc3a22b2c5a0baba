"""The first command of a new user, with all defaults, on a copy of the real Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from hf_emms.presets import default_checkpoints, encoder_presets
from tests.helpers.command_line import CommandLine
from tests.hub import Hub
from tests.hub.fixtures import client_environment

CLIP = "openai/clip-vit-base-patch32"
(ENCODER,) = encoder_presets()["base"]


@pytest.fixture(scope="module")
def cli(demo_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    home = tmp_path_factory.mktemp("headline")
    running = CommandLine(client_environment(demo_hub, home), home)
    yield running
    running.close()


def test_rank_coco_captions_with_all_defaults(cli: CommandLine, demo_hub: Hub) -> None:
    planned = cli.run("rank", "--dataset", "coco_captions", "--dry-run")
    assert planned.code == 0, planned.err
    assert re.search(f"label encoder {ENCODER} at .*, of the default set 'base': [0-9.]+ .B to download", planned.err)
    assert "cannot be used" not in planned.out + planned.err
    assert "problem" not in planned.err
    done = cli.run("rank", "--dataset", "coco_captions", "--format", "json")
    assert done.code == 0, done.err
    ranking = json.loads(done.out)
    assert {row["checkpoint"] for row in ranking["rows"]} == set(default_checkpoints("image-to-text"))
    assert [row["error"] for row in ranking["rows"]] == [None] * len(ranking["rows"])
    assert [encoder["id"] for encoder in ranking["encoders"]] == [ENCODER]


@pytest.mark.slow
def test_pickled_weights_are_read_without_running_code(cli: CommandLine, demo_hub: Hub) -> None:
    """Of an encoder, and of a checkpoint that is not read at the pin of the defaults."""
    id = "nlpconnect/vit-gpt2-image-captioning"
    done = cli.run(
        *("rank", "--dataset", "coco_captions", "-c", id, "-e", "paper-small", "--max-samples", "60"),
        *("--format", "json"),
    )
    assert done.code == 0, done.err
    said = "pickled weights (pytorch_model.bin), read by torch's loader that runs no code"
    assert f"{CLIP}: {said}" in done.err
    (row,) = json.loads(done.out)["rows"]
    assert (row["error"], row["revision"]) == (None, demo_hub.store.repo(id).refs["refs/heads/main"])
    assert "pickled-weights" in [note["code"] for note in row["notes"] if isinstance(note, dict)]
