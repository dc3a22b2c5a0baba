"""What searches, --dry-run and rankings have learned about checkpoints is shown in the next list."""

from __future__ import annotations

import json
from pathlib import Path

from hf_emms.cache import Cache
from hf_emms.hub.model_info import KnownModel, recall, remember
from tests.helpers.command_line import CommandLine
from tests.hub import Hub
from tests.hub.fixtures import client_environment


def test_what_is_learned_is_added_to_what_is_known(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert recall("org/name", cache) == KnownModel()
    remember("org/name", KnownModel(parameters=5), cache)
    remember("org/name@refs/pr/1", KnownModel(license="mit"), cache)
    remember("org/name", KnownModel(bytes=20), cache)
    assert recall("org/name@main", cache) == KnownModel(5, 20, "mit")
    assert recall("org/other", cache) == KnownModel()


def test_a_list_shows_what_a_dry_run_and_a_ranking_have_learned(demo_hub: Hub, tmp_path: Path) -> None:
    cli = CommandLine(client_environment(demo_hub, tmp_path), tmp_path)

    def listed() -> dict[str, object]:
        rows = json.loads(cli.run("presets", "--format", "json").out)
        return next(row for row in rows if row["what"] == "microsoft/resnet-50" and row["name"] == "paper-cnn")

    assert (listed()["parameters"], listed()["bytes"]) == (None, None)
    arguments = ("rank", "--dataset", "demo_fashion", "-c", "microsoft/resnet-50", "--max-samples", "60")
    cli.run(*arguments, "--dry-run")
    assert isinstance(listed()["bytes"], int)
    done = cli.run(*arguments, "--format", "json")
    (row,) = json.loads(done.out)["rows"]
    assert listed()["parameters"] == row["parameters"]
    cli.close()
