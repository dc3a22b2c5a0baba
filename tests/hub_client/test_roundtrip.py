"""The complete pipeline over HTTP: rank, propose a card, publish; no file contains the token."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_emms.presets import demo
from hf_emms.ranking import Ranking
from hf_emms.ranking.text import flat_records
from tests.helpers.command_line import CommandLine
from tests.hub import Hub
from tests.hub.fixtures import client_environment

README = b"\xef\xbb\xbf---\r\nlanguage: no # Norwegian\r\nlicense: mit\r\n---\r\n# A card\r\n"
CHECKPOINTS = ("zoo/resnet-distilled", "zoo/regnet-random")


def upload(hub: Hub, name: str, id: str, kind: str = "model", **files: bytes) -> None:
    folder = demo.folder_of(f"emms-demo/{name}")
    assert folder is not None
    content = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    hub.store.put_files(id, {**content, **files}, kind)  # type: ignore[arg-type]


@pytest.mark.slow
def test_rank_propose_publish(hub: Hub, tmp_path: Path) -> None:
    """Nothing that a client could have embedded has these names."""
    for id in CHECKPOINTS:
        upload(hub, id.partition("/")[2], id, **{"README.md": README})
    upload(hub, "encoder-minilm-static", "zoo/encoder")
    upload(hub, "fashion-mnist", "zoo/fashion", "dataset")
    token = hub.token(user="ada", orgs=["lab"])
    cli = CommandLine(client_environment(hub, tmp_path / "client"), tmp_path)

    def run(*arguments: str) -> str:
        done = cli.run(*arguments, token=token)
        assert done.code == 0, done.err
        return done.out

    named = [word for id in CHECKPOINTS for word in ("--checkpoint", id)]
    settings = ["--max-samples", "80", "--folds", "3", "--estimator", "emms", "--encoder", "zoo/encoder"]
    run("rank", "--dataset", "zoo/fashion", *settings, *named, "--output", "ranking.json")
    ranking = Ranking.from_json((tmp_path / "ranking.json").read_bytes())
    id = CHECKPOINTS[1]
    row = ranking.row(id)
    assert (row.license, row.library, row.downloads) == ("mit", "transformers", 0)
    assert row.revision == hub.store.repo(id).refs["refs/heads/main"]

    told = run("card", "--repo-id", id, "--create-pr", "--yes", "--ranking", "ranking.json")
    assert told.strip().endswith(f"/{id}/discussions/1")
    proposed = hub.store.read(id, "README.md", revision="refs/pr/1")
    assert proposed.startswith(README)
    assert f"**{row.rank}** of 2".encode() in proposed
    assert hub.store.read(id, "README.md") == README

    run("publish", "results", "--repo-id", "lab/emms-results", "--yes", "--ranking", "ranking.json")
    (path,) = (name for name in hub.store.paths("lab/emms-results", "dataset") if name.endswith(".json"))
    pulled = Ranking.from_json(hub.store.read("lab/emms-results", path, "dataset"))
    assert flat_records(pulled) == [{**record, "cached": "none"} for record in flat_records(ranking)]
    cli.close()
    assert not any(token in done.out + done.err for done in cli.done)
    assert not any(token.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
