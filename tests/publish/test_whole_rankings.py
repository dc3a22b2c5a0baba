"""hf-emms card --all: the cards of all checkpoints of a ranking."""

from __future__ import annotations

import subprocess
from pathlib import Path

import msgspec
import pytest

from hf_emms import EmmsError
from hf_emms.publish.cards import model_card, model_cards
from tests.helpers.cards import README, cli, commits, org, pulls, ranking_of, readme, told
from tests.helpers.cli import program
from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import home, hub
from tests.helpers.space import of_rows, scored
from tests.helpers.waiting import eventually
from tests.hub import Hub
from tests.hub.fixtures import client_environment

__all__ = ["cli", "home", "hub", "org"]


@pytest.fixture
def mixed(hub: Hub, org: str, tmp_path: Path) -> tuple[str, Path]:
    """A ranking with two checkpoints of one's own and one of somebody else."""
    mine = f"my-{org}"
    for name in ("best", "worse"):
        hub.store.put_files(f"{mine}/{name}", {"README.md": README})
    text = ranking_of(org).to_json()
    for name in ("best", "worse"):
        text = text.replace(f'"{org}/{name}"', f'"{mine}/{name}"')
    file = tmp_path / "mixed.json"
    file.write_text(text)
    return mine, file


def test_all_pushes_to_own_cards_and_shows_the_others(
    hub: Hub, cli: CommandLine, org: str, mixed: tuple[str, Path]
) -> None:
    mine, file = mixed
    token = hub.token(user=mine)
    only_shown = cli.run("card", "--ranking", file, "--all", "--dry-run")
    assert only_shown.code == 0
    assert only_shown.out.count("--- a/README.md") == 3
    assert readme(hub, f"{mine}/best") == README
    done = cli.run("card", "--ranking", file, "--all", token=token)
    assert done.code == 0
    assert done.out.count("--- a/README.md") == 1
    proposal = "--create-pr proposes the changes of other people's cards"
    assert [proposal in run.err for run in (only_shown, done)] == [False, True]
    assert f"left out: {org}/broken: not scored" in done.err
    assert readme(hub, f"{mine}/best").startswith(README + b"\r\n")
    assert b"hf-emms:start" in readme(hub, f"{mine}/worse")
    assert readme(hub, f"{org}/close") == README
    assert pulls(hub, f"{org}/close") == []


def test_what_failed_is_made_up_for_later(hub: Hub, cli: CommandLine, org: str, mixed: tuple[str, Path]) -> None:
    mine, file = mixed
    token = hub.token(user=mine)
    hub.fail(f"POST */{org}/close/commit/*", 403)
    stopped = cli.run("card", "--ranking", file, "--all", "--create-pr", token=token)
    told(stopped, "1 of 3 cards could not be done", "run the same command again")
    assert b"hf-emms:start" in readme(hub, f"{mine}/worse")  # one failure does not stop the others
    before = [commits(hub, f"{mine}/{name}") for name in ("best", "worse")]
    done = cli.run("card", "--ranking", file, "--all", "--create-pr", token=token)
    assert (done.code, done.out) == (0, "")
    assert done.err.count("nothing to change") == 2
    assert [commits(hub, f"{mine}/{name}") for name in ("best", "worse")] == before
    assert pulls(hub, f"{org}/close") == [(1, "open")]
    assert pulls(hub, f"{mine}/best") == []


def test_a_killed_run_goes_on_where_it_was(
    hub: Hub, cli: CommandLine, home: Path, org: str, mixed: tuple[str, Path]
) -> None:
    mine, file = mixed
    token = hub.token(user=mine)
    hub.fail(f"GET */{org}/close/*", "slow", None, seconds=300)
    command = program("card", "--ranking", file, "--all", "--create-pr")
    running = subprocess.Popen(command, env=client_environment(hub, home, HF_TOKEN=token), stderr=subprocess.PIPE)
    eventually(lambda: hub.count(f"GET */{org}/close/*") or running.poll() is not None)
    assert running.poll() is None
    running.kill()
    running.communicate()
    hub.faults.clear()
    done_before = commits(hub, f"{mine}/best")
    assert b"hf-emms:start" in readme(hub, f"{mine}/best")
    assert b"hf-emms:start" not in readme(hub, f"{mine}/worse")
    assert cli.run("card", "--ranking", file, "--all", "--create-pr", token=token).code == 0
    assert commits(hub, f"{mine}/best") == done_before
    assert b"hf-emms:start" in readme(hub, f"{mine}/worse")
    assert pulls(hub, f"{org}/close") == [(1, "open")]


def test_what_has_no_card_is_said_and_one_of_several_revisions_is_picked() -> None:
    first, second = (scored(f"org/best@{revision}", -score, 10) for revision, score in (("v1", 0.1), ("v2", 0.2)))
    stopped = msgspec.structs.replace(scored("org/stopped", -0.3, 10), n=100)
    folder = msgspec.structs.replace(scored("./folder", -0.4, 10), revision="local-0123456789abcdef")
    ranking = of_rows("beans", first, second, stopped, folder)
    cards, left_out = model_cards([ranking])
    assert [(card.repo_id, card.entries[0].checkpoint) for card in cards] == [("org/best", "org/best@v1")]
    assert sorted(left_out) == [
        "./folder: not a repository of the Hub",
        "org/best@v2: another revision is ranked above it",
        "org/stopped: a race stopped it after 100 of 1,034 rows",
    ]
    several = r"several revisions of 'org/best': org/best@v1, org/best@v2\n  → checkpoint=.*v1.*v2.* picks one"
    with pytest.raises(EmmsError, match=several):
        model_card([ranking], "org/best")
    assert model_card([ranking], "org/best", checkpoint="org/best@v2").entries[0].checkpoint == "org/best@v2"
    for name, said in {
        "stopped": "a race stopped 'org/stopped' after 100 of",
        "none": "no checkpoint 'org/none'",
    }.items():
        with pytest.raises(EmmsError, match=said):
            model_card([ranking], f"org/{name}")
