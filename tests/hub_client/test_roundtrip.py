"""The whole pipeline over real HTTP: rank, propose a card, update it, publish, pull; each write in its own process."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hf_emms.presets import demo
from hf_emms.ranking import Ranking
from tests.helpers.cli import program
from tests.helpers.command_line import CommandLine
from tests.hub import Hub
from tests.hub.fixtures import client_environment

README = b"\xef\xbb\xbf---\r\nlanguage: no # Norwegian\r\nlicense: mit\r\n---\r\n# A card\r\n"
CHECKPOINTS = ("zoo/resnet-distilled", "zoo/regnet-random")


def upload(hub: Hub, name: str, id: str, kind: str = "model", **files: bytes) -> None:
    folder = demo.folder_of(name)
    assert folder is not None
    content = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    hub.store.put_files(id, {**content, **files}, kind)  # type: ignore[arg-type]


@pytest.fixture
def zoo(hub: Hub) -> Hub:
    """Checkpoints, a label encoder and a dataset, and nothing that a client could have embedded under these names."""
    for id in CHECKPOINTS:
        upload(hub, f"emms-demo/{id.partition('/')[2]}", id, **{"README.md": README})
    upload(hub, "emms-demo/encoder-minilm-static", "zoo/encoder")
    upload(hub, "emms-demo/fashion-mnist", "zoo/fashion", "dataset")
    return hub


def test_rank_propose_update_publish_pull(zoo: Hub, tmp_path: Path) -> None:
    token = zoo.token(user="ada", orgs=["lab"])
    environment = client_environment(zoo, tmp_path / "client", OMP_NUM_THREADS="1")
    outputs = []

    def run(*arguments: str, **extra: str) -> str:
        done = subprocess.run(
            program(*arguments), env={**environment, **extra}, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        outputs.append(done.stdout + done.stderr)
        return done.stdout

    ranking = CommandLine(environment, tmp_path)

    def rank(seed: int, file: str) -> Ranking:
        names = [word for id in CHECKPOINTS for word in ("--checkpoint", id)]
        words = ["--max-samples", "80", "--folds", "3", "--estimator", "emms", "--encoder", "zoo/encoder"]
        done = ranking.run("rank", "--dataset", "zoo/fashion", *words, *names, "--seed", str(seed), "--output", file)
        assert done.code == 0, done.err
        outputs.append(done.out + done.err)
        return Ranking.from_json((tmp_path / file).read_bytes())

    first, second = rank(0, "first.json"), rank(1, "second.json")
    ranking.close()
    id = CHECKPOINTS[1]
    card = ("card", "--repo-id", id, "--create-pr")
    assert run(*card, "--ranking", "first.json", HF_TOKEN=token).strip().endswith(f"/{id}/discussions/1")
    proposed = zoo.store.read(id, "README.md", revision="refs/pr/1")
    assert proposed.startswith(README)
    assert f"**{first.row(id).rank}** of 2".encode() in proposed
    assert (first.row(id).license, first.row(id).library, first.row(id).downloads) == ("mit", "transformers", 0)
    assert first.row(id).revision == zoo.store.repo(id).refs["refs/heads/main"]

    run(*card, "--ranking", "second.json", HF_TOKEN=token)
    updated = zoo.store.read(id, "README.md", revision="refs/pr/1")
    assert updated.startswith(README)
    assert updated.count(b" of 2 |") == 1
    assert b"seed 1, 3 folds" in updated
    assert zoo.store.read(id, "README.md") == README
    assert [(one.num, one.status) for one in zoo.store.repo(id).discussions] == [(1, "open")]

    publish = ("publish", "results", "--repo-id", "lab/emms-results")
    run(*publish, "--ranking", "first.json", "--ranking", "second.json", HF_TOKEN=token)
    pull = ("pull", "results", "--repo-id", "lab/emms-results", "--output", "pulled", "--format", "tsv")
    lines = run(*pull).splitlines()[1:]
    pulled = [Ranking.from_json((tmp_path / line.split("\t")[0]).read_bytes()) for line in lines]
    assert {ranking.settings["seed"]: ranking.records() for ranking in pulled} == {
        ranking.settings["seed"]: [{**record, "cached": "none"} for record in ranking.records()]
        for ranking in (first, second)
    }

    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert not any(token in text for text in outputs)
    assert not any(token.encode() in content for content in written)
