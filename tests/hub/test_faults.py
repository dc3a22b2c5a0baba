"""Commands against a failing Hub print one line per error, keep good rows, and end."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.helpers.command_line import CommandLine, Done
from tests.helpers.rankings import example
from tests.helpers.reading import GOOD, files_of, parquet, rank, sentences
from tests.hub import Hub, running_hub
from tests.hub.faults import CUT, FLIPPED, HALF, LOGIN_PAGE, RESET, SILENT, Fault, body, status
from tests.hub.fixtures import client_environment

# Deadlines for responses that never arrive, and for responses that arrive at once or after a retry.
SOON, LATER = "0.5", "30"
SLOW = r"cannot be reached for .* \(ReadTimeout"
BROKEN = "(cannot be reached|closed connection)"
BUSY = r"the Hub refused .* \((429|503)"
OTHER = "is not from a Hub"
REFUSED = r"the Hub refused"

PAUSE = status(429, Retry_After="3600")


@dataclass
class Site:
    """The Hub, the commands and the folder of a test."""

    hub: Hub
    cli: CommandLine
    folder: Path
    seconds: str = LATER
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def run(self, *arguments: str | Path) -> Done:
        return self.cli.run(*arguments, HF_EMMS_DEADLINE=self.seconds)

    def new(self, kind: str, files: dict[str, bytes]) -> str:
        """Create a repository that is not cached."""
        id = f"ada/{kind}-{next(self.numbers)}"
        self.hub.store.put_files(id, files, kind)  # type: ignore[arg-type]
        return id


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("client")
    with running_hub(tmp_path_factory.mktemp("hub")) as hub:
        environment = client_environment(hub, home)
        cli = CommandLine(environment | {"HF_TOKEN": hub.token(user="ada")}, home, longest_pause=0.02)
        hub.paid.add("ada")  # any number of Spaces
        checkpoint = files_of()
        checkpoint["README.md"] = b"---\npipeline_tag: image-classification\nlibrary_name: transformers\n---\n"
        hub.store.put_files("bob/vit", checkpoint)
        yield Site(hub, cli, home)
        # Open connections must not prevent the process from ending.
        cli.close()


@pytest.fixture(autouse=True)
def faultless(site: Site) -> Iterator[None]:
    site.seconds = LATER
    yield
    site.hub.faults.clear()


def of_checkpoint(site: Site) -> Done:
    return rank(site.cli, GOOD, site.new("model", files_of()), HF_EMMS_DEADLINE=site.seconds)


def of_dataset(site: Site) -> Done:
    id = site.new("dataset", {"data/train-00000-of-00001.parquet": parquet(sentences(60))})
    return rank(site.cli, "emms-demo/bert-random", dataset=id, HF_EMMS_DEADLINE=site.seconds)


def ranking_file(site: Site) -> Path:
    file = site.folder / "ranking.json"
    file.write_text(example().to_json())
    return file


def search(site: Site) -> Done:
    return site.run("search", "--task", "image-classification")


def results(site: Site) -> Done:
    id = f"ada/results-{next(site.numbers)}"
    return site.run("publish", "results", "--yes", "--repo-id", id, "--ranking", ranking_file(site))


def card(site: Site) -> Done:
    best, id = example().rows[0].checkpoint, site.new("model", {"README.md": b"# Best\n"})
    named = ["--repo-id", id, "--checkpoint", best, "--push", "--yes"]
    return site.run("card", "--ranking", ranking_file(site), *named)


def space(site: Site) -> Done:
    shown = site.new("dataset", {"README.md": b"# Results\n"})
    named = ["--repo-id", f"ada/board-{next(site.numbers)}", "--results", shown]
    return site.run("publish", "space", "--yes", *named)


ACCOUNT, LIST, COMMIT = "GET /api/whoami-v2", "GET /api/models", "POST */commit/*"
REVISION, WEIGHTS = "GET /api/models/ada/model-*[0-9]", "GET /cdn/*.safetensors"
DATASET, ROWS = "GET /api/datasets/ada/*/revision/*", "GET /cdn/*.parquet"

# Each kind of fault, and each command.
LASTING = [
    (of_dataset, DATASET, "reset", RESET, BROKEN),
    (of_dataset, ROWS, "cut", CUT, BROKEN),
    (results, "POST /api/repos/create", "cut", CUT, BROKEN),
    (of_checkpoint, REVISION, "429", PAUSE, BUSY),
    (space, COMMIT, "503", status(503), BUSY),
    (space, "POST */variables", "501", status(501), REFUSED),
    (results, ACCOUNT, "login page", body(LOGIN_PAGE), OTHER),
    (search, LIST, "half of the JSON", body(b'{"id": "org/'), OTHER),
    (of_checkpoint, REVISION, "null", body(b"null"), OTHER),
    (of_checkpoint, WEIGHTS, "half", HALF, "is incomplete"),
    (of_checkpoint, WEIGHTS, "flipped", FLIPPED, "is damaged: "),
    (card, COMMIT, "silent", SILENT, SLOW),
]
PASSING = [
    (of_checkpoint, REVISION, "503", status(503)),
    (card, COMMIT, "reset", RESET),
    (of_dataset, ROWS, "cut", CUT),
]


def named(cases: list[tuple]) -> list:
    return [pytest.param(run, line, *rest, id=f"{run.__name__}-{line}-{name}") for run, line, name, *rest in cases]


def errors(done: Done) -> list[str]:
    """Return the errors of a command with their hints, or the errors of its failed rows if others are scored."""
    assert "Traceback" not in done.err, done.err
    if done.code == 0:
        rows = json.loads(done.out)["rows"]
        assert any(row["error"] is None for row in rows)
        return [row["error"] for row in rows if row["error"]]
    assert done.code == 1, done
    assert done.out == ""
    return re.findall(r"^Error: .*\n.*", done.err, re.MULTILINE)


@pytest.mark.parametrize(("run", "pattern", "fault", "words"), named(LASTING))
def test_a_lasting_fault_is_one_error(
    site: Site, run: Callable[[Site], Done], pattern: str, fault: Fault, words: str
) -> None:
    site.hub.fail(pattern, fault, None)
    site.seconds = SOON if words in (SLOW, BROKEN, BUSY) else LATER
    before = site.hub.count(pattern)
    done = run(site)
    assert site.hub.count(pattern) > before
    (error,) = errors(done)
    assert re.search(words, error), error
    assert re.search(" → .", error), error


@pytest.mark.parametrize(("run", "pattern", "fault"), named(PASSING))
def test_a_temporary_fault_is_retried(site: Site, run: Callable[[Site], Done], pattern: str, fault: Fault) -> None:
    site.hub.fail(pattern, fault)
    before = site.hub.count(pattern)
    done = run(site)
    assert site.hub.count(pattern) > before
    assert done.code == 0, done
    assert '"error": "' not in done.out


@pytest.mark.parametrize("run", [results, card])
def test_a_commit_with_a_lost_response_is_made_once(site: Site, run: Callable[[Site], Done]) -> None:
    def commits() -> int:
        before = sum(len(repo.commits) for repo in site.hub.store.repos.values())
        assert run(site).code == 0
        return sum(len(repo.commits) for repo in site.hub.store.repos.values()) - before

    made = commits()
    site.hub.fail(COMMIT, CUT)
    assert commits() == made


def test_permissions_are_checked_before_a_space_is_created(site: Site) -> None:
    shown = site.new("dataset", {"README.md": b"# Results\n"})
    before = site.hub.count("POST *")
    done = site.run("publish", "space", "--yes", "--results", shown, "--repo-id", "bob/board")
    assert done.code == 1
    assert "belongs to 'bob'" in done.err
    assert site.hub.count("POST *") == before
