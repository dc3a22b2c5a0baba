"""Cards on the Hub: the change that rankings make in a README, shown, committed or proposed."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from hf_emms import hub
from hf_emms.errors import EmmsError
from hf_emms.publish.cards import splice
from hf_emms.publish.cards.entries import Entry, of_checkpoint, of_dataset, unpacked, with_entry
from hf_emms.publish.cards.render import dataset_section, model_section, rendered_template, text
from hf_emms.ranking.records import Ranking, Row, is_commit


def update_model_card(
    readme: bytes | None,
    rankings: Sequence[tuple[Ranking, str]],
    repo_id: str,
    *,
    leaderboard: str | None = None,
) -> bytes:
    """A model's README with a section on some rankings.

    Args:
        readme: as it is; None where there is none yet.
        rankings: each with the checkpoint's id in it.
        repo_id: the model, for the title of a new README.
        leaderboard: the Space (ORG/NAME) that shows the rankings.

    Returns:
        The README; rows of other datasets stay, and every byte outside the section.

    Raises:
        EmmsError: the markers or the data between them are broken, or a ranking has no score for the checkpoint.
    """
    new = [of_checkpoint(ranking, name, leaderboard=leaderboard) for ranking, name in rankings]
    entries = _merged(readme, new, "model")
    return splice.put(readme or _new("tags:\n- emms\n", repo_id), model_section(entries))


def update_dataset_card(
    readme: bytes | None, rankings: Sequence[Ranking], repo_id: str, *, leaderboard: str | None = None
) -> bytes:
    """A dataset's README with the checkpoints to start from; see `update_model_card`."""
    new = [of_dataset(ranking, leaderboard=leaderboard) for ranking in rankings]
    entries = _merged(readme, new, "dataset")
    tasks = "".join(f"- {task}\n" for task in dict.fromkeys(ranking.task for ranking in rankings))
    return splice.put(readme or _new(f"task_categories:\n{tasks}", repo_id), dataset_section(entries))


def _merged(readme: bytes | None, new: Sequence[Entry], about: str) -> tuple[Entry, ...]:
    entries = unpacked(splice.data_of(readme or b""), about)
    for entry in new:
        entries = with_entry(entries, entry)
    return entries


def _new(front_matter: str, repo_id: str) -> bytes:
    """The least that the Hub takes for a card."""
    return f"---\n{front_matter}---\n\n# {text(repo_id.rpartition('/')[2])}\n".encode()


README = "README.md"

_TITLES = {
    "model": "Add transferability estimates (EMMS)",
    "dataset": "Add checkpoints to start from (EMMS)",
}


@dataclass(frozen=True)
class Card:
    """One README of the Hub and what it should become.

    Attributes:
        repo_id: "ORG/NAME".
        kind: "model" or "dataset".
        rankings: that it shows.
        updated: the README's new bytes from its old ones (None where there is none).
    """

    repo_id: str
    kind: Literal["model", "dataset"]
    rankings: tuple[Ranking, ...]
    updated: Callable[[bytes | None], bytes]


def model_card(
    rankings: Sequence[Ranking], repo_id: str, *, checkpoint: str | None = None, leaderboard: str | None = None
) -> Card:
    """The card of a checkpoint.

    Args:
        rankings: each has to hold it.
        repo_id: the model repository.
        checkpoint: its name in the rankings, where that is not the repository's (a folder, say).
        leaderboard: the Space (ORG/NAME) that shows the rankings.

    Raises:
        EmmsError: a ranking doesn't hold the checkpoint, or has no score for it.
    """
    named = [(ranking, _row(ranking, repo_id, checkpoint).checkpoint) for ranking in rankings]
    # A ranking that cannot be shown is an error before the first request.
    update_model_card(None, named, repo_id, leaderboard=leaderboard)
    return _model_card(named, repo_id, leaderboard)


def dataset_card(rankings: Sequence[Ranking], repo_id: str, *, leaderboard: str | None = None) -> Card:
    """The card of a dataset: the best checkpoints to start from.

    Raises:
        EmmsError: a ranking is of another dataset, or has no scored checkpoint.
    """
    for ranking in rankings:
        if ranking.dataset_id != repo_id:
            raise EmmsError(
                f"the ranking is of the dataset {ranking.dataset_id!r}, not of {repo_id!r}",
                f"--dataset-id {ranking.dataset_id}",
            )
    update_dataset_card(None, rankings, repo_id, leaderboard=leaderboard)
    updated = partial(update_dataset_card, rankings=rankings, repo_id=repo_id, leaderboard=leaderboard)
    return Card(repo_id, "dataset", tuple(rankings), updated)


def model_cards(rankings: Sequence[Ranking], *, leaderboard: str | None = None) -> tuple[list[Card], list[str]]:
    """The cards of all checkpoints, in the order of the first ranking that holds them.

    Returns:
        The cards, and in words why some checkpoints have none.
    """
    named: dict[str, list[tuple[Ranking, str]]] = {}
    left_out = []
    for ranking in rankings:
        for row in ranking.rows:
            known = named.setdefault(row.checkpoint.partition("@")[0], [])
            if row.rank is None:
                left_out.append(f"{row.checkpoint}: not scored ({row.error})")
            elif row.n is not None:
                left_out.append(f"{row.checkpoint}: a race stopped it after {row.n:,} of {ranking.n:,} rows")
            elif not is_commit(row.revision):
                left_out.append(f"{row.checkpoint}: not a repository of the Hub")
            elif any(ranking is other for other, _ in known):
                left_out.append(f"{row.checkpoint}: another revision is ranked above it")
            else:
                known.append((ranking, row.checkpoint))
    made = [_model_card(known, name, leaderboard) for name, known in named.items() if known]
    return made, left_out


def preview(card: Card) -> str:
    """The change as a unified diff; empty where there is none.

    Raises:
        EmmsError: the repository cannot be read, or its README cannot be changed.
    """
    before = hub.read_file(card.repo_id, card.kind, README)
    return "".join(_diff(before, _updated(card, before)))


def push(card: Card) -> hub.Outcome:
    """Commits the change to main.

    Raises:
        EmmsError: no rights, broken markers, or the Hub cannot be reached.
    """
    return hub.push(card.repo_id, card.kind, _change(card), title=_TITLES[card.kind])


def propose(card: Card, account: hub.Account, *, again: bool = False) -> hub.Outcome:
    """Opens a pull request, or updates the one that the account has opened before.

    Args:
        card: the change.
        account: who proposes.
        again: even where the owner has closed an earlier one.

    Raises:
        EmmsError: broken markers, or the Hub cannot be reached.
    """
    description = rendered_template("pr_description.md.jinja", card=card)
    return hub.propose(
        card.repo_id,
        card.kind,
        _change(card),
        account=account,
        title=_TITLES[card.kind],
        description=description,
        again=again,
    )


def _model_card(named: Sequence[tuple[Ranking, str]], repo_id: str, leaderboard: str | None) -> Card:
    updated = partial(update_model_card, rankings=named, repo_id=repo_id, leaderboard=leaderboard)
    return Card(repo_id, "model", tuple(ranking for ranking, _ in named), updated)


def _change(card: Card) -> Callable[[hub.FileReader], dict[str, bytes]]:
    return lambda read: {README: _updated(card, read(README))}


def _updated(card: Card, readme: bytes | None) -> bytes:
    try:
        return card.updated(readme)
    except EmmsError as error:
        raise EmmsError(f"{card.kind} {card.repo_id!r}: {error.message}", error.hint) from error


def _row(ranking: Ranking, repo_id: str, checkpoint: str | None) -> Row:
    if checkpoint is not None:
        return ranking.row(checkpoint)
    found = [row for row in ranking.rows if row.checkpoint.partition("@")[0] == repo_id]
    if not found:
        return ranking.row(repo_id)
    if len(found) > 1:
        names = ", ".join(row.checkpoint for row in found)
        raise EmmsError(f"the ranking has several revisions of {repo_id!r}: {names}", "--checkpoint NAME picks one")
    return found[0]


def _diff(before: bytes | None, after: bytes) -> Iterator[str]:
    if before == after:
        return
    old = f"a/{README}" if before is not None else "/dev/null"
    lines = difflib.unified_diff(_lines(before or b""), _lines(after), old, f"b/{README}")
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(content: bytes) -> list[str]:
    """Lines as diff and patch count them: ended by line feeds and nothing else."""
    pieces = content.decode().split("\n")
    return [f"{piece}\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
