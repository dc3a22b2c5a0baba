"""Checksums of downloaded files."""

from __future__ import annotations

import json
import time
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
def test_damaged_file_is_downloaded_again(hub: Hub, tmp_path: Path, settings: dict[str, str]) -> None:
    hub.fail(TOKENIZER, FLIPPED)
    hub.fail(WEIGHTS, FLIPPED)
    code = """
        folder = fetch(resolve("org/tiny", "model"), ["*"])
        print(json.dumps({path.name: path.read_text() for path in folder.iterdir()}))
        """
    arrived = run(code, hub, tmp_path, **settings)
    assert {name: arrived[name].encode() for name in FILES} == FILES
    assert run(code, hub, tmp_path, HF_HUB_OFFLINE="1", **settings) == arrived
    assert [hub.count(pattern) for pattern in (TOKENIZER, WEIGHTS)] == [2, 2]


def test_repeatedly_damaged_file_is_reported_and_removed(hub: Hub, tmp_path: Path) -> None:
    hub.fail(TOKENIZER, FLIPPED, None)
    code = CONTENT.replace("NAME", "tokenizer.json")
    refused = run(code, hub, tmp_path)
    assert refused["message"].startswith("tokenizer.json of org/tiny is damaged")
    assert hub.count(TOKENIZER) == 2
    # A later run does not use the damaged file, and downloads it again.
    hub.faults.clear()
    assert run(code, hub, tmp_path).encode() == FILES["tokenizer.json"]


def test_refused_second_download_is_reported_as_refusal(hub: Hub, tmp_path: Path) -> None:
    """The damaged file is removed first, then the Hub refuses the second download."""
    hub.fail(TOKENIZER, FLIPPED)
    hub.fail(TOKENIZER, 403)
    refused = run(CONTENT.replace("NAME", "tokenizer.json"), hub, tmp_path, HF_HUB_DISABLE_SYMLINKS="1")
    assert "the Hub refused model 'org/tiny'" in refused["message"]


def test_cached_files_are_not_compared_again(hub: Hub, tmp_path: Path) -> None:
    code = """
        for pattern in ("*.json", "*.safetensors"):
            fetch(resolve("org/tiny", "model"), [pattern])
        print(0)
        """
    run(code, hub, tmp_path)
    time.sleep(1.1)
    compared = hub.count("GET */tree/*")
    run(code, hub, tmp_path)
    run(code, hub, tmp_path, HF_HUB_OFFLINE="1")
    assert hub.count("GET */tree/*") == compared
