"""hf-emms card against a Hub over real HTTP: shown, pushed, proposed, and what users see when something goes wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
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
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import home, hub
from tests.hub import Hub

__all__ = ["cli", "home", "hub", "org", "other_ranking", "ranking"]

Run = Callable[..., Done]


@pytest.fixture
def best(cli: CommandLine, org: str, ranking: Path) -> Run:
    """Runs ``hf-emms card`` for the organisation's best checkpoint, with its ranking or another."""

    def run(*words: str, token: str | None = None, file: Path = ranking) -> Done:
        return cli.run("card", "--ranking", file, "--repo-id", f"{org}/best", *words, token=token)

    return run


def test_the_change_is_shown_as_a_diff_and_pushed_and_every_other_byte_stays(
    hub: Hub, best: Run, org: str, tmp_path: Path
) -> None:
    id, token = f"{org}/best", hub.token(user="ada", orgs=[org])
    shown = best()
    assert shown.code == 0
    assert shown.out.startswith("--- a/README.md\n+++ b/README.md\n@@ ")
    assert "--create-pr" in shown.err
    assert readme(hub, id) == README
    (tmp_path / "README.md").write_bytes(README)
    subprocess.run(["git", "apply"], input=shown.out.encode(), cwd=tmp_path, check=True)
    done = best("--push", token=token)
    assert done.code == 0
    assert done.out.startswith(f"{hub.url}/{id}/commit/")
    written, before = readme(hub, id), commits(hub, id)
    assert written == (tmp_path / "README.md").read_bytes()
    assert written == update_model_card(README, [(ranking_of(org), id)], id)
    assert written.startswith(README)
    assert written.count(b"\n") == written.count(b"\r\n")
    assert best().out == ""
    assert "nothing to change" in best("--push", token=token).err
    assert commits(hub, id) == before


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


def test_a_pull_request_is_opened_once_and_updated_and_after_a_merge_news_is_proposed_anew(
    hub: Hub, best: Run, org: str, other_ranking: Path, tmp_path: Path
) -> None:
    id, token = f"{org}/best", hub.token(user="ada")
    assert best("--create-pr", token=token).out.strip() == f"{hub.url}/{id}/discussions/1"
    assert "nothing to change" in best("--create-pr", token=token).err
    assert "updated the pull request" in best("--create-pr", token=token, file=other_ranking).err
    assert pulls(hub, id) == [(1, "open")]
    assert readme(hub, id) == README
    proposed = readme(hub, id, "refs/pr/1")
    assert proposed.startswith(README)
    assert proposed.count(b"of 3 |") == 2
    hub.store.put_files(id, {"README.md": proposed})
    hub.store.repo(id).discussions[0].status = "merged"
    assert "nothing to change" in best("--create-pr", token=token, file=other_ranking).err
    assert pulls(hub, id) == [(1, "merged")]
    news = ranking_of(org, dataset_id="org/cats").save(tmp_path / "cats.json")
    assert "opened a pull request" in best("--create-pr", token=token, file=news).err
    assert readme(hub, id, "refs/pr/2").count(b"of 3 |") == 3


def test_a_pull_request_that_was_closed_stays_closed_and_that_of_somebody_else_is_left_alone(
    hub: Hub, best: Run, org: str
) -> None:
    id, token = f"{org}/best", hub.token(user="ada")
    best("--create-pr", token=token)
    hub.store.repo(id).discussions[0].status = "closed"
    assert "--ask-again" in best("--create-pr", token=token).err
    assert pulls(hub, id) == [(1, "closed")]
    best("--create-pr", "--ask-again", token=token)
    best("--create-pr", token=hub.token(user="bob"))
    assert pulls(hub, id) == [(1, "closed"), (2, "open"), (3, "open")]
    assert "nothing to change" in best("--create-pr", token=token).err


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


def test_what_was_committed_meanwhile_is_read_again(hub: Hub, best: Run, org: str) -> None:
    id = f"{org}/best"

    def edit() -> None:
        hub.store.put_files(id, {"README.md": README + b"\r\nedited meanwhile\r\n"})

    hub.fail(f"POST */{id}/preupload/*", "call", call=edit)
    assert best("--push", token=hub.token(user=org)).code == 0
    assert [entry.status for entry in hub.requests if f"/{id}/commit/" in entry.path] == [412, 200]
    written = readme(hub, id)
    assert written.startswith(README + b"\r\nedited meanwhile\r\n")
    assert b"hf-emms:start" in written


@pytest.mark.parametrize("flag", ["--push", "--create-pr"])
@pytest.mark.parametrize("fault", [412, "cut"])
def test_what_passes_is_waited_for_and_written_once(hub: Hub, best: Run, org: str, fault: int | str, flag: str) -> None:
    id = f"{org}/best"
    before = commits(hub, id)
    hub.fail(f"POST */{id}/commit/*", fault)
    done = best(flag, token=hub.token(user=org))
    assert done.code == 0, done
    assert "Error" not in done.err
    assert commits(hub, id) == before + 1
    assert len(pulls(hub, id)) == (flag == "--create-pr")


LASTING = {412: ("changed by somebody else", "run the same command again"), 403: ("refused", "hf auth login")}


@pytest.mark.parametrize("status", LASTING)
def test_what_lasts_is_said_after_three_tries(hub: Hub, best: Run, org: str, status: int) -> None:
    id = f"{org}/best"
    hub.fail(f"POST */{id}/commit/*", status, None)
    told(best("--push", token=hub.token(user=org)), id, *LASTING[status])
    assert hub.count(f"POST */{id}/commit/*") == (1 if status == 403 else 3)
    assert readme(hub, id) == README


def test_metadata_that_the_hub_refuses_is_left_to_its_owner(hub: Hub, best: Run, org: str) -> None:
    hub.store.put_files(f"{org}/best", {"README.md": b"---\ntags: [unclosed\n---\n"})
    told(best("--push", token=hub.token(user=org)), "refuses the README", f"{org}/best", "by hand")


@pytest.mark.parametrize("words", [(), ("--repo-id", "a/b", "--all"), ("--repo-id", "a/b", "--push", "--create-pr")])
def test_usage_is_explained(cli: CommandLine, ranking: Path, words: tuple[str, ...]) -> None:
    assert cli.run("card", "--ranking", ranking, *words).code == 2
