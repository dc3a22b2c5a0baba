"""hf-emms card against a Hub over real HTTP: shown, pushed, proposed, and what users see when something goes wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hf_emms.ranking import Ranking
from tests.helpers.cards import (
    README,
    cli,
    commits,
    org,
    other_ranking,
    pulls,
    ranking,
    ranking_of,
    readme,
    told,
    update_dataset_card,
    update_model_card,
)
from tests.helpers.command_line import CommandLine
from tests.helpers.hub_client import home, hub
from tests.hub import Hub

__all__ = ["cli", "home", "hub", "org", "other_ranking", "ranking"]
# ---- shown and pushed ------------------------------------------------------------------------------------------


def test_the_change_is_shown_as_a_diff_and_nothing_is_written(
    hub: Hub, cli: CommandLine, org: str, ranking: Path, tmp_path: Path
) -> None:
    done = cli.run("card", "--ranking", ranking, "--repo-id", f"{org}/best")
    assert done.code == 0
    assert done.out.startswith("--- a/README.md\n+++ b/README.md\n@@ ")
    assert "--create-pr" in done.err
    assert readme(hub, f"{org}/best") == README
    (tmp_path / "README.md").write_bytes(README)
    subprocess.run(["git", "apply"], input=done.out.encode(), cwd=tmp_path, check=True)
    expected = update_model_card(README, [(ranking_of(org), f"{org}/best")], f"{org}/best")
    assert (tmp_path / "README.md").read_bytes() == expected


def test_push_leaves_every_other_byte(hub: Hub, cli: CommandLine, org: str, ranking: Path) -> None:
    token = hub.token(user="ada", orgs=[org])
    done = cli.run("card", "--ranking", ranking, "--repo-id", f"{org}/best", "--push", token=token)
    assert done.code == 0
    assert done.out.startswith(f"{hub.url}/{org}/best/commit/")
    written = readme(hub, f"{org}/best")
    assert written.startswith(README)
    assert written.count(b"\n") == written.count(b"\r\n")
    before = commits(hub, f"{org}/best")
    again = cli.run("card", "--ranking", ranking, "--repo-id", f"{org}/best", "--push", token=token)
    assert "nothing to change" in again.err
    assert commits(hub, f"{org}/best") == before


def test_a_repository_without_a_readme_gets_one(hub: Hub, cli: CommandLine, org: str, ranking: Path) -> None:
    hub.store.put_files(f"{org}/bare", {"config.json": b"{}"})
    asked = ["card", "--ranking", ranking, "--repo-id", f"{org}/bare", "--checkpoint", f"{org}/best"]
    shown = cli.run(*asked)
    assert shown.out.startswith("--- /dev/null\n+++ b/README.md\n")
    done = cli.run(*asked, "--push", token=hub.token(user=org))
    assert done.code == 0
    assert readme(hub, f"{org}/bare").startswith(b"---\ntags:\n- emms\n---\n\n# bare\n")


def test_a_dataset_card_tells_what_to_start_from(hub: Hub, cli: CommandLine, ranking: Path) -> None:
    id = "AI-Lab-Makerere/beans"
    hub.store.put_files(id, {"README.md": b"---\nlicense: mit\n---\n"}, "dataset")
    asked = ["card", "--ranking", ranking, "--dataset-id", id]
    assert "+## Checkpoints to start from" in cli.run(*asked).out
    assert cli.run(*asked, "--create-pr", token=hub.token(user="ada")).code == 0
    proposed = readme(hub, id, "refs/pr/1", "dataset")
    expected = Ranking.from_json(ranking.read_text())
    assert proposed == update_dataset_card(b"---\nlicense: mit\n---\n", [expected], id)
    told(cli.run("card", "--ranking", ranking, "--dataset-id", "org/food"), "of the dataset 'AI-Lab-Makerere/beans'")


# ---- pull requests ---------------------------------------------------------------------------------------------


def test_a_pull_request_is_opened_once_and_updated_later(
    hub: Hub, cli: CommandLine, org: str, ranking: Path, other_ranking: Path
) -> None:
    id, token = f"{org}/best", hub.token(user="ada")
    first = cli.run("card", "--ranking", ranking, "--repo-id", id, "--create-pr", token=token)
    assert first.out.strip() == f"{hub.url}/{id}/discussions/1"
    same = cli.run("card", "--ranking", ranking, "--repo-id", id, "--create-pr", token=token)
    assert "nothing to change" in same.err
    more = cli.run("card", "--ranking", other_ranking, "--repo-id", id, "--create-pr", token=token)
    assert "updated the pull request" in more.err
    assert pulls(hub, id) == [(1, "open")]
    assert readme(hub, id) == README
    proposed = readme(hub, id, "refs/pr/1")
    assert proposed.startswith(README)
    assert proposed.count(b"of 3 |") == 2


def test_a_merged_pull_request_is_not_opened_again(hub: Hub, cli: CommandLine, org: str, ranking: Path) -> None:
    id, token = f"{org}/best", hub.token(user="ada")
    asked = ["card", "--ranking", ranking, "--repo-id", id, "--create-pr"]
    cli.run(*asked, token=token)
    hub.store.put_files(id, {"README.md": readme(hub, id, "refs/pr/1")})
    hub.store.repo(id).discussions[0].status = "merged"
    assert "nothing to change" in cli.run(*asked, token=token).err
    assert len(pulls(hub, id)) == 1


def test_a_pull_request_that_was_closed_stays_closed(hub: Hub, cli: CommandLine, org: str, ranking: Path) -> None:
    id, token = f"{org}/best", hub.token(user="ada")
    asked = ["card", "--ranking", ranking, "--repo-id", id, "--create-pr"]
    cli.run(*asked, token=token)
    hub.store.repo(id).discussions[0].status = "closed"
    assert "--ask-again" in cli.run(*asked, token=token).err
    assert pulls(hub, id) == [(1, "closed")]
    cli.run(*asked, "--ask-again", token=token)
    assert pulls(hub, id) == [(1, "closed"), (2, "open")]
    assert "nothing to change" in cli.run(*asked, token=token).err


def test_after_a_merge_news_is_proposed_anew(
    hub: Hub, cli: CommandLine, org: str, ranking: Path, other_ranking: Path
) -> None:
    id, token = f"{org}/best", hub.token(user="ada")
    cli.run("card", "--ranking", ranking, "--repo-id", id, "--create-pr", token=token)
    hub.store.put_files(id, {"README.md": readme(hub, id, "refs/pr/1")})
    hub.store.repo(id).discussions[0].status = "merged"
    done = cli.run("card", "--ranking", other_ranking, "--repo-id", id, "--create-pr", token=token)
    assert "opened a pull request" in done.err
    assert readme(hub, id, "refs/pr/2").count(b"of 3 |") == 2


def test_the_pull_request_of_somebody_else_is_left_alone(hub: Hub, cli: CommandLine, org: str, ranking: Path) -> None:
    id = f"{org}/best"
    for user in ("ada", "bob"):
        cli.run("card", "--ranking", ranking, "--repo-id", id, "--create-pr", token=hub.token(user=user))
    assert pulls(hub, id) == [(1, "open"), (2, "open")]


# ---- rights ----------------------------------------------------------------------------------------------------


def test_rights_are_checked_before_anything_else(hub: Hub, cli: CommandLine, org: str, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-ranking.json"
    push = ["card", "--ranking", missing, "--repo-id", f"{org}/best", "--push"]
    propose = [*push[:-1], "--create-pr"]
    told(cli.run(*push), "not logged in", "hf auth login")
    told(cli.run(*push, token="hf_" + "x" * 34), "does not accept your token", "hf auth login")
    read = hub.token(user=org, role="read")
    told(cli.run(*push, token=read), "read-only", f"{org}/best", "hf auth login")
    told(cli.run(*propose, token=read), "read-only", "hf auth login")
    told(cli.run(*push, token=hub.token(user="ada", orgs=["lab"])), f"belongs to '{org}'", "ada, lab", "--create-pr")
    told(cli.run(*push, token=hub.token(user="ada", orgs={org: "read"})), "only read", f"'{org}'")
    fine = hub.token(user=org, role="fineGrained", scopes={"else": ["repo.write"]})
    told(cli.run(*push, token=fine), "fine-grained token")
    told(cli.run(*push, token=hub.token(user=org)), "cannot read", "no-such-ranking.json")
    assert hub.count(f"* */{org}/best/*") == 0


# ---- what goes wrong -------------------------------------------------------------------------------------------


def test_what_was_committed_meanwhile_is_read_again(hub: Hub, cli: CommandLine, org: str, ranking: Path) -> None:
    id = f"{org}/best"

    def edit() -> None:
        hub.store.put_files(id, {"README.md": README + b"\r\nedited meanwhile\r\n"})

    hub.fail(f"POST */{id}/preupload/*", "call", call=edit)
    done = cli.run("card", "--ranking", ranking, "--repo-id", id, "--push", token=hub.token(user=org))
    assert done.code == 0
    assert [entry.status for entry in hub.requests if f"/{id}/commit/" in entry.path] == [412, 200]
    written = readme(hub, id)
    assert written.startswith(README + b"\r\nedited meanwhile\r\n")
    assert b"hf-emms:start" in written


PASSING = {"412 once": (412, {}), "the answer is cut": ("cut", {})}


@pytest.mark.parametrize("create_pr", [False, True], ids=["push", "pr"])
@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_waited_for_and_written_once(
    hub: Hub, cli: CommandLine, org: str, ranking: Path, fault: str, create_pr: bool
) -> None:
    id, (kind, options) = f"{org}/best", PASSING[fault]
    before = commits(hub, id)
    hub.fail(f"POST */{id}/commit/*", kind, **options)
    flag, token = ("--create-pr", hub.token(user="ada")) if create_pr else ("--push", hub.token(user=org))
    done = cli.run("card", "--ranking", ranking, "--repo-id", id, flag, token=token)
    assert done.code == 0, done
    assert "Error" not in done.err
    assert commits(hub, id) == before + 1
    assert len(pulls(hub, id)) == create_pr


LASTING = {412: ("changed by somebody else", "run the same command again"), 403: ("refused", "hf auth login")}


@pytest.mark.parametrize("kind", LASTING)
def test_what_lasts_is_said_after_three_tries(
    hub: Hub, cli: CommandLine, org: str, ranking: Path, kind: int | str
) -> None:
    id = f"{org}/best"
    hub.fail(f"POST */{id}/commit/*", kind, None)
    done = cli.run("card", "--ranking", ranking, "--repo-id", id, "--push", token=hub.token(user=org))
    told(done, id, *LASTING[kind])
    assert hub.count(f"POST */{id}/commit/*") == (1 if kind == 403 else 3)
    assert readme(hub, id) == README


def test_metadata_that_the_hub_refuses_is_left_to_its_owner(
    hub: Hub, cli: CommandLine, org: str, ranking: Path
) -> None:
    id = f"{org}/best"
    hub.store.put_files(id, {"README.md": b"---\ntags: [unclosed\n---\n"})
    done = cli.run("card", "--ranking", ranking, "--repo-id", id, "--push", token=hub.token(user=org))
    told(done, "refuses the README", id, "by hand")


def test_usage_is_explained(cli: CommandLine, ranking: Path) -> None:
    assert cli.run("card", "--ranking", ranking).code == 2
    assert cli.run("card", "--ranking", ranking, "--repo-id", "a/b", "--all").code == 2
    assert cli.run("card", "--ranking", ranking, "--repo-id", "a/b", "--push", "--create-pr").code == 2
