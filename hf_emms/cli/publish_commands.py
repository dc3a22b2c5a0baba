"""hf-emms publish, pull, leaderboard and metric."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cache.files import write_atomic
from hf_emms.cli.output import format_option, out, ranking_files_option, results_folder_option, stdout_for_data_only
from hf_emms.errors import EmmsError, pluralize
from hf_emms.publish import metric as installation

if TYPE_CHECKING:
    from hf_emms.ranking import Ranking


@cloup.group(short_help='Put evaluate.load("emms") in place, or take it away.')
def metric() -> None:
    """The metric for the evaluate library.

    evaluate.load("emms") finds it in the modules cache of evaluate (HF_MODULES_CACHE). `import hf_emms` puts it there
    too, unless HF_EMMS_INSTALL_METRIC=0 is set.
    """


@metric.command()
def install() -> None:
    """Put the metric where evaluate.load("emms") looks for it; prints the module's path."""
    out.data(str(installation.install()))
    out.message('evaluate.load("emms") finds it, online and offline')


@metric.command()
def uninstall() -> None:
    """Take the metric away; `import hf_emms` will not put it back."""
    removed = installation.uninstall()
    out.message("\n".join(f"removed {folder}" for folder in removed) or "there was nothing to remove")
    out.message("hf-emms metric install puts it back")


@metric.command()
def path() -> None:
    """Print the metric's own folder, which evaluate.load takes as well and hf-emms publish metric uploads."""
    out.data(str(installation.source_folder()))
    try:
        state = "installed as" if installation.is_installed() else "not installed as"
        out.message(f"{state} {installation.installed_module()}")
    except EmmsError as error:
        out.message(f"not installed: {error}")


@cloup.group(short_help="Publish to the Hub: rankings, the metric, the leaderboard.")
def publish() -> None:
    """Write to repositories of your own on the Hub; `hf auth login` first."""


_hardware_option = cloup.option(
    "--hardware",
    metavar="NAME",
    help="Hardware of the Space: cpu-basic (paid), zero-a10g (two are free), … [default: what the account can have].",
)


@publish.command("metric", short_help="Publish the metric as a Gradio Space.")
@cloup.option("--repo-id", required=True, metavar="USER/emms", help="The Space.")
@_hardware_option
@cloup.option("--private", is_flag=True, help="Make a new Space private.")
@cloup.option(
    "--package", metavar="SPEC", help="What the Space installs as hf-emms [default: a wheel that is uploaded with it]."
)
def publish_metric_space(repo_id: str, hardware: str | None, private: bool, package: str | None) -> None:
    """Publish the metric as a Gradio Space, for evaluate.load("USER/emms"); prints the commit's address."""
    from hf_emms.publish.metric import publish_metric

    out.data(publish_metric(repo_id, hardware=hardware, private=private, package=package))
    out.message(f'published: evaluate.load("{repo_id}") loads it where hf-emms is installed')


@publish.command(short_help="Publish the leaderboard as a Space.")
@cloup.option("--repo-id", required=True, metavar="ORG/emms-leaderboard", help="The Space; created if needed.")
@cloup.option("--results", required=True, metavar="ORG/emms-results", help="The results dataset that it shows.")
@cloup.option("--static", is_flag=True, help="A page without a server, free for everyone; drawn anew by each publish.")
@_hardware_option
@cloup.option("--private", is_flag=True, help="Make a new Space private.")
@cloup.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME",
    help="Environment variable whose value becomes a secret of the Space, such as HF_TOKEN for a private dataset.",
)
@cloup.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is built and runs.")
@cloup.option("--dry-run", is_flag=True, help="List the files and write nothing.")
def space(repo_id: str, results: str, static: bool, wait: bool, dry_run: bool, **options: Any) -> None:
    """Publish the leaderboard as a Space in a single commit; prints its address.

    A Gradio Space follows the results dataset by itself and needs a paid plan, or a free account's ZeroGPU Space, of
    which it has two. A --static Space is free and shows what the dataset holds when it is published.

    An existing Space is updated. Secrets are set through the Hub's settings and are in no file.
    """
    from hf_emms.publish import space as leaderboard

    if static and (options["hardware"] or options["secrets"]):
        raise EmmsError(
            "a static Space has no hardware and no secrets", "leave out --hardware and --secret, or --static"
        )
    if dry_run:
        out.data("\n".join(("README.md", "index.html", "views/*.html.gz") if static else leaderboard.files()))
        out.message(f"nothing was written: these files would go to the Space {repo_id}, which would show {results}")
        return
    out.message(f"Publishing {repo_id} …")
    published = leaderboard.publish(repo_id, results, static=static, wait=wait, **options)
    out.data(published.url)
    out.message(f"commit: {published.commit}")
    for problem in published.problems:
        out.message(f"not shown: {problem}")


@cloup.command("results")
@cloup.option("--repo-id", required=True, metavar="ORG/emms-results", help="The dataset; created if needed.")
@ranking_files_option(
    "What hf-emms rank --output wrote; repeat for several [default: every saved ranking of a Hub dataset].",
    required=False,
)
@cloup.option("--private", is_flag=True, help="Make a new dataset private.")
@cloup.option("--create-pr", is_flag=True, help="Open a pull request at a dataset that is there, instead of a commit.")
@cloup.option(
    "--space", "space_id", metavar="ORG/emms-leaderboard", help="A leaderboard of it to publish anew as well."
)
def publish_results(
    repo_id: str, files: tuple[Path, ...], private: bool, create_pr: bool, space_id: str | None
) -> None:
    """Publish rankings as a dataset; prints the address of the commit or the pull request.

    Adds to what is there: checkpoints of a ranking with the same settings join it, a result that is there already makes
    no commit.
    """
    from hf_emms import hub
    from hf_emms.publish import results
    from hf_emms.publish import space as leaderboard
    from hf_emms.ranking import Ranking

    account = hub.who_am_i()
    if create_pr and space_id is not None:
        raise EmmsError("a pull request does not change the dataset yet: its leaderboard stays", "leave out --space")
    static = space_id is not None and hub.sdk_of(space_id) == "static"
    if create_pr:
        hub.require_proposal(account, repo_id, "dataset")
    else:
        hub.require_push(account, repo_id, "dataset", instead=f"--repo-id {account.name}/emms-results, or --create-pr")
    rankings = [Ranking.load(file) for file in files] if files else _cached_rankings()
    outcome = results.publish(rankings, repo_id, private=private, proposed_by=account if create_pr else None)
    out.data(outcome.url)
    what = pluralize(len(rankings), "ranking")
    done = f"{'proposed' if create_pr else 'published'} {what} in {repo_id}"
    out.message(f"{repo_id} holds {what} already" if outcome.state == "unchanged" else done)
    if space_id is not None:
        published = leaderboard.publish(space_id, repo_id, static=static, wait=False)
        out.message(f"{published.url} shows it")


@cloup.group(short_help="Read from the Hub: published rankings.")
def pull() -> None:
    """Read what was published on the Hub."""


@pull.command("results")
@cloup.option("--repo-id", required=True, metavar="ORG/emms-results[@REVISION]", help="The dataset.")
@results_folder_option("Where the rankings go, a JSON file each.")
@format_option()
def pull_results(repo_id: str, folder: Path) -> None:
    """Fetch published rankings; prints a line for each file."""
    from hf_emms.publish import results

    with stdout_for_data_only():
        rankings, problems = results.pull(repo_id)
    lines = []
    for path, ranking in rankings.items():
        file = folder / f"{path}.json"
        try:
            write_atomic(file, ranking.to_json())
        except OSError as error:
            raise EmmsError(f"cannot write {file}: {error.strerror or error}", "--output DIR") from error
        best = ranking.best.checkpoint if ranking.best else ""
        lines.append((str(file), ranking.dataset_id, ranking.task, len(ranking.rows), best))
    out.records(("file", "dataset", "task", "checkpoints", "best"), lines)
    for problem in problems:
        out.message(f"not read: {problem}")
    if problems:
        raise EmmsError(f"{len(problems)} of the rankings in {repo_id} could not be read", "see above")


def _cached_rankings() -> list[Ranking]:
    """Return the rankings of datasets of the Hub that earlier runs saved."""
    from hf_emms.cache import default_root
    from hf_emms.ranking import Ranking, is_commit

    folder = default_root() / "rankings"
    rankings = []
    for file in sorted(folder.glob("*.json")):
        try:
            ranking = Ranking.load(file)
        except EmmsError as error:
            out.message(f"left out: {file}: {error.message}")
            continue
        if is_commit(ranking.dataset_revision):
            rankings.append(ranking)
        else:
            out.message(f"left out: {file}: {ranking.dataset_id} is no dataset of the Hub (--ranking publishes it)")
    if not rankings:
        raise EmmsError(f"there is no ranking in {folder}", "--ranking FILE names one; hf-emms rank … writes it")
    return rankings


@cloup.command(short_help="Browse rankings in the browser.")
@cloup.option("--results", metavar="DIR|REPO", help="Ranking files, or a results dataset [default: those of the demo].")
@cloup.option("--port", type=click.IntRange(1, 65535), help="[default: the first free port from 7860 on]")
def leaderboard(results: str | None, port: int | None) -> None:
    """Serve the leaderboard here: tables, comparisons, a shortlist, and the same for programs (API and MCP).

    Ctrl-C ends it.
    """
    from hf_emms.publish import space

    settings = _source(results)
    if port is not None:
        _check_free(port)
        settings["GRADIO_SERVER_PORT"] = str(port)
    status = space.serve(settings)
    if status:
        sys.exit(status)


def _source(results: str | None) -> dict[str, str]:
    from hf_emms import hub

    if results is None:
        return {"EMMS_RESULTS": str(_demo_rankings())}
    if Path(results).is_dir():
        return {"EMMS_RESULTS": str(Path(results).resolve())}
    if hub.looks_like_path(results):
        raise EmmsError(f"there is no folder {results!r}", "hf-emms rank … --output DIR/NAME.json puts rankings there")
    hub.resolve(results, "dataset")
    return {"EMMS_RESULTS_REPO": results}


def _demo_rankings() -> Path:
    from hf_emms.cache import default_root
    from hf_emms.cli.demo_command import write_rankings

    folder = default_root() / "demo"
    out.message("no --results: showing the demo's rankings (computed once, then cached)")
    for name, _ in write_rankings(folder):
        out.message(f"ranked: {name}")
    return folder


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise EmmsError(f"port {port} cannot be used: {error.strerror}", "--port ANOTHER") from error
