"""hf-emms card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

from hf_emms.cli.output import out, ranking_files_option
from hf_emms.errors import EmmsError

if TYPE_CHECKING:
    from hf_emms.hub import Account, Kind, Outcome
    from hf_emms.publish.cards import Card

_STATES = {
    "unchanged": "nothing to change in",
    "pushed": "committed to",
    "opened": "opened a pull request at",
    "updated": "updated the pull request at",
    "declined": "the owner closed our pull request; --ask-again opens a new one for",
}


@cloup.command(short_help="Write a ranking into model and dataset cards.")
@cloup.option_group(
    "Card",
    ranking_files_option("File of hf-emms rank --output FILE.json; repeat for several datasets."),
    cloup.option("--repo-id", metavar="ORG/NAME", help="Model whose card changes."),
    cloup.option("--dataset-id", metavar="ORG/NAME", help="Dataset whose card changes: it lists the best checkpoints."),
    cloup.option(
        "--all",
        "every",
        is_flag=True,
        help="Change the cards of all checkpoints: commit to your own, show the changes of others.",
    ),
    cloup.option("--checkpoint", metavar="NAME", help="Name of the model in the ranking [default: --repo-id]."),
    cloup.option("--leaderboard", metavar="ORG/SPACE", help="Space with the full ranking, to link to."),
)
@cloup.option_group(
    "Publishing",
    cloup.option("--push", is_flag=True, help="Commit the change instead of showing it."),
    cloup.option("--create-pr", is_flag=True, help="Open a pull request, or update your open one."),
    cloup.option("--ask-again", is_flag=True, help="Open a pull request even if the owner closed an earlier one."),
    cloup.option("--dry-run", is_flag=True, help="With --all: only show the changes."),
)
def card(
    files: tuple[Path, ...],
    repo_id: str | None,
    dataset_id: str | None,
    every: bool,
    checkpoint: str | None,
    push: bool,
    create_pr: bool,
    ask_again: bool,
    dry_run: bool,
    leaderboard: str | None,
) -> None:
    """Write a ranking into the README of a checkpoint or of a dataset.

    Prints the change as a unified diff. Only lines between the hf-emms markers change; the entries of other datasets
    stay.
    """
    if [repo_id is not None, dataset_id is not None, every].count(True) != 1:
        raise click.UsageError("Pass --repo-id, --dataset-id or --all.")
    if push and create_pr and not every:
        raise click.UsageError("Pass --push or --create-pr, not both.")
    if checkpoint is not None and repo_id is None:
        raise click.UsageError("--checkpoint goes with --repo-id.")
    from hf_emms import hub
    from hf_emms.publish import cards
    from hf_emms.ranking import Ranking

    if every:
        _write_all(files, create_pr=create_pr, ask_again=ask_again, dry_run=dry_run, leaderboard=leaderboard)
        return
    account = None
    if (push or create_pr) and not dry_run:
        account = hub.who_am_i()
        id = repo_id or dataset_id or ""
        kind: Kind = "model" if repo_id else "dataset"
        if push:
            hub.require_push(account, id, kind, instead="--create-pr proposes the change to its owner")
        else:
            hub.require_proposal(account, id, kind)
    rankings = [Ranking.load(file) for file in files]
    if repo_id is not None:
        made = cards.model_card(rankings, repo_id, checkpoint=checkpoint, leaderboard=leaderboard)
    else:
        made = cards.dataset_card(rankings, dataset_id or "", leaderboard=leaderboard)
    if account is None:
        if _print_changes(made):
            out.message("--push commits this, --create-pr proposes it.")
        else:
            out.message(f"nothing to change in {made.repo_id}")
        return
    outcome = cards.push(made) if push else cards.propose(made, account, again=ask_again)
    out.data(outcome.url)
    out.message(_outcome_line(made, outcome))


def _write_all(
    files: tuple[Path, ...], *, create_pr: bool, ask_again: bool, dry_run: bool, leaderboard: str | None
) -> None:
    """Write the cards of all checkpoints. Skips cards that are up to date, so users can repeat a stopped run."""
    from hf_emms import hub
    from hf_emms.publish import cards
    from hf_emms.ranking import Ranking

    account = None if dry_run else hub.who_am_i()
    changes, left_out = cards.model_cards([Ranking.load(file) for file in files], leaderboard=leaderboard)
    for made in changes:
        if account is None:
            break
        if account.owns(made.repo_id):
            hub.require_push(account, made.repo_id, made.kind, instead="--dry-run only shows the changes")
        elif create_pr:
            hub.require_proposal(account, made.repo_id, made.kind)
    for reason in left_out:
        out.message(f"skipped: {reason}")
    failed = 0
    for number, made in enumerate(changes, start=1):
        try:
            line = _write(made, account, create_pr=create_pr, ask_again=ask_again)
        except EmmsError as error:
            failed += 1
            line = f"{made.repo_id}: {error}"
        out.message(f"[{number}/{len(changes)}] {line}")
    if account is not None and not create_pr and not all(account.owns(made.repo_id) for made in changes):
        out.message("--create-pr proposes the changes to the owners of the other cards.")
    if failed:
        raise EmmsError(f"{failed} of {len(changes)} cards failed", "run the same command again")


def _write(made: Card, account: Account | None, *, create_pr: bool, ask_again: bool) -> str:
    """Commit to an own card; propose or show the change of another card. Return a message about the action."""
    from hf_emms.publish import cards

    if account is not None and account.owns(made.repo_id):
        return _outcome_line(made, cards.push(made))
    if account is not None and create_pr:
        return _outcome_line(made, cards.propose(made, account, again=ask_again))
    return f"{made.repo_id}: shown only" if _print_changes(made) else f"{made.repo_id}: nothing to change"


def _print_changes(made: Card) -> bool:
    from hf_emms.publish import cards

    diff = cards.preview(made)
    if diff:
        out.data(diff)
    return bool(diff)


def _outcome_line(made: Card, outcome: Outcome) -> str:
    return f"{_STATES[outcome.state]} {made.repo_id}: {outcome.url}"
