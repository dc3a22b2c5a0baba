"""hf-emms publish …: what goes to the Hub."""

from __future__ import annotations

import click

from hf_emms.cli import output


@click.group(short_help="Publish to the Hub: rankings, the metric, the leaderboard.")
def publish() -> None:
    """Write to repositories of your own on the Hub; `hf auth login` first."""


@publish.command(short_help="Publish the metric as a Gradio Space.")
@click.option("--repo-id", required=True, metavar="USER/emms", help="The Space.")
@click.option("--private", is_flag=True, help="Make a new Space private.")
def metric(repo_id: str, private: bool) -> None:
    """Publish the metric as a Gradio Space, for evaluate.load("USER/emms"); prints the commit's address."""
    from hf_emms.publish import publish_metric

    output.emit(publish_metric(repo_id, private=private))
    output.say(f'published: evaluate.load("{repo_id}") loads it where hf-emms is installed')


@publish.command(short_help="Publish the leaderboard as a Gradio Space.")
@click.option("--repo-id", required=True, metavar="ORG/emms-leaderboard", help="The Space; made where there is none.")
@click.option("--results", required=True, metavar="ORG/emms-results", help="The results dataset that it shows.")
@click.option("--private", is_flag=True, help="Make a new Space private.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME",
    help="Environment variable whose value becomes a secret of the Space, such as HF_TOKEN for a private dataset.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is built and runs.")
@click.option("--dry-run", is_flag=True, help="List the files and write nothing.")
def space(repo_id: str, results: str, private: bool, secrets: tuple[str, ...], wait: bool, dry_run: bool) -> None:
    """Publish the leaderboard as a Gradio Space in one commit; prints its address.

    An existing Space is updated. Secrets are set through the Hub's settings and are in no file.
    """
    from hf_emms import space as leaderboard

    if dry_run:
        output.emit("\n".join(leaderboard.files()))
        output.say(f"nothing was written: these files would go to the Space {repo_id}, which would show {results}")
        return
    published = leaderboard.publish(
        repo_id,
        results,
        private=private,
        secrets=secrets,
        wait=wait,
        progress=lambda stage: output.say(f"the Space is at {stage}"),
    )
    output.emit(published.url)
    output.say(f"commit: {published.commit}")
