"""hf-emms card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import cloup

from hf_emms.cli.output import out
from hf_emms.errors import EmmsError

if TYPE_CHECKING:
    from hf_emms.hub import Account, Kind, Outcome
    from hf_emms.publish.cards import Card
    from hf_emms.ranking import Ranking


_STATES = {
    "unchanged": "nothing to change in",
    "pushed": "committed to",
    "opened": "opened a pull request at",
    "updated": "updated the pull request at",
    "declined": "its owner has closed our pull request; --ask-again opens another one for",
}


@cloup.command(short_help="Put a ranking into model and dataset cards.")
@cloup.option_group(
    "Card",
    cloup.option(
        "--ranking",
        "files",
        required=True,
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="What hf-emms rank --output wrote (.json or .parquet); repeat for several datasets.",
    ),
    cloup.option("--repo-id", metavar="ORG/NAME", help="The model whose card it is."),
    cloup.option(
        "--dataset-id", metavar="ORG/NAME", help="The dataset whose card it is: the best checkpoints to start from."
    ),
    cloup.option(
        "--all",
        "every",
        is_flag=True,
        help="The cards of all checkpoints: your own are committed to, those of others are shown.",
    ),
    cloup.option("--checkpoint", metavar="NAME", help="The model's name in the ranking [default: --repo-id]."),
    cloup.option("--leaderboard", metavar="ORG/SPACE", help="The Space that shows the whole ranking, for a link."),
)
@cloup.option_group(
    "Publishing",
    cloup.option("--push", is_flag=True, help="Commit to the repository instead of showing the change."),
    cloup.option("--create-pr", is_flag=True, help="Open a pull request, or update the one that you opened before."),
    cloup.option("--ask-again", is_flag=True, help="Open a pull request even where its owner closed an earlier one."),
    cloup.option("--dry-run", is_flag=True, help="With --all: only show what would change."),
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

    Prints the change as a unified diff. Only the lines between our markers are touched; those of other datasets stay.
    """
    if [repo_id is not None, dataset_id is not None, every].count(True) != 1:
        raise click.UsageError("Pass one of --repo-id, --dataset-id and --all.")
    if push and create_pr and not every:
        raise click.UsageError("Pass --push or --create-pr, not both.")
    if checkpoint is not None and repo_id is None:
        raise click.UsageError("--checkpoint goes with --repo-id.")
    from hf_emms.publish import cards

    if every:
        _all(files, create_pr=create_pr, again=ask_again, dry_run=dry_run, leaderboard=leaderboard)
        return
    account = _allowed(repo_id or dataset_id or "", "model" if repo_id else "dataset", push, create_pr, dry_run)
    rankings = [read_ranking(file) for file in files]
    if repo_id is not None:
        one = cards.model_card(rankings, repo_id, checkpoint=checkpoint, leaderboard=leaderboard)
    else:
        one = cards.dataset_card(rankings, dataset_id or "", leaderboard=leaderboard)
    if account is None:
        shown = _show(one)
        out.message("--push commits this, --create-pr proposes it." if shown else f"nothing to change in {one.repo_id}")
        return
    outcome = cards.push(one) if push else cards.propose(one, account, again=ask_again)
    out.data(outcome.url)
    out.message(_outcome_line(one, outcome))


def read_ranking(file: Path) -> Ranking:
    """A ranking from a .json or .parquet file.

    Raises:
        EmmsError: no such file, or not a ranking.
    """
    from hf_emms.ranking import Ranking

    return Ranking.load(file)


def _allowed(id: str, kind: Kind, push: bool, create_pr: bool, dry_run: bool) -> Account | None:
    """Who writes; None where nothing will be written."""
    from hf_emms import hub

    if dry_run or not (push or create_pr):
        return None
    account = hub.who_am_i()
    if push:
        hub.require_push(account, id, kind, instead="--create-pr proposes the change to its owner")
    else:
        hub.require_proposal(account, id, kind)
    return account


def _all(files: tuple[Path, ...], *, create_pr: bool, again: bool, dry_run: bool, leaderboard: str | None) -> None:
    """Every card of some rankings. Cards that are up to date are skipped, so a stopped run can be repeated."""
    from hf_emms import hub
    from hf_emms.publish import cards

    account = None if dry_run else hub.who_am_i()
    made, left_out = cards.model_cards([read_ranking(file) for file in files], leaderboard=leaderboard)
    if account is not None:
        _check_rights(account, made, create_pr)
    for reason in left_out:
        out.message(f"left out: {reason}")
    failed = 0
    for number, one in enumerate(made, start=1):
        try:
            line = _treat(one, account, create_pr=create_pr, again=again)
        except EmmsError as error:
            failed += 1
            line = f"{one.repo_id}: {error}"
        out.message(f"[{number}/{len(made)}] {line}")
    if account is not None and not create_pr and not all(account.owns(one.repo_id) for one in made):
        out.message("--create-pr proposes the changes of other people's cards to them.")
    if failed:
        raise EmmsError(f"{failed} of {len(made)} cards could not be done", "run the same command again")


def _check_rights(account: Account, made: list[Card], create_pr: bool) -> None:
    from hf_emms import hub

    for one in made:
        if account.owns(one.repo_id):
            hub.require_push(account, one.repo_id, one.kind, instead="--dry-run only shows the changes")
        elif create_pr:
            hub.require_proposal(account, one.repo_id, one.kind)


def _treat(one: Card, account: Account | None, *, create_pr: bool, again: bool) -> str:
    """Commits to an own card, proposes or shows the change of another; returns what was done."""
    from hf_emms.publish import cards

    if account is not None and account.owns(one.repo_id):
        return _outcome_line(one, cards.push(one))
    if account is not None and create_pr:
        return _outcome_line(one, cards.propose(one, account, again=again))
    return f"{one.repo_id}: shown only" if _show(one) else f"{one.repo_id}: nothing to change"


def _show(one: Card) -> bool:
    """Prints the change; returns whether there is one."""
    from hf_emms.publish import cards

    diff = cards.preview(one)
    if diff and sys.stdout.isatty():
        # What could steer the terminal is shown escaped; a pipe gets the bytes that patch needs.
        diff = "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in diff)
    if diff:
        out.data(diff)
    return bool(diff)


def _outcome_line(one: Card, outcome: Outcome) -> str:
    return f"{_STATES[outcome.state]} {one.repo_id}: {outcome.url}"
