"""hf-emms card with a Hub over HTTP: show, push and propose cards; failures."""

from __future__ import annotations

import io
import re
import subprocess
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_emms.publish.cards import card_of
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
from tests.helpers.errors import raises_code
from tests.helpers.hub_client import home, hub
from tests.helpers.space import of_rows, scored
from tests.hub import Hub

__all__ = ["cli", "home", "hub", "org", "other_ranking", "ranking"]

Run = Callable[..., Done]


@pytest.fixture
def best(cli: CommandLine, org: str, ranking: Path) -> Run:
    """Runs ``hf-emms card`` for the organization's best checkpoint, with its ranking or another."""

    def run(*words: str, token: str | None = None, file: Path = ranking) -> Done:
        return cli.run("card", "--ranking", file, "--repo-id", f"{org}/best", "--yes", *words, token=token)

    return run


def test_change_is_shown_as_diff_and_pushed_without_touching_other_bytes(
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
    again = best()
    assert again.out == ""
    assert "nothing to change" in again.err
    assert "--push" not in again.err
    assert "nothing to change" in best("--push", token=token).err
    assert commits(hub, id) == before


def test_repository_without_readme_gets_one(hub: Hub, cli: CommandLine, org: str, ranking: Path) -> None:
    hub.store.put_files(f"{org}/bare", {"config.json": b"{}"})
    asked = ["card", "--ranking", ranking, "--repo-id", f"{org}/bare", "--checkpoint", f"{org}/best"]
    shown = cli.run(*asked)
    assert shown.out.startswith("--- /dev/null\n+++ b/README.md\n")
    done = cli.run(*asked, "--push", "--yes", token=hub.token(user=org))
    assert done.code == 0
    assert readme(hub, f"{org}/bare").startswith(b"---\ntags:\n- emms\n---\n\n# bare\n")


def test_dataset_card_lists_the_best_checkpoints(hub: Hub, cli: CommandLine, ranking: Path) -> None:
    id = "AI-Lab-Makerere/beans"
    hub.store.put_files(id, {"README.md": b"---\nlicense: mit\n---\n"}, "dataset")
    asked = ["card", "--ranking", ranking, "--dataset-id", id]
    assert "+## Checkpoints to start from" in cli.run(*asked).out
    assert cli.run(*asked, "--create-pr", "--yes", token=hub.token(user="ada")).code == 0
    proposed = readme(hub, id, "refs/pr/1", "dataset")
    expected = Ranking.from_json(ranking.read_text())
    assert proposed == update_dataset_card(b"---\nlicense: mit\n---\n", [expected], id)
    told(cli.run("card", "--ranking", ranking, "--dataset-id", "org/food"), "of the dataset 'AI-Lab-Makerere/beans'")


def test_pull_request_is_updated_until_merged_then_another_is_opened(
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
    assert proposed.count(b"** of 3") == 2
    hub.store.put_files(id, {"README.md": proposed})
    hub.store.repo(id).discussions[0].status = "merged"
    assert "nothing to change" in best("--create-pr", token=token, file=other_ranking).err
    assert pulls(hub, id) == [(1, "merged")]
    news = ranking_of(org, dataset_id="org/cats").save(tmp_path / "cats.json")
    assert "opened a pull request" in best("--create-pr", token=token, file=news).err
    assert readme(hub, id, "refs/pr/2").count(b"** of 3") == 3


def test_closed_pull_request_stays_closed_and_others_are_untouched(hub: Hub, best: Run, org: str) -> None:
    id, token = f"{org}/best", hub.token(user="ada")
    best("--create-pr", token=token)
    hub.store.repo(id).discussions[0].status = "closed"
    assert "closed our pull request" in best("--create-pr", token=token).err
    assert pulls(hub, id) == [(1, "closed")]
    best("--create-pr", token=hub.token(user="bob"))
    assert pulls(hub, id) == [(1, "closed"), (2, "open")]


def test_access_is_checked_first(hub: Hub, cli: CommandLine, org: str, tmp_path: Path) -> None:
    missing = tmp_path / "no-such-ranking.json"
    push = ["card", "--ranking", missing, "--repo-id", f"{org}/best", "--push"]
    propose = [*push[:-1], "--create-pr"]
    told(cli.run(*push), "not logged in", "hf auth login")
    told(cli.run(*push, token="hf_" + "x" * 34), "does not accept your token", "hf auth login")
    read = hub.token(user=org, role="read")
    told(cli.run(*push, token=read), "read-only", f"{org}/best", "hf auth login")
    told(cli.run(*propose, token=read), "read-only", "hf auth login")
    told(cli.run(*push, token=hub.token(user="ada", orgs=["lab"])), f"belongs to '{org}'", "ada, lab", "--create-pr")
    told(cli.run(*push, token=hub.token(user="ada", orgs={org: "read"})), f"belongs to '{org}'")
    for token in (hub.token(user=org), hub.token(user="ada", orgs={org: "write"})):
        told(cli.run(*push, token=token), "cannot read", "no-such-ranking.json")
    assert hub.count(f"* */{org}/best/*") == 0


def test_concurrent_commit_is_read_again(hub: Hub, best: Run, org: str) -> None:
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
def test_temporary_fault_is_retried_and_written_once(
    hub: Hub, best: Run, org: str, fault: int | str, flag: str
) -> None:
    id = f"{org}/best"
    before = commits(hub, id)
    hub.fail(f"POST */{id}/commit/*", fault)
    done = best(flag, token=hub.token(user=org))
    assert done.code == 0, done
    assert "Error" not in done.err
    assert commits(hub, id) == before + 1
    assert len(pulls(hub, id)) == (flag == "--create-pr")


LASTING = {412: ("changed during each attempt", "run the same command again"), 403: ("refused", "hf auth login")}


@pytest.mark.parametrize("status", LASTING)
def test_lasting_fault_is_reported_after_three_tries(hub: Hub, best: Run, org: str, status: int) -> None:
    id = f"{org}/best"
    hub.fail(f"POST */{id}/commit/*", status, None)
    told(best("--push", token=hub.token(user=org)), id, *LASTING[status])
    assert hub.count(f"POST */{id}/commit/*") == (1 if status == 403 else 3)
    assert readme(hub, id) == README


def test_refused_metadata_is_reported(hub: Hub, best: Run, org: str) -> None:
    hub.store.put_files(f"{org}/best", {"README.md": b"---\ntags: [unclosed\n---\n"})
    told(best("--push", token=hub.token(user=org)), "refuses the README", f"{org}/best", "metadata")


def test_a_checkpoint_has_one_revision_in_a_ranking() -> None:
    first, second = (scored(f"org/best@{revision}", -score, 10) for revision, score in (("v1", 0.1), ("v2", 0.2)))
    rankings = [of_rows("beans", first, second)]
    for name, code in (("best", "several-revisions"), ("none", "unknown-row")):
        with raises_code(code, f"org/{name}"):
            card_of(rankings, f"org/{name}", "model")
    (entry,) = card_of(rankings, "org/best", "model", checkpoint="org/best@v2").entries
    assert entry.row.checkpoint == "org/best@v2"


def test_readers_of_a_dataset_card_install_hf_emms_from_the_results_dataset(
    hub: Hub, cli: CommandLine, org: str, ranking: Path
) -> None:
    token, results = hub.token(user="ada", orgs=[org]), f"{org}/emms-results"
    words = ("card", "--ranking", ranking, "--dataset-id", ranking_of(org).dataset_id, "--results", results)
    hub.store.put_files(results, {"README.md": b"# Results\n"}, "dataset")
    assert "publish results" in cli.run(*words).err
    cli.run("publish", "results", "--repo-id", results, "--ranking", ranking, "--yes", token=token)
    (command,) = re.findall(r"pip install \"hf-emms @ (.*)\"", cli.run(*words).out)
    assert cli.run(*words).out.count(f"{hub.url}/datasets/{results}") == 2
    with urllib.request.urlopen(command) as answer:
        packed = zipfile.ZipFile(io.BytesIO(answer.read()))
    assert "hf_emms/publish/cards.py" in packed.namelist()
