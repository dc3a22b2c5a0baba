"""Files of the local cache are the Hub's: altered ones are downloaded again once, and then named."""

from __future__ import annotations

import json
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
OPENED = """
import os, sys
opened = []
def note(event, args):
    if event == "open" and "/blobs/" in str(args[0]):
        opened.append(str(args[0]))
sys.addaudithook(note)
for pattern in ("*.json", "*.safetensors"):
    fetch(resolve("org/tiny", "model"), [pattern])
print(json.dumps(sorted(len(os.path.basename(path)) for path in opened)))
"""


@pytest.fixture(autouse=True)
def tiny(hub: Hub) -> None:
    hub.store.put_files("org/tiny", FILES)


@pytest.mark.parametrize("settings", [{}, {"HF_HUB_DISABLE_SYMLINKS": "1"}], ids=["links", "no links"])
def test_a_file_that_was_altered_on_its_way_is_downloaded_again(
    hub: Hub, tmp_path: Path, settings: dict[str, str]
) -> None:
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


def test_a_file_that_is_altered_each_time_is_named_with_how_to_remove_it(hub: Hub, tmp_path: Path) -> None:
    hub.fail(TOKENIZER, FLIPPED, None)
    code = CONTENT.replace("NAME", "tokenizer.json")
    refused = run(code, hub, tmp_path)
    assert refused["message"].startswith("tokenizer.json of org/tiny is damaged: its git id begins with ")
    assert hub.count(TOKENIZER) == 2
    remove, _, command = refused["hint"].partition(", or replace it: ")
    assert Path(remove.removeprefix("remove ")).is_file()
    assert command.startswith("hf download org/tiny tokenizer.json --revision ")
    assert command.endswith(" --force-download")
    # It is not taken later either, and replaced as soon as it arrives whole.
    hub.faults.clear()
    assert run(code, hub, tmp_path).encode() == FILES["tokenizer.json"]


def test_a_file_that_is_gone_is_not_said_to_be_damaged(hub: Hub, tmp_path: Path) -> None:
    """Where the cache has no links, it is removed before it is downloaded again, which the Hub refuses now."""
    hub.fail(TOKENIZER, FLIPPED)
    hub.fail(TOKENIZER, 403)
    refused = run(CONTENT.replace("NAME", "tokenizer.json"), hub, tmp_path, HF_HUB_DISABLE_SYMLINKS="1")
    assert "the Hub refused model 'org/tiny'" in refused["message"]


def test_files_are_compared_once_without_a_request_more(hub: Hub, tmp_path: Path) -> None:
    assert {40, 64} <= set(run(OPENED, hub, tmp_path))
    assert hub.count("GET */tree/*") == 1
    assert run(OPENED, hub, tmp_path) == []
    asked = hub.count()
    assert run(OPENED, hub, tmp_path, HF_HUB_OFFLINE="1") == []
    assert hub.count() == asked


def test_shared_weights_are_compared_with_the_name_of_the_link_to_them(hub: Hub, tmp_path: Path) -> None:
    """As huggingface_hub stores what Xet serves: behind the blob's link, under a hash of another kind."""
    home = tmp_path / "client"
    run(OPENED, hub, home)
    (blob,) = [path for path in home.rglob("blobs/*") if len(path.name) == 64]
    shared = blob.parents[2] / "blobs" / ("0" * 64)
    shared.parent.mkdir()
    blob.rename(shared).touch()
    blob.symlink_to(shared)
    assert run(OPENED, hub, home) == [64]


def test_a_file_that_changed_on_disk_is_found_offline_too(hub: Hub, tmp_path: Path) -> None:
    code, home = CONTENT.replace("NAME", "tokenizer.json"), tmp_path / "client"
    run(code, hub, home)
    (blob,) = [path for path in home.rglob("blobs/*") if path.read_bytes() == FILES["tokenizer.json"]]
    blob.write_bytes(FILES["tokenizer.json"].replace(b"cat", b"dog"))
    offline = run(code, hub, home, HF_HUB_OFFLINE="1")
    assert "tokenizer.json of org/tiny is damaged" in offline["message"]
    assert run(code, hub, home).encode() == FILES["tokenizer.json"]


def test_json_that_cannot_be_read_is_downloaded_again_once_and_named(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/cut", {"layer/config.json": b'{"model_type": "be', "config.json": b"{}"})
    code = """
        from hf_emms.features.checkpoint_files import fetch_descriptions, read_json
        repo = resolve("org/cut", "model")
        print(json.dumps(report(lambda: read_json(repo, fetch_descriptions(repo, code=False) / "layer/config.json"))))
        """
    for offline in ("0", "1"):  # where it stays
        refused = run(code, hub, tmp_path, HF_HUB_DISABLE_SYMLINKS="1", HF_HUB_OFFLINE=offline)
        assert refused["message"].startswith("config.json of org/cut cannot be read: ")
        assert "replace it: hf download org/cut layer/config.json --revision " in refused["hint"]
        assert hub.count("GET /org/cut/resolve/*/layer/config.json") == 2
