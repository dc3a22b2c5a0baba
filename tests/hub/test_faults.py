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
    LOST,
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

SECONDS = "1"
SLOW = r"nothing arrived for 1 s"
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
    """

    hub: Hub
    proxy: FaultProxy
    cli: CommandLine
    folder: Path
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def new(self, kind: str, files: dict[str, bytes]) -> str:
        """A repository that nothing has cached."""
        id = f"ada/{kind}-{next(self.numbers)}"
        self.hub.store.put_files(id, files, kind)  # type: ignore[arg-type]
        return id


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("client")
    with running_hub(tmp_path_factory.mktemp("hub")) as hub, running_proxy(hub) as proxy:
        environment = client_environment(hub, home, HF_ENDPOINT=proxy.url, HF_EMMS_DEADLINE=SECONDS)
        cli = CommandLine(environment | {"HF_TOKEN": hub.token(user="ada")}, home)
        found = Site(hub, proxy, cli, home)
        checkpoint = files_of()
        checkpoint["README.md"] = b"---\npipeline_tag: image-classification\nlibrary_name: transformers\n---\n"
        hub.store.put_files("bob/vit", checkpoint)
        yield found
        # Silent connections are still open: nothing that waits for one keeps the process from ending.
        cli.close()


@pytest.fixture(autouse=True)
def faultless(site: Site) -> Iterator[None]:
    yield
    site.proxy.clear()


def rank(site: Site, dataset: str, *checkpoints: str) -> Done:
    named = [part for id in checkpoints for part in ("-c", id)]
    arguments = ["--dataset", dataset, "--max-samples", "40", "-e", ENCODER, "--estimator", "emms", "--format", "json"]
    return site.cli.run("rank", *arguments, *named)


def of_checkpoint(site: Site) -> Done:
    return rank(site, "demo_captions", GOOD, site.new("model", files_of()))


def of_dataset(site: Site) -> Done:
    id = site.new("dataset", {"data/train-00000-of-00001.parquet": parquet(sentences(60))})
    return rank(site, id, "emms-demo/bert-random")


def ranking_file(site: Site) -> Path:
    file = site.folder / "ranking.json"
    file.write_text(example().to_json())
    return file


def search(site: Site) -> Done:
    return site.cli.run("search", "--task", "image-classification")


def results(site: Site) -> Done:
    id = f"ada/results-{next(site.numbers)}"
    return site.cli.run("publish", "results", "--repo-id", id, "--ranking", ranking_file(site))


def card(site: Site) -> Done:
    best, id = example().rows[0].checkpoint, site.new("model", {"README.md": b"# Best\n"})
    named = ["--repo-id", id, "--checkpoint", best, "--push"]
    return site.cli.run("card", "--ranking", ranking_file(site), *named)


def space(site: Site) -> Done:
    shown = site.new("dataset", {"README.md": b"# Results\n"})
    named = ["--repo-id", f"ada/board-{next(site.numbers)}", "--results", shown, "--no-wait"]
    return site.cli.run("publish", "space", *named)


def metric(site: Site) -> Done:
    return site.cli.run("publish", "metric", "--repo-id", "ada/emms")


def pull(site: Site) -> Done:
    content = {"rankings/x/beans.json": example().to_json().encode()}
    return site.cli.run("pull", "results", "--repo-id", site.new("dataset", content), "-o", site.folder / "pulled")


# Command → what runs it, and requests that it makes: of the API, and of files.
COMMANDS: dict[str, tuple[Callable[[Site], Done], dict[str, str], dict[str, str]]] = {
    "rank, checkpoint": (
        of_checkpoint,
        {"revision": "GET /api/models/ada/*/revision/*", "tree": "GET /api/models/ada/*/tree/*"},
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
    for request, pattern in requests.items()
    for name, (fault, words) in faults.items()
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
    before = site.proxy.count(pattern)
    done = run(site)
    assert site.proxy.count(pattern) > before
    found = errors(done)
    assert len(found) == 1, done
    assert re.search(words, found[0]), found
