"""Files of the local cache are the Hub's: altered ones are downloaded again once, and then named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.hub_client import hub, run
from tests.hub import Hub
from tests.hub.fault_proxy import FLIPPED, FaultProxy, running_proxy

__all__ = ["hub"]

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
"""
OPENED = """
import os, sys
opened = []
def note(event, args):
    if event == "open" and "/blobs/" in str(args[0]):
        opened.append(str(args[0]))
sys.addaudithook(note)
"""


@pytest.fixture
def proxy(hub: Hub) -> Iterator[FaultProxy]:
    hub.store.put_files("org/tiny", FILES)
    with running_proxy(hub) as running:
        yield running


@pytest.mark.parametrize(("name", "pattern"), [("tokenizer.json", TOKENIZER), ("model.safetensors", WEIGHTS)])
@pytest.mark.parametrize("settings", [{}, {"HF_HUB_DISABLE_SYMLINKS": "1"}], ids=["links", "no links"])
def test_a_file_that_was_altered_on_its_way_is_downloaded_again(
    hub: Hub, proxy: FaultProxy, tmp_path: Path, name: str, pattern: str, settings: dict[str, str]
) -> None:
    proxy.fail(pattern, FLIPPED, 1)
    arrived = run(f"{CONTENT}print(json.dumps(content('{name}')))", hub, tmp_path, HF_ENDPOINT=proxy.url, **settings)
    assert arrived.encode() == FILES[name]
    assert proxy.count(pattern) == 2


def test_a_file_that_is_altered_each_time_is_named_with_how_to_remove_it(
    hub: Hub, proxy: FaultProxy, tmp_path: Path
) -> None:
    proxy.fail(TOKENIZER, FLIPPED)
    refused = run(
        f"{CONTENT}print(json.dumps(report(lambda: content('tokenizer.json'))))",
        hub,
        tmp_path,
        HF_ENDPOINT=proxy.url,
    )
    assert refused["message"].startswith("tokenizer.json of org/tiny is damaged: its git id begins with ")
    assert proxy.count(TOKENIZER) == 2
    remove, _, command = refused["hint"].partition(", or replace it: ")
    assert Path(remove.removeprefix("remove ")).is_file()
    assert command.startswith("hf download org/tiny tokenizer.json --revision ")
    assert command.endswith(" --force-download")
    # It is not taken later either, and replaced as soon as it arrives whole.
    assert (
        run(f"{CONTENT}print(json.dumps(content('tokenizer.json')))", hub, tmp_path).encode()
        == (FILES["tokenizer.json"])
    )


def test_files_are_compared_once_without_a_request_more(hub: Hub, proxy: FaultProxy, tmp_path: Path) -> None:
    code = f"""{OPENED}{CONTENT}
fetch(repo, ["*"])
print(json.dumps(sorted(len(os.path.basename(path)) for path in opened)))
"""
    first = run(code, hub, tmp_path, HF_ENDPOINT=proxy.url)
    assert {40, 64} <= set(first)
    assert proxy.count("GET */tree/*") == 1
    assert run(code, hub, tmp_path, HF_ENDPOINT=proxy.url) == []
    asked = len(proxy.lines)
    assert run(code, hub, tmp_path, HF_HUB_OFFLINE="1") == []
    assert len(proxy.lines) == asked


def test_a_file_that_changed_on_disk_is_found_offline_too(hub: Hub, proxy: FaultProxy, tmp_path: Path) -> None:
    run(f"{CONTENT}print(json.dumps(content('tokenizer.json')))", hub, tmp_path)
    (blob,) = [path for path in tmp_path.rglob("blobs/*") if path.read_bytes() == FILES["tokenizer.json"]]
    blob.write_bytes(FILES["tokenizer.json"].replace(b"cat", b"dog"))
    code = f"{CONTENT}print(json.dumps(report(lambda: content('tokenizer.json'))))"
    offline = run(code, hub, tmp_path, HF_HUB_OFFLINE="1")
    assert "tokenizer.json of org/tiny is damaged" in offline["message"]
    assert run(code, hub, tmp_path).encode() == FILES["tokenizer.json"]


def test_json_that_cannot_be_read_is_downloaded_again_once_and_named(
    hub: Hub, proxy: FaultProxy, tmp_path: Path
) -> None:
    hub.store.put_files("org/cut", {"config.json": b'{"model_type": "be'})
    code = """
        from hf_emms.features.checkpoint_files import fetch_descriptions, read_json
        repo = resolve("org/cut", "model")
        print(json.dumps(report(lambda: read_json(repo, fetch_descriptions(repo) / "config.json"))))
        """
    refused = run(code, hub, tmp_path, HF_ENDPOINT=proxy.url)
    assert refused["message"].startswith("config.json of org/cut cannot be read: ")
    assert "replace it: hf download org/cut config.json --revision " in refused["hint"]
    assert proxy.count("GET /org/cut/resolve/*/config.json") == 2
