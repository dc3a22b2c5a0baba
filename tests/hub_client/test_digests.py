"""Checksums of downloaded files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.helpers.hub_client import run
from tests.hub import Hub
from tests.hub.faults import FLIPPED

FILES = {
    "config.json": json.dumps({"model_type": "bert"}).encode(),
    "tokenizer.json": json.dumps({"model": {"vocab": {"cat": 0, "dog": 1}}}).encode(),
    "model.safetensors": b"\0" * 1000,
}
TOKENIZER, WEIGHTS = "GET */resolve/*/tokenizer.json", "GET /cdn/*/model.safetensors"
CONTENT = """
repo = resolve("org/tiny", "model")
def content(name):
    return (fetch(repo, [name]) / name).read_bytes().decode()
print(json.dumps(report(lambda: content("NAME"))))
"""


@pytest.fixture(autouse=True)
def tiny(hub: Hub) -> None:
    hub.store.put_files("org/tiny", FILES)


@pytest.mark.parametrize("settings", [{}, {"HF_HUB_DISABLE_SYMLINKS": "1"}], ids=["links", "no links"])
def test_damaged_file_is_reported_and_removed(hub: Hub, tmp_path: Path, settings: dict[str, str]) -> None:
    for pattern, name in ((TOKENIZER, "tokenizer.json"), (WEIGHTS, "model.safetensors")):
        hub.fail(pattern, FLIPPED)
        code = CONTENT.replace("NAME", name)
        refused = run(code, hub, tmp_path, **settings)
        assert refused["message"].startswith(f"the download of {name} of org/tiny is damaged")
        # A later run does not use the damaged file, and downloads it again.
        assert run(code, hub, tmp_path, **settings).encode() == FILES[name]
        assert hub.count(pattern) == 2


def test_cached_files_are_not_compared_again(hub: Hub, tmp_path: Path) -> None:
    code = """
        for pattern in ("*.json", "*.safetensors"):
            fetch(resolve("org/tiny", "model"), [pattern])
        print(0)
        """
    run(code, hub, tmp_path)
    for file in tmp_path.rglob("blobs/*"):
        os.utime(file, (0, 0))  # files of the last second count as new
    compared = hub.count("GET */tree/*")
    run(code, hub, tmp_path)
    run(code, hub, tmp_path, HF_HUB_OFFLINE="1")
    assert hub.count("GET */tree/*") == compared
