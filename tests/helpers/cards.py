"""Commands that write cards, an organization's checkpoints, and the contents of their repositories."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from hf_emms.publish.card_entries import checkpoint_entry, dataset_entry
from hf_emms.publish.cards import Card
from hf_emms.ranking import Ranking
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import commands
from tests.helpers.rankings import example
from tests.hub import Hub

BOM = b"\xef\xbb\xbf"
README = BOM + b"---\r\nlanguage: no # Norwegian\r\nlicense: mit\r\n---\r\n\r\n# Best\r\n\r\nNo line break at the end"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cli(hub: Hub, home: Path) -> Iterator[CommandLine]:
    """Commands in one process. At the end, check that none of their outputs or files contains a token."""
    with commands(hub, home) as running:
        yield running
    tokens = [token.encode() for token in hub.tokens]
    for done in running.done:
        assert not any(token in (done.out + done.err).encode() for token in tokens)
    for folder in (home, hub.store.folder):
        for file in folder.rglob("*"):
            assert not file.is_file() or not any(token in file.read_bytes() for token in tokens), file


@pytest.fixture
def org(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A new organization with three checkpoints. Links in this process lead to its Hub too."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    name = f"org-{next(_numbers)}"
    for checkpoint in ("best", "close", "worse"):
        hub.store.put_files(f"{name}/{checkpoint}", {"README.md": README, "config.json": b"{}"})
    yield name
    hub.faults.clear()


def ranking_of(org: str, **changes: object) -> Ranking:
    """Return the example with the checkpoints of an organization."""
    text = example(**changes).to_json()
    for checkpoint in ("best", "close", "worse", "broken"):
        text = text.replace(f'"org/{checkpoint}"', f'"{org}/{checkpoint}"')
    return Ranking.from_json(text)


def update_model_card(readme: bytes | None, named: list[tuple[Ranking, str]], repo_id: str) -> bytes:
    """Update a model's README with entries of rankings, each with the name of the checkpoint in it."""
    entries = tuple(checkpoint_entry(ranking, name) for ranking, name in named)
    return Card(repo_id, "model", entries).updated(readme)


def update_dataset_card(readme: bytes | None, rankings: list[Ranking], repo_id: str) -> bytes:
    entries = tuple(dataset_entry(ranking) for ranking in rankings)
    return Card(repo_id, "dataset", entries).updated(readme)


@pytest.fixture
def ranking(org: str, tmp_path: Path) -> Path:
    file = tmp_path / "ranking.json"
    file.write_text(ranking_of(org).to_json())
    return file


@pytest.fixture
def other_ranking(org: str, tmp_path: Path) -> Path:
    file = tmp_path / "other.json"
    ranking_of(org, dataset="food", dataset_id="org/food").save(file)
    return file


def readme(hub: Hub, id: str, revision: str = "main", kind: str = "model") -> bytes:
    return hub.store.read(id, "README.md", kind, revision)  # type: ignore[arg-type]


def commits(hub: Hub, id: str) -> int:
    return len(hub.store.repo(id).commits)


def pulls(hub: Hub, id: str) -> list[tuple[int, str]]:
    return [(one.num, one.status) for one in hub.store.repo(id).discussions]


def told(done: Done, *texts: str) -> None:
    """Check that a command failed with one error that contains these texts, without a traceback."""
    assert done.code == 1, done
    assert done.err.count("Error: ") == 1
    assert "Traceback" not in done.err
    for text in texts:
        assert text in done.err
