"""hf-emms publish …: what goes to the Hub."""

from __future__ import annotations

import click

from hf_emms.cli import output


@click.group(short_help="Publish to the Hub: rankings, the metric.")
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
