"""Resolve and fetch: folders, the embedded demo, and a Hub over HTTP."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from hf_emms.hub import check_unchanged, content_revision, fetch, resolve
from hf_emms.presets import demo
from tests.data.test_hostile_data import without_rights
from tests.helpers.counting import counted_calls
from tests.helpers.errors import raises_code
from tests.helpers.hub_client import run
from tests.hub import Hub

MODEL = {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"\0" * 64, "pytorch_model.bin": b"pickle"}


def test_revisions_are_resolved_and_fetched_at_their_commit(hub: Hub, tmp_path: Path) -> None:
    main = hub.store.put_files("org/tiny", MODEL)
    pull = hub.store.put_files("org/tiny", {**MODEL, "config.json": b'{"from": "pr"}'}, ref="refs/pr/1")
    tag = hub.store.put_files("org/tiny", {**MODEL, "deep/added": b"1"}, ref="v1")
    shas, id, files, folder, listed = run(
        f"""
        from hf_emms.hub import listing
        ids = ["org/tiny", "org/tiny@main", "org/tiny@refs/pr/1", "org/tiny@v1", "org/tiny@{pull}"]
        shas = [resolve(id, "model").revision for id in ids]
        proposed = resolve(ids[2], "model")
        folder = fetch(proposed, ["*.json", "*.safetensors"])
        files = {{path.name: path.read_text() for path in folder.iterdir()}}
        tag = resolve("org/tiny", "model", revision="v1")
        shas.append(tag.revision)
        print(json.dumps([shas, proposed.id, files, str(folder), sorted(set(listing(tag)) - {{".gitattributes"}})]))
        """,
        hub,
        tmp_path,
    )
    assert shas == [main, main, pull, tag, pull, tag]
    assert (id, listed) == ("org/tiny", ["config.json", "deep/added", "model.safetensors", "pytorch_model.bin"])
    assert files == {"config.json": '{"from": "pr"}', "model.safetensors": "\0" * 64}
    assert folder.endswith(pull)
    assert not hub.count("* /org/tiny/resolve/*/pytorch_model.bin")


def test_endpoint_can_be_set_after_import(hub: Hub, tmp_path: Path) -> None:
    sha = hub.store.put_files("org/tiny", MODEL)
    found = run(
        f"""
        import os, huggingface_hub.constants
        os.environ["HF_ENDPOINT"] = "{hub.url}/"
        repo = resolve("org/tiny", "model")
        exists = (fetch(repo, ["config.json"]) / "config.json").exists()
        os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
        print(json.dumps([repo.revision, exists, report(lambda: resolve("org/other", "model").revision)]))
        """,
        hub,
        tmp_path,
        HF_ENDPOINT="",
    )
    assert found[:2] == [sha, True]
    assert found[2]["message"].startswith("http://127.0.0.1:9 cannot be reached for model 'org/other'")
    assert "HF_ENDPOINT" in found[2]["hint"]


def test_cached_repositories_resolve_offline(hub: Hub, tmp_path: Path) -> None:
    sha = hub.store.put_files("org/tiny", MODEL, ref="refs/pr/1")
    seen = """
        repo = resolve("org/tiny@refs/pr/1", "model")
        fetch(repo, ["config.json"])
        print(json.dumps(repo.revision))
        """
    assert run(seen, hub, tmp_path) == sha
    asked = hub.count()
    assert run(seen, hub, tmp_path, HF_HUB_OFFLINE="1") == sha
    refused = run(
        """
        from hf_emms.hub import who_am_i
        print(json.dumps([
            report(lambda: str(fetch(resolve("org/tiny@refs/pr/1", "model"), ["*.safetensors"]))),
            report(lambda: resolve("org/other", "model").revision),
            report(lambda: resolve("org/tiny", "dataset").revision),
            report(who_am_i),
        ]))
        """,
        hub,
        tmp_path,
        HF_HUB_OFFLINE="1",
        HF_TOKEN=hub.token(),
    )
    uncached = "is not completely in the local cache, and HF_HUB_OFFLINE is set"
    assert [error["message"] for error in refused] == [
        f"model 'org/tiny' at '{sha}' {uncached}",
        f"model 'org/other' {uncached}",
        f"dataset 'org/tiny' {uncached}",
        "HF_HUB_OFFLINE is set: nothing can be written to the Hub",
    ]
    assert all(error["hint"].startswith("unset HF_HUB_OFFLINE") for error in refused)
    assert hub.count() == asked


def test_refusals_have_a_useful_hint(hub: Hub, tmp_path: Path) -> None:
    sha, gated = hub.store.put_files("org/tiny", MODEL), hub.store.put_files("org/gated", MODEL, gated="manual")
    refused = run(
        """
        print(json.dumps([
            report(lambda: resolve("org/absent", "dataset").revision),
            report(lambda: resolve("org/tiny@refs/pr/77", "model").revision),
            report(lambda: str(fetch(resolve("org/gated", "model"), ["*.json"]))),
            report(lambda: str(fetch(resolve("org/tiny", "model"), ["*.onnx"]))),
            report(lambda: resolve("org/ti ny", "model").revision),
        ]))
        """,
        hub,
        tmp_path,
        HF_TOKEN=hub.token(user="ada", role="read"),
    )
    assert [error["message"] for error in refused] == [
        "there is no dataset 'org/absent' on the Hub, or it is private",
        "there is no model 'org/tiny' at 'refs/pr/77'",
        f"model 'org/gated' at '{gated}' is gated: its owner restricts access",
        "model 'org/tiny' has no file that matches *.onnx",
        "'org/ti ny' is neither a folder nor a Hub id",
    ]
    assert [error["hint"] for error in refused] == [
        f"check the name at {hub.url}/datasets/org/absent; for a private one log in: hf auth login",
        f"branches and tags are listed at {hub.url}/org/tiny/tree/main; a pull request is refs/pr/N",
        f"accept its terms at {hub.url}/org/gated, then log in: hf auth login",
        f"look at its files: {hub.url}/org/tiny/tree/{sha}",
        "write ORG/NAME[@REVISION] or ./FOLDER",
    ]


def test_revision_of_a_folder_is_its_content_hash(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    before = resolve(str(folder), "model")
    assert re.fullmatch(r"local-[0-9a-f]{16}", before.revision)
    assert before.folder == folder
    assert fetch(before, ["*.json"]) == folder
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("x")
    assert resolve(str(folder), "model").revision == before.revision
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "config.json").write_text("{}")
    assert content_revision(copy) == before.revision
    (folder / "config.json").rename(folder / "other.json")
    renamed = content_revision(folder)
    (folder / "other.json").write_text("[]")
    written = content_revision(folder)
    (folder / os.fsdecode(b"\xe9")).touch()  # no text
    assert len({before.revision, renamed, written, content_revision(folder)}) == 4


def test_folder_is_hashed_again_only_after_changes(tmp_path: Path) -> None:
    folder = demo.folder_of("emms-demo/vit-random")
    assert folder is not None
    revision = content_revision(folder)
    with counted_calls(Path.open, lambda frame: "opened") as opened:
        assert content_revision(folder) == revision
    assert not opened
    file, seen = tmp_path / "config.json", set()
    for text in ("[]", "[1]", "[1, 2]"):
        file.write_text(text)
        os.utime(file, (0, 0))  # some tools set back when a file was changed
        seen.add(content_revision(tmp_path))
    assert len(seen) == 3


def test_changed_or_missing_file_is_detected(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_text("a,b\n")
    repo = resolve(str(file), "dataset")
    check_unchanged(repo)
    for change in (lambda: file.write_text("a,c\n"), file.unlink):
        change()
        with raises_code("changed"):
            check_unchanged(repo)


def test_existing_folder_takes_precedence_over_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    (tmp_path / "org" / "name" / "config.json").touch()
    monkeypatch.chdir(tmp_path)
    assert resolve("org/name", "model").folder == tmp_path / "org" / "name"


@pytest.mark.parametrize("typed", ["./absent", "/absent/model", "~/absent", "a/b/c", "absent.jsonl"])
def test_a_path_without_anything_there_is_no_hub_id(typed: str) -> None:
    with raises_code("unknown-folder", f"'{typed}'", "ORG/NAME"):
        resolve(typed, "model")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("n" * 300, "cannot-read"),
        ("~nosuchuser/model", "cannot-read"),
        ("a\0b", "invalid-id"),
        ("empty", "no-data-files"),
        ("emms-demo/vit-random@v1", "no-revisions"),
        ("closed", "cannot-read"),
    ],
)
def test_what_cannot_be_read_as_a_checkpoint_is_named(monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    with without_rights() as folder:
        (folder / "empty").mkdir()
        (folder / "closed").mkdir()
        (folder / "closed" / "config.json").touch()
        (folder / "closed" / "config.json").chmod(0)
        monkeypatch.chdir(folder)
        with raises_code(code) as caught:
            resolve(name, "model")
        monkeypatch.undo()
    assert caught.value.hint
