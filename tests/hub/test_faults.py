"""Commands behind a proxy that spoils answers: one line says what happened, good rows are kept, the process ends."""

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
from tests.helpers.reading import ENCODER, GOOD, files_of, parquet, sentences
from tests.hub import Hub, running_hub
from tests.hub.fault_proxy import (
    CUT,
    DRIP,
    EXPIRED,
    FLIPPED,
    HALF,
    LOGIN_PAGE,
    RESET,
    SILENT,
    Fault,
    FaultProxy,
    body,
    running_proxy,
    status,
    without,
)
from tests.hub.fixtures import client_environment

# Deadlines: for what never comes, and for what comes at once or is asked for once more.
SOON, LATER = "1", "3"
SLOW = r"nothing arrived (for [\d.]+ s|in time)"
BROKEN = rf"the connection broke|cannot be reached|closed connection|{SLOW}"
BUSY = r"could not serve|asks for a pause|nothing arrived"
WAIT = r"asks to wait 3,600 s"
OTHER = r"is not the answer of a Hub"
REFUSED = r"the Hub refused"

# Fault → what it is, and the words that say so.
API: dict[str, tuple[Fault, str]] = {
    "silent": (SILENT, SLOW),
    "drip": (DRIP, SLOW),
    "reset": (RESET, BROKEN),
    "cut": (CUT, BROKEN),
    "429": (status(429, Retry_After="3600"), WAIT),
    "ratelimit": (status(429, ratelimit='"api";r=0;t=3600'), WAIT),
    "503": (status(503), BUSY),
    "500": (status(500), BUSY),
    "501": (status(501), "does not do what"),
    "login page": (body(LOGIN_PAGE), OTHER),
    "half of the JSON": (body(b'{"id": "org/'), OTHER),
    "a list": (body(b'["a", "b"]'), OTHER),
    "null": (body(b"null"), OTHER),
}
# Tried on every request; the others on one request of those commands.
EVERYWHERE = ("silent", "503", "429", "login page", "null")
THOROUGHLY = ("rank, checkpoint", "search", "publish space")
FILE: dict[str, tuple[Fault, str]] = {
    "silent": (SILENT, SLOW),
    "reset": (RESET, BROKEN),
    "429": (status(429, Retry_After="3600"), WAIT),
    "503": (status(503), BUSY),
    "expired": (EXPIRED, REFUSED),
    "half": (HALF, "arrived incomplete"),
}


@dataclass
class Site:
    """What a test works with.

    Attributes:
        hub: the Hub.
        proxy: in front of it.
        cli: commands that know the proxy only.
        folder: for files.
        seconds: of the deadline.
    """

    hub: Hub
    proxy: FaultProxy
    cli: CommandLine
    folder: Path
    seconds: str = LATER
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def run(self, *arguments: str | Path) -> Done:
        """Runs a command."""
        return self.cli.run(*arguments, HF_EMMS_DEADLINE=self.seconds)

    def new(self, kind: str, files: dict[str, bytes]) -> str:
        """A repository that nothing has cached."""
        id = f"ada/{kind}-{next(self.numbers)}"
        self.hub.store.put_files(id, files, kind)  # type: ignore[arg-type]
        return id


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("client")
    with running_hub(tmp_path_factory.mktemp("hub")) as hub, running_proxy(hub) as proxy:
        environment = client_environment(hub, home, HF_ENDPOINT=proxy.url)
        cli = CommandLine(environment | {"HF_TOKEN": hub.token(user="ada")}, home)
        found = Site(hub, proxy, cli, home)
        hub.paid.add("ada")  # any number of Spaces
        checkpoint = files_of()
        checkpoint["README.md"] = b"---\npipeline_tag: image-classification\nlibrary_name: transformers\n---\n"
        hub.store.put_files("bob/vit", checkpoint)
        yield found
        # Silent connections are still open: nothing that waits for one keeps the process from ending.
        cli.close()


@pytest.fixture(autouse=True)
def faultless(site: Site) -> Iterator[None]:
    site.seconds = LATER
    yield
    site.proxy.clear()


def rank(site: Site, dataset: str, *checkpoints: str) -> Done:
    named = [part for id in checkpoints for part in ("-c", id)]
    arguments = ["--dataset", dataset, "--max-samples", "40", "-e", ENCODER, "--estimator", "emms", "--format", "json"]
    return site.run("rank", *arguments, *named)


def of_checkpoint(site: Site, like: str = "vit-random") -> Done:
    return rank(site, "demo_captions", GOOD, site.new("model", files_of(like)))


def of_dataset(site: Site) -> Done:
    id = site.new("dataset", {"data/train-00000-of-00001.parquet": parquet(sentences(60))})
    return rank(site, id, "emms-demo/bert-random")


def ranking_file(site: Site) -> Path:
    file = site.folder / "ranking.json"
    file.write_text(example().to_json())
    return file


def search(site: Site) -> Done:
    return site.run("search", "--task", "image-classification")


def results(site: Site) -> Done:
    id = f"ada/results-{next(site.numbers)}"
    return site.run("publish", "results", "--repo-id", id, "--ranking", ranking_file(site))


def card(site: Site) -> Done:
    best, id = example().rows[0].checkpoint, site.new("model", {"README.md": b"# Best\n"})
    named = ["--repo-id", id, "--checkpoint", best, "--push"]
    return site.run("card", "--ranking", ranking_file(site), *named)


def space(site: Site) -> Done:
    shown = site.new("dataset", {"README.md": b"# Results\n"})
    named = ["--repo-id", f"ada/board-{next(site.numbers)}", "--results", shown, "--no-wait"]
    return site.run("publish", "space", *named)


def metric(site: Site) -> Done:
    return site.run("publish", "metric", "--repo-id", "ada/emms")


def pull(site: Site) -> Done:
    content = {"rankings/x/beans.json": example().to_json().encode()}
    return site.run("pull", "results", "--repo-id", site.new("dataset", content), "-o", site.folder / "pulled")


# Command → what runs it, and requests that it makes: of the API, and of files.
COMMANDS: dict[str, tuple[Callable[[Site], Done], dict[str, str], dict[str, str]]] = {
    "rank, checkpoint": (
        of_checkpoint,
        {"revision": "GET /api/models/ada/model-*[0-9]", "tree": "GET /api/models/ada/*/tree/*"},
        {"weights": "GET /cdn/*.safetensors"},
    ),
    "rank, dataset": (
        of_dataset,
        {"revision": "GET /api/datasets/ada/*/revision/*", "tree": "GET /api/datasets/ada/*/tree/*"},
        {"rows": "GET /cdn/*.parquet"},
    ),
    "search": (search, {"list": "GET /api/models"}, {}),
    "publish results": (
        results,
        {"account": "GET /api/whoami-v2", "create": "POST /api/repos/create", "commit": "POST */commit/*"},
        {},
    ),
    "card": (card, {"revision": "GET /api/models/ada/*/revision/*", "commit": "POST */commit/*"}, {}),
    "publish space": (
        space,
        {"account": "GET /api/whoami-v2", "variable": "POST */variables", "commit": "POST */commit/*"},
        {},
    ),
    "publish metric": (metric, {"upload modes": "POST */preupload/*"}, {}),
    "pull": (pull, {"tree": "GET /api/datasets/ada/*/tree/*"}, {"ranking": "GET *beans.json"}),
}
CASES = [
    pytest.param(run, pattern, fault, words, id=f"{command}-{request}-{name}")
    for command, (run, of_api, of_files) in COMMANDS.items()
    for requests, faults in ((of_api, API), (of_files, FILE))
    for place, (request, pattern) in enumerate(requests.items(), 1)
    for name, (fault, words) in faults.items()
    if (command in THOROUGHLY and place == len(requests)) or name in EVERYWHERE
]


def errors(done: Done) -> list[str]:
    """What went wrong: the error of a command, or those of its failed rows beside one that is scored."""
    assert "Traceback" not in done.err, done.err
    if done.code == 0:
        rows = json.loads(done.out)["rows"]
        assert any(row["error"] is None for row in rows)
        return [row["error"] for row in rows if row["error"]]
    assert done.code == 1, done
    assert done.out == ""
    return [line for line in done.err.splitlines() if line.startswith("Error: ")]


@pytest.mark.parametrize(("run", "pattern", "fault", "words"), CASES)
def test_a_fault_that_stays_is_one_error(
    site: Site, run: Callable[[Site], Done], pattern: str, fault: Fault, words: str
) -> None:
    site.proxy.fail(pattern, fault)
    site.seconds = SOON if SLOW in words or words == BUSY else LATER
    before = site.proxy.count(pattern)
    done = run(site)
    assert site.proxy.count(pattern) > before
    found = errors(done)
    assert len(found) == 1, done
    assert re.search(words, found[0]), found


PASSING = {"503": status(503), "reset": RESET, "login page": body(LOGIN_PAGE)}
PASSING_OF_FILES = {"cut": CUT, "expired": EXPIRED, "half": HALF}
PASSING_CASES = [
    pytest.param(run, pattern, fault, id=f"{command}-{request}-{name}")
    for command, (run, of_api, of_files) in COMMANDS.items()
    for requests, faults in ((of_api, PASSING), (of_files, PASSING_OF_FILES))
    for request, pattern in list(requests.items())[-1:]
    for name, fault in faults.items()
    if fault is not EXPIRED or "cdn" in pattern  # no other address expires
]


@pytest.mark.parametrize(("run", "pattern", "fault"), PASSING_CASES)
def test_a_fault_that_passes_is_waited_out(site: Site, run: Callable[[Site], Done], pattern: str, fault: Fault) -> None:
    site.proxy.fail(pattern, fault, 1)
    site.seconds = "30"
    before = site.proxy.count(pattern)
    done = run(site)
    assert site.proxy.count(pattern) > before
    assert done.code == 0, done
    assert '"error": "' not in done.out


def test_a_slow_download_is_not_given_up_while_something_arrives(site: Site) -> None:
    """It takes three times as long as the deadline."""
    site.seconds = SOON
    site.proxy.fail("GET /cdn/*.safetensors", DRIP)
    assert errors(of_checkpoint(site)) == []


def test_a_download_that_breaks_again_and_again_goes_on_where_it_broke(site: Site) -> None:
    site.proxy.fail("GET /cdn/*.safetensors", CUT, 2)
    site.seconds = "30"
    before = len(site.hub.requests)
    assert errors(of_checkpoint(site, "resnet-distilled")) == []
    parts = [entry for entry in site.hub.requests[before:] if entry.line.endswith("model.safetensors") and entry.sent]
    assert len(parts) == 3
    assert parts[0].sent > parts[1].sent >= parts[2].sent


def test_it_is_reported_what_is_waited_for(site: Site) -> None:
    site.proxy.fail("GET /api/models/ada/*", SILENT)
    site.seconds = SOON
    done = of_checkpoint(site)
    assert re.search(rf"waiting for {site.proxy.url}: model 'ada/model-\d+' .*given up after 1 s", done.err), done.err


def test_a_flipped_byte_is_a_failed_row(site: Site) -> None:
    site.proxy.fail("GET /cdn/*.safetensors", FLIPPED)
    (error,) = errors(of_checkpoint(site))
    assert "damaged: its SHA-256" in error
    assert "--force-download" in error


@pytest.mark.parametrize("name", ["siblings", "sha", "downloads", "config", "safetensors", "gated", "likes"])
def test_a_field_that_a_server_leaves_out_of_its_list_is_no_reason(site: Site, name: str) -> None:
    site.proxy.fail("GET /api/models", without(name))
    done = search(site)
    assert done.code == 0, done.err
    assert "bob/vit" in done.out


@pytest.mark.parametrize(
    ("run", "pattern", "name"),
    [
        (of_checkpoint, "GET /api/models/ada/*", "sha"),
        (of_dataset, "GET /api/datasets/ada/*/tree/*", "path"),
        (pull, "GET /api/datasets/ada/*/tree/*", "type"),
        (results, "GET /api/whoami-v2", "name"),
        (card, "POST */preupload/*", "uploadMode"),
        (card, "POST */commit/*", "commitUrl"),
    ],
)
def test_a_field_that_nothing_works_without_is_one_error(
    site: Site, run: Callable[[Site], Done], pattern: str, name: str
) -> None:
    site.proxy.fail(pattern, without(name))
    (error,) = errors(run(site))
    assert re.search(OTHER, error)


def test_a_list_that_a_server_does_not_have_is_no_missing_model(site: Site) -> None:
    site.proxy.fail("GET /api/models", status(404, X_Error_Code="RepoNotFound"))
    (error,) = errors(search(site))
    assert "a search of the Hub (404" in error
    assert "no model" not in error


@pytest.mark.parametrize("run", [results, card])
def test_a_commit_whose_answer_was_lost_is_made_once(site: Site, run: Callable[[Site], Done]) -> None:
    def commits() -> int:
        before = sum(len(repo.commits) for repo in site.hub.store.repos.values())
        assert run(site).code == 0
        return sum(len(repo.commits) for repo in site.hub.store.repos.values()) - before

    made = commits()
    site.proxy.fail("POST */commit/*", CUT, 1)
    site.seconds = "30"
    assert commits() == made


@pytest.mark.parametrize("request_of", ["POST */variables", "POST */preupload/*", "POST */commit/*"])
def test_a_space_that_cannot_be_filled_is_not_left_empty(site: Site, request_of: str) -> None:
    site.proxy.fail(request_of, status(501))
    assert len(errors(space(site))) == 1
    assert ("space", f"ada/board-{next(site.numbers) - 1}") not in site.hub.store.repos


def test_a_space_that_was_there_stays(site: Site) -> None:
    id = f"ada/board-{next(site.numbers)}"
    site.hub.store.put_files(id, {"README.md": b"---\nsdk: gradio\n---\n"}, "space")
    site.proxy.fail("POST */commit/*", status(501))
    shown = site.new("dataset", {"README.md": b"# Results\n"})
    done = site.run("publish", "space", "--repo-id", id, "--results", shown, "--no-wait")
    assert done.code == 1
    assert ("space", id) in site.hub.store.repos


def test_rights_are_checked_before_a_space_is_created(site: Site) -> None:
    shown = site.new("dataset", {"README.md": b"# Results\n"})
    for named in (["space", "--results", shown, "--repo-id", "bob/board"], ["metric", "--repo-id", "bob/emms"]):
        before = site.proxy.count("POST *")
        done = site.run("publish", *named)
        assert done.code == 1
        assert "belongs to 'bob'" in done.err
        assert site.proxy.count("POST *") == before
