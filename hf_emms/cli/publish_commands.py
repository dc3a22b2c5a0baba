"""hf-emms publish, pull, leaderboard and metric."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms import __version__
from hf_emms.cache.files import write_atomic
from hf_emms.cli.output import format_option, out, ranking_files_option, results_folder_option, stdout_for_data_only
from hf_emms.errors import EmmsError, pluralize
from hf_emms.publish import metric as installation

if TYPE_CHECKING:
    from hf_emms.ranking import Ranking


@cloup.group(short_help='Install or remove evaluate.load("emms").')
def metric() -> None:
    """The metric for the evaluate library.

    evaluate.load("emms") finds it in evaluate's cache of modules (HF_MODULES_CACHE). `import hf_emms` also installs it,
    unless HF_EMMS_INSTALL_METRIC=0 is set.
    """


@metric.command()
def install() -> None:
    """Install the metric for evaluate.load("emms"), and print the path of its module."""
    out.data(str(installation.install()))
    out.message('evaluate.load("emms") finds it, online and offline')


@metric.command()
def uninstall() -> None:
    """Remove the metric. `import hf_emms` will not install it again."""
    removed = installation.uninstall()
    out.message("\n".join(f"removed {folder}" for folder in removed) or "the metric was not installed")
    out.message("hf-emms metric install installs it again")


@metric.command()
def path() -> None:
    """Print the folder of the metric. evaluate.load accepts it, and hf-emms publish metric uploads it."""
    out.data(str(installation.source_folder()))
    try:
        state = "installed as" if installation.is_installed() else "not installed as"
        out.message(f"{state} {installation.installed_module()}")
    except EmmsError as error:
        out.message(f"not installed: {error}")


@cloup.group(short_help="Publish to the Hub: rankings, the metric, the leaderboard.")
def publish() -> None:
    """Write to your repositories on the Hub. Log in first: hf auth login."""


_hardware_option = cloup.option(
    "--hardware",
    metavar="NAME",
    help="Hardware of the Space: cpu-basic (paid), zero-a10g (two are free), … [default: free hardware, if any].",
)


@publish.command("metric", short_help="Publish the metric as a static Space.")
@cloup.option("--repo-id", required=True, metavar="USER/emms", help="Space.")
@cloup.option("--private", is_flag=True, help="Make a new Space private.")
def publish_metric_space(repo_id: str, private: bool) -> None:
    """Publish the metric as a static Space for evaluate.load("USER/emms"), and print the URL of the commit."""
    from hf_emms.publish.metric import publish_metric

    out.data(publish_metric(repo_id, private=private))
    out.message(f'published: evaluate.load("{repo_id}") loads it where hf-emms is installed')


@publish.command(short_help="Publish the leaderboard as a Space.")
@cloup.option("--repo-id", required=True, metavar="ORG/emms-leaderboard", help="Space; created if needed.")
@cloup.option("--results", required=True, metavar="ORG/emms-results", help="Results dataset that the Space shows.")
@cloup.option(
    "--static",
    is_flag=True,
    help="Publish static pages, which need no server and are free. Publish again to update them.",
)
@_hardware_option
@cloup.option("--private", is_flag=True, help="Make a new Space private.")
@cloup.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME",
    help="Environment variable that becomes a secret of the Space, such as HF_TOKEN for a private dataset.",
)
@cloup.option("--wait/--no-wait", default=True, show_default=True, help="Wait until the Space runs.")
@cloup.option("--dry-run", is_flag=True, help="List the files without publishing them.")
def space(repo_id: str, results: str, static: bool, wait: bool, dry_run: bool, **options: Any) -> None:
    """Publish the leaderboard as a Space in one commit, and print its URL.

    A Gradio Space follows the results dataset. It needs a paid plan, or one of the two ZeroGPU Spaces of a free
    account. A --static Space is free and shows the dataset as it is now.

    An existing Space is updated. Secrets are stored in the settings of the Space, not in files.
    """
    from hf_emms.publish import space as leaderboard

    if static and (options["hardware"] or options["secrets"]):
        raise EmmsError(
            "a static Space has no hardware and no secrets", "leave out --hardware and --secret, or --static"
        )
    if dry_run:
        out.data("\n".join(("README.md", "index.html", "views/*.html.gz") if static else leaderboard.files()))
        out.message(f"Nothing was published. These files would go to the Space {repo_id}, which would show {results}.")
        return
    out.message(f"Publishing {repo_id} …")
    published = leaderboard.publish(repo_id, results, static=static, wait=wait, **options)
    out.data(published.url)
    out.message(f"commit: {published.commit}")
    if published.stage is not None:
        out.message(f"The Space is at {published.stage}.")
    for problem in published.problems:
        out.message(f"not shown: {problem}")


@cloup.command("results")
@cloup.option("--repo-id", required=True, metavar="ORG/emms-results", help="Dataset; created if needed.")
@ranking_files_option(
    "File of hf-emms rank --output; repeat for several [default: all saved rankings of Hub datasets].",
    required=False,
)
@cloup.option("--private", is_flag=True, help="Make a new dataset private.")
@cloup.option("--create-pr", is_flag=True, help="Open a pull request at an existing dataset instead of committing.")
@cloup.option(
    "--space", "space_id", metavar="ORG/emms-leaderboard", help="Leaderboard of the dataset to publish again."
)
def publish_results(
    repo_id: str, files: tuple[Path, ...], private: bool, create_pr: bool, space_id: str | None
) -> None:
    """Publish rankings as a dataset, and print the URL of the commit or pull request.

    Adds checkpoints to a published ranking with the same settings. If nothing is new, makes no commit.
    """
    from hf_emms import hub
    from hf_emms.publish import results
    from hf_emms.publish import space as leaderboard
    from hf_emms.ranking import Ranking

    account = hub.who_am_i()
    if create_pr and space_id is not None:
        raise EmmsError("a pull request does not change the dataset yet", "leave out --space")
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
    out.message(f"{repo_id} already has {what}" if outcome.state == "unchanged" else done)
    if space_id is not None:
        published = leaderboard.publish(space_id, repo_id, static=static, wait=False)
        out.message(f"{published.url} shows it")


@cloup.group(short_help="Read from the Hub: published rankings.")
def pull() -> None:
    """Read published rankings from the Hub."""


@pull.command("results")
@cloup.option("--repo-id", required=True, metavar="ORG/emms-results[@REVISION]", help="Results dataset.")
@results_folder_option("Folder for the rankings, one JSON file each.")
@format_option()
def pull_results(repo_id: str, folder: Path) -> None:
    """Download published rankings, and print one line per file."""
    from hf_emms.publish import results
    from hf_emms.ranking.verdict import pick

    with stdout_for_data_only():
        rankings, problems = results.pull(repo_id)
    lines = []
    for path, ranking in rankings.items():
        file = folder / f"{path}.json"
        try:
            write_atomic(file, ranking.to_json())
        except OSError as error:
            raise EmmsError(f"cannot write {file}: {error.strerror or error}", "--output DIR") from error
        best = chosen.checkpoint if (chosen := pick(ranking)) else ""
        lines.append((str(file), ranking.dataset_id, ranking.task, len(ranking.rows), best))
    out.records(("file", "dataset", "task", "checkpoints", "best"), lines)
    for problem in problems:
        out.message(f"not read: {problem}")
    if problems:
        raise EmmsError(f"{len(problems)} of the rankings in {repo_id} could not be read", "see above")


def _cached_rankings() -> list[Ranking]:
    """Return the saved rankings of Hub datasets."""
    from hf_emms.cache import default_root
    from hf_emms.ranking import Ranking, is_commit

    folder = default_root() / "rankings"
    rankings = []
    for file in sorted(folder.glob("*.json")):
        try:
            ranking = Ranking.load(file)
        except EmmsError as error:
            out.message(f"skipped {file}: {error.message}")
            continue
        if is_commit(ranking.dataset_revision):
            rankings.append(ranking)
        else:
            out.message(f"skipped {file}: {ranking.dataset_id} is not a Hub dataset (--ranking publishes it anyway)")
    if not rankings:
        raise EmmsError(
            f"{folder} contains no ranking", "choose a file: --ranking FILE; hf-emms rank … --output FILE writes it"
        )
    return rankings


@cloup.command(short_help="Browse rankings in the browser.")
@cloup.option("--results", metavar="DIR|REPO", help="Folder with rankings, or a results dataset [default: the demo].")
@cloup.option("--port", type=click.IntRange(1, 65535), help="[default: the first free port, starting at 7860]")
def leaderboard(results: str | None, port: int | None) -> None:
    """Serve the leaderboard on this machine: tables, comparisons, a shortlist, and the same as JSON.

    New rankings in the folder appear at once. Press Ctrl-C to stop.
    """
    from hf_emms.publish import local_server

    environment = _source(results)
    with _listen((port,) if port else range(7860, 7960)) as listener:
        out.message(f"http://127.0.0.1:{listener.getsockname()[1]} shows the leaderboard. Press Ctrl-C to stop.")
        local_server.serve(environment, listener)


def _source(results: str | None) -> dict[str, str]:
    from hf_emms import hub

    if results is None:
        return {"EMMS_RESULTS": str(_demo_rankings())}
    if Path(results).is_dir():
        return {"EMMS_RESULTS": str(Path(results).resolve())}
    if hub.looks_like_path(results):
        raise EmmsError(
            f"there is no folder {results!r}", "hf-emms rank … --output DIR/NAME.json writes rankings there"
        )
    hub.resolve(results, "dataset")
    return {"EMMS_RESULTS_REPO": results}


def _demo_rankings() -> Path:
    """Return the folder with the demo's rankings of this version, which another process computes once."""
    from hf_emms.cache import default_root

    folder = default_root() / f"demo-{__version__}"
    if not any(folder.glob("card-*.md")):  # the last file that it writes
        out.message("Ranking the demo, once. --results shows other rankings.")
        command = [sys.executable, "-m", "hf_emms", "demo", "--output", str(folder)]
        if status := subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode:
            sys.exit(status)
    return folder


def _listen(ports: Iterable[int]) -> socket.socket:
    """Return a socket that is bound to the first free port."""
    for port in ports:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            listener.close()
            problem = f"port {port} cannot be used: {error.strerror}"
        else:
            return listener
    raise EmmsError(problem, "--port ANOTHER")
