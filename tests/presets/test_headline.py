"""The first command that a newcomer types, with all defaults: on a Hub that holds what the real one holds."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hf_emms.presets import default_checkpoints, demo, encoder_presets
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


def test_an_encoder_with_pickled_weights_alone_is_read_without_running_code(cli: CommandLine, demo_hub: Hub) -> None:
    paths = demo_hub.store.paths(CLIP)
    assert "pytorch_model.bin" in paths
    assert "model.safetensors" not in paths
    few = ("-c", "emms-demo/vit-random", "--max-samples", "60")
    done = cli.run("rank", "--dataset", "coco_captions", "-e", "paper-small", *few)
    assert done.code == 0, done.err
    assert f"{CLIP}: pickled weights (pytorch_model.bin), read by torch's loader that runs no code" in done.err


def test_a_checkpoint_that_is_pickled_on_main_is_read_from_there(cli: CommandLine, demo_hub: Hub) -> None:
    id = "microsoft/git-base-coco"
    arguments = ("rank", "--dataset", "coco_captions", "-c", id, "-e", "demo", "--max-samples", "200")
    planned = cli.run(*arguments, "--dry-run")
    assert planned.code == 0, planned.err
    done = cli.run(*arguments, "--format", "json")
    assert done.code == 0, done.err
    (row,) = json.loads(done.out)["rows"]
    assert row["error"] is None
    assert row["revision"] == demo_hub.store.repo(id).refs["refs/heads/main"]
    assert any("pickled weights (pytorch_model.bin), read by torch's loader" in note for note in row["notes"])


class Harmful:
    """An object whose unpickling runs a command."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.ran}",)


def test_a_malicious_pickle_is_a_failed_row_and_runs_nothing(hub: Hub, tmp_path: Path) -> None:
    vit = demo.folder_of("emms-demo/vit-random")
    assert vit is not None
    content = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "more": Harmful(tmp_path / "ran")}, content)
    files = {path.name: path.read_bytes() for path in vit.iterdir() if path.name != "model.safetensors"}
    hub.store.put_files("mallory/vit", {**files, "pytorch_model.bin": content.getvalue()})
    cli = CommandLine(client_environment(hub, tmp_path), tmp_path)
    arguments = ("--dataset", "demo_fashion", "-c", "mallory/vit", "-c", "emms-demo/vit-random", "--max-samples", "60")
    done = cli.run("rank", *arguments, "--format", "json")
    cli.close()
    assert done.code == 0, done.err
    errors = {row["checkpoint"]: row["error"] for row in json.loads(done.out)["rows"]}
    assert errors["emms-demo/vit-random"] is None
    assert "more than tensors (posix.system)" in errors["mallory/vit"]
    assert not (tmp_path / "ran").exists()
