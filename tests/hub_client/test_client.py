"""Requests to the Hub, whatever they ask for: limits of time, retries, and answers that are not a Hub's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import cli, home, hub
from tests.helpers.rankings import example
from tests.hub import Hub
from tests.hub.fixtures import run_client

__all__ = ["cli", "home", "hub"]

LOGIN_PAGE = b"<!doctype html><title>Log in to the network</title>"
REQUESTS = {
    "account": "GET /api/whoami-v2",
    "repository": "GET /api/models/org/best/revision/*",
    "upload modes": "POST */org/best/preupload/*",
    "commit": "POST */org/best/commit/*",
}


@pytest.fixture(autouse=True)
def repository(hub: Hub):
    hub.store.put_files("org/best", {"README.md": b"# Best\n"})
    yield
    hub.faults.clear()


@pytest.fixture
def push(hub: Hub, tmp_path: Path) -> list[str]:
    """The words that write the card of a ranking's best checkpoint, which is org/best."""
    ranking = example()
    text = ranking.to_json().replace(json.dumps(ranking.rows[0].checkpoint), '"org/best"')
    (tmp_path / "ranking.json").write_text(text)
    return ["card", "--ranking", str(tmp_path / "ranking.json"), "--repo-id", "org/best", "--push"]


def the_error(cli: CommandLine, hub: Hub, push: list[str], **environment: str) -> str:
    done = cli.run(*push, token=hub.token(user="org"), **{"HF_EMMS_DEADLINE": "8", **environment})
    assert done.code == 1, done
    assert [line[:7] for line in done.err.splitlines()].count("Error: ") == 1
    assert "Traceback" not in done.err
    return done.err


@pytest.mark.parametrize("pattern", REQUESTS.values(), ids=REQUESTS)
def test_an_answer_that_does_not_come_is_given_up(hub: Hub, cli: CommandLine, push: list[str], pattern: str) -> None:
    hub.fail(pattern, "slow", None, seconds=300)
    assert "nothing arrived for 2 s" in the_error(cli, hub, push, HF_EMMS_DEADLINE="2")


@pytest.mark.parametrize("pattern", REQUESTS.values(), ids=REQUESTS)
def test_a_wait_of_an_hour_is_not_waited_for(hub: Hub, cli: CommandLine, push: list[str], pattern: str) -> None:
    hub.fail(pattern, 429, None, retry_after=3600)
    assert "asks to wait 3,600 s (429)" in the_error(cli, hub, push)


@pytest.mark.parametrize("body", [LOGIN_PAGE, b'{"name": "or', b"[1, 2]", b"{}", b"null"])
@pytest.mark.parametrize("pattern", REQUESTS.values(), ids=REQUESTS)
def test_an_answer_that_is_no_hubs_is_one_line(
    hub: Hub, cli: CommandLine, push: list[str], pattern: str, body: bytes
) -> None:
    hub.fail(pattern, 200, None, body=body)
    error = the_error(cli, hub, push)
    assert "is not the answer of a Hub" in error or "has no commit yet" in error
    assert hub.url in error


def test_a_broken_answer_is_asked_for_again(hub: Hub, cli: CommandLine, push: list[str]) -> None:
    hub.fail("GET /api/whoami-v2", 200, 2, body=b'{"name": "or')
    assert cli.run(*push, token=hub.token(user="org")).code == 0


@pytest.mark.parametrize("pattern", REQUESTS.values(), ids=REQUESTS)
def test_what_the_hub_does_not_implement_is_asked_for_once(
    hub: Hub, cli: CommandLine, push: list[str], pattern: str
) -> None:
    before = hub.count(pattern)
    hub.fail(pattern, 501, None)
    assert "501" in the_error(cli, hub, push)
    assert hub.count(pattern) == before + 1


def test_every_request_has_timeouts(hub: Hub, tmp_path: Path) -> None:
    code = """
        import json
        from huggingface_hub import close_session, get_session
        from hf_emms.hub.client import request
        seen = []
        def call(api):
            close_session()  # as after an error of TLS
            session = get_session()
            hooks = session.event_hooks
            session.event_hooks = {**hooks, "request": [*hooks["request"], lambda one: seen.append(one.extensions)]}
            return api.model_info("org/best").id  # without a timeout of its own
        print(json.dumps([request(call, "org/best", "model"), sorted(seen[0]["timeout"].items())]))
        """
    id, timeouts = run_client(hub, code, tmp_path)
    assert id == "org/best"
    assert timeouts == [["connect", 10], ["pool", 60], ["read", 60], ["write", 60]]
