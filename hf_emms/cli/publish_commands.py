"""hf-emms publish and leaderboard."""

from __future__ import annotations

import socket
from pathlib import Path

import click
import cloup

from hf_emms.cli.hub_writes import OUTCOMES, ask, dry_run_option, file_list, yes_option
from hf_emms.cli.output import out, ranking_files_option
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize


@cloup.group(short_help="Publish rankings and the leaderboard to the Hub.")
def publish() -> None:
    """Write to your repositories on the Hub. Log in first: hf auth login."""


@publish.command(short_help="Publish the leaderboard as a Space.")
@cloup.option("--repo-id", required=True, metavar="ORG/emms-leaderboard", help="Space; created if needed.")
@cloup.option("--results", required=True, metavar="ORG/emms-results", help="Results dataset that the Space shows.")
@cloup.option(
    "--static",
    is_flag=True,
    help="Publish static pages, which need no server and are free. Publish again to update them.",
)
@cloup.option(
    "--hardware",
    metavar="NAME",
    help="Hardware of the Space: cpu-basic (paid), zero-a10g (two are free), … [default: free hardware, if any].",
)
@cloup.option("--private", is_flag=True, help="Make a new Space private.")
@dry_run_option()
@yes_option()
def space(
    repo_id: str, results: str, static: bool, hardware: str | None, private: bool, dry_run: bool, yes: bool
) -> None:
    """Publish the leaderboard as a Space in one commit, and print its URL. Asks before it writes.

    A Gradio Space follows the results dataset. It needs a paid plan, or one of the two ZeroGPU Spaces of a free
    account. A --static Space is free and shows the dataset as it is now.

    An existing Space is updated. For a private dataset, add HF_TOKEN to the secrets in the settings of the Space.
    """
    from hf_emms.publish import space as leaderboard

    if static and hardware:
        raise EmmsError(
            "settings-exclude-each-other", "a static Space has no hardware", "leave out --hardware or --static"
        )
    names = "\n".join(("README.md", "index.html", "views/*.html.gz") if static else leaderboard.files())
    if dry_run:
        out.data(names)
        out.message(f"Nothing was published. These files would go to the Space {repo_id}, which would show {results}.")
        return
    out.message(names)
    kind = "static" if static else "Gradio"
    ask(f"Publish the {kind} Space {repo_id}, which shows {results}, and replace the files of an older one?", yes=yes)
    out.message(f"Publishing {repo_id} …")
    published = leaderboard.publish(repo_id, results, static=static, hardware=hardware, private=private)
    out.data(published.url)
    out.message(f"commit: {published.commit}")
    for problem in published.problems:
        out.message(f"not shown: {problem}")


@cloup.command("results")
@cloup.option("--repo-id", required=True, metavar="ORG/emms-results", help="Dataset; created if needed.")
@ranking_files_option("File of hf-emms rank --output; repeat for several.", required=False)
@cloup.option("--private", is_flag=True, help="Make a new dataset private.")
@cloup.option("--create-pr", is_flag=True, help="Open a pull request on a dataset of others, or update your open one.")
@dry_run_option()
@yes_option()
def publish_results(
    repo_id: str, files: tuple[Path, ...], private: bool, create_pr: bool, dry_run: bool, yes: bool
) -> None:
    """Publish rankings as a dataset, and print the URL of the commit. Lists the files and asks before it writes.

    Adds checkpoints to a published ranking with the same settings. Also merges the files of merged pull requests, and
    writes missing Parquet files; this needs no --ranking. If nothing is new, makes no commit.
    """
    from hf_emms import hub
    from hf_emms.publish import results
    from hf_emms.ranking import Ranking

    if create_pr and not files:
        raise EmmsError("settings-missing", "a pull request needs a ranking", "--ranking FILE")
    account = hub.who_am_i()
    if create_pr:
        hub.require_write_token(account, f"open a pull request at {repo_id}")
    else:
        hub.require_push(account, repo_id, "dataset", instead="--create-pr proposes the rankings to its owner")
    rankings = [Ranking.load(file) for file in files]
    skipped: list[str] = []
    changes = results.submission(rankings, repo_id) if create_pr else results.planned(rankings, repo_id, skipped)
    for problem in skipped:
        out.message(f"not merged: {problem}")
    what = pluralize(len(rankings), "ranking")
    if not changes:
        out.message(f"{repo_id} already has {what}")
        return
    if dry_run:
        out.data(file_list(changes))
        out.message(f"Nothing was published. These files would go to the dataset {repo_id}.")
        return
    out.message(file_list(changes))
    ask(f"{'Propose' if create_pr else 'Publish'} these files in the dataset {repo_id}?", yes=yes)
    if create_pr:
        outcome = results.propose(rankings, repo_id, account)
    else:
        outcome = results.publish(rankings, repo_id, private=private)
    out.data(outcome.url)
    out.message(f"{OUTCOMES[outcome.state]} {repo_id}: {what}")


@cloup.command(short_help="Browse rankings in the browser.")
@cloup.option("--results", required=True, metavar="DIR|REPO", help="Folder with rankings, or a results dataset.")
@cloup.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True, help="Port of the server.")
@cloup.option(
    "--host", "hosts", multiple=True, metavar="NAME", help="Name of this machine in addresses, as for a proxy."
)
def leaderboard(results: str, port: int, hosts: tuple[str, ...]) -> None:
    """Serve the leaderboard on this machine: rankings, ranks across datasets, costs, and the same as JSON.

    New rankings in the folder appear at once. Press Ctrl-C to stop.
    """
    from hf_emms import hub
    from hf_emms.publish import local_server

    if Path(results).is_dir():
        environment = {"EMMS_RESULTS": str(Path(results).resolve())}
    else:
        hub.resolve(results, "dataset")
        environment = {"EMMS_RESULTS_REPO": results}
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise EmmsError("port-unusable", f"port {port} cannot be used: {error.strerror}", "--port ANOTHER") from error
    with listener:
        out.message(f"http://127.0.0.1:{port} shows the leaderboard. Press Ctrl-C to stop.")
        local_server.serve(environment, listener, hosts)
