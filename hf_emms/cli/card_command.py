"""hf-emms card."""

from __future__ import annotations

from pathlib import Path

import click
import cloup

from hf_emms.cli.hub_writes import OUTCOMES, ask, yes_option
from hf_emms.cli.output import out, ranking_files_option


@cloup.command(short_help="Write a ranking into model and dataset cards.")
@cloup.option_group(
    "Card",
    ranking_files_option("File of hf-emms rank --output FILE.json; repeat for several datasets."),
    cloup.option("--repo-id", metavar="ORG/NAME", help="Model whose card changes."),
    cloup.option("--dataset-id", metavar="ORG/NAME", help="Dataset whose card changes: it lists the best checkpoints."),
    cloup.option("--checkpoint", metavar="NAME", help="Name of the model in the ranking [default: --repo-id]."),
    cloup.option("--results", metavar="ORG/emms-results", help="Results dataset from which readers install hf-emms."),
)
@cloup.option_group(
    "Publishing",
    cloup.option("--push", is_flag=True, help="Commit the change instead of showing it."),
    cloup.option("--create-pr", is_flag=True, help="Open a pull request, or update your open one."),
    yes_option(),
)
def card(
    files: tuple[Path, ...],
    repo_id: str | None,
    dataset_id: str | None,
    checkpoint: str | None,
    results: str | None,
    push: bool,
    create_pr: bool,
    yes: bool,
) -> None:
    """Write a ranking into the README of a checkpoint or of a dataset.

    Prints the change as a unified diff, and asks before it writes. Only lines between the hf-emms markers change; the
    entries of other datasets stay.
    """
    if (repo_id is None) == (dataset_id is None):
        raise click.UsageError("Pass --repo-id or --dataset-id.")
    if push and create_pr:
        raise click.UsageError("Pass --push or --create-pr, not both.")
    if checkpoint is not None and repo_id is None:
        raise click.UsageError("--checkpoint goes with --repo-id.")
    from hf_emms import hub
    from hf_emms.publish import cards
    from hf_emms.ranking import Ranking

    id = repo_id or dataset_id or ""
    kind: cards.CardKind = "model" if repo_id else "dataset"
    account = hub.who_am_i() if push or create_pr else None
    if account is not None and push:
        hub.require_push(account, id, kind, instead="--create-pr proposes the change to its owner")
    elif account is not None:
        hub.require_write_token(account, f"open a pull request at {id}")
    rankings = [Ranking.load(file) for file in files]
    made = cards.card_of(rankings, id, kind, checkpoint=checkpoint, results=results)
    diff = made.preview()
    if not diff:
        out.message(f"nothing to change in {id}")
        return
    if account is None:
        out.data(diff)
        out.message("--push commits this, --create-pr proposes it.")
        return
    out.message(diff)
    ask(f"{'Commit this to' if push else 'Propose this to the owner of'} {id}?", yes=yes)
    outcome = made.push() if push else made.propose(account)
    out.data(outcome.url)
    out.message(f"{OUTCOMES[outcome.state]} {id}: {outcome.url}")
