"""Cards on the Hub: show, commit or propose the change of a README."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hf_emms import hub
from hf_emms.errors import EmmsError, setting_ref
from hf_emms.publish.card_entries import Entry, checkpoint_entry, dataset_entry
from hf_emms.publish.card_text import CardKind, card_section, markdown_text, rendered_template
from hf_emms.publish.readme import put_section
from hf_emms.ranking import Ranking, Row, is_commit
from hf_emms.tasks import hub_tag

README = "README.md"

_TITLES = {
    "model": "Add transferability estimates (EMMS)",
    "dataset": "Add checkpoints to start from (EMMS)",
}


@dataclass(frozen=True)
class Card:
    """A README on the Hub, and the rankings and entries that it should show."""

    repo_id: str
    kind: CardKind
    rankings: tuple[Ranking, ...]
    entries: tuple[Entry, ...]

    def updated(self, readme: bytes | None) -> bytes:
        """Return the README with the entries. Other entries and all bytes outside the section stay.

        Raises:
            EmmsError: The markers are broken.
        """
        try:
            section = card_section(self.kind, self.entries, self.repo_id, readme or b"")
            return put_section(readme or self._new_readme(), section)
        except EmmsError as error:
            raise EmmsError(f"{self.kind} {self.repo_id!r}: {error.message}", error.hint) from error

    def _new_readme(self) -> bytes:
        """Return a minimal card."""
        from huggingface_hub import DatasetCardData, ModelCardData

        tasks = dict.fromkeys(hub_tag(ranking.task) for ranking in self.rankings)
        fields = ModelCardData(tags=["emms"]) if self.kind == "model" else DatasetCardData(task_categories=[*tasks])
        return f"---\n{fields.to_yaml()}\n---\n\n# {markdown_text(self.repo_id.rpartition('/')[2])}\n".encode()


def model_card(
    rankings: Sequence[Ranking], repo_id: str, *, checkpoint: str | None = None, leaderboard: str | None = None
) -> Card:
    """Return the card of a model. `checkpoint` is its name in the rankings, if it differs from the repository.

    Raises:
        EmmsError: A ranking does not contain the checkpoint, or has no score for it.
    """
    named = [(ranking, _row(ranking, repo_id, checkpoint).checkpoint) for ranking in rankings]
    return _model_card(named, repo_id, leaderboard)


def dataset_card(rankings: Sequence[Ranking], repo_id: str, *, leaderboard: str | None) -> Card:
    """Return the card of a dataset, which lists the best checkpoints.

    Raises:
        EmmsError: A ranking is of another dataset, or has no scored checkpoint.
    """
    for ranking in rankings:
        if ranking.dataset_id != repo_id:
            raise EmmsError(
                f"the ranking is of the dataset {ranking.dataset_id!r}, not of {repo_id!r}",
                setting_ref("dataset_id", ranking.dataset_id),
            )
    entries = tuple(dataset_entry(ranking, leaderboard=leaderboard) for ranking in rankings)
    return Card(repo_id, "dataset", tuple(rankings), entries)


def model_cards(rankings: Sequence[Ranking], *, leaderboard: str | None = None) -> tuple[list[Card], list[str]]:
    """Return the cards of all checkpoints, and the reasons why some have none."""
    named: dict[str, list[tuple[Ranking, str]]] = {}
    left_out = []
    for ranking in rankings:
        for row in ranking.rows:
            shown = named.setdefault(row.checkpoint.partition("@")[0], [])
            if row.rank is None:
                left_out.append(f"{row.checkpoint}: not scored ({row.error})")
            elif not is_commit(row.revision):
                left_out.append(f"{row.checkpoint}: not a repository of the Hub")
            elif any(ranking is other for other, _ in shown):
                left_out.append(f"{row.checkpoint}: another revision is ranked above it")
            else:
                shown.append((ranking, row.checkpoint))
    return [_model_card(shown, name, leaderboard) for name, shown in named.items() if shown], left_out


def preview(card: Card) -> str:
    """Return the change as a unified diff, which may be empty."""
    before = hub.read_file(card.repo_id, card.kind, README)
    after = card.updated(before)
    if before == after:
        return ""
    old = f"a/{README}" if before is not None else "/dev/null"
    lines = difflib.unified_diff(_diff_lines(before or b""), _diff_lines(after), old, f"b/{README}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def push(card: Card) -> hub.Outcome:
    """Commit the change to main."""
    return hub.push(card.repo_id, card.kind, _change(card), title=_TITLES[card.kind])


def propose(card: Card, account: hub.Account, *, again: bool = False) -> hub.Outcome:
    """Open or update a pull request. `again` opens one even if the owner closed an earlier one."""
    return hub.propose(
        card.repo_id,
        card.kind,
        _change(card),
        account=account,
        title=_TITLES[card.kind],
        description=rendered_template("pr_description.md.jinja", card=card),
        again=again,
    )


def _model_card(named: Sequence[tuple[Ranking, str]], repo_id: str, leaderboard: str | None) -> Card:
    entries = tuple(checkpoint_entry(ranking, name, leaderboard=leaderboard) for ranking, name in named)
    return Card(repo_id, "model", tuple(ranking for ranking, _ in named), entries)


def _change(card: Card) -> Callable[[hub.FileReader], dict[str, bytes]]:
    return lambda read: {README: card.updated(read(README))}


def _row(ranking: Ranking, repo_id: str, checkpoint: str | None) -> Row:
    if checkpoint is not None:
        return ranking.row(checkpoint)
    revisions = [row for row in ranking.rows if row.checkpoint.partition("@")[0] == repo_id]
    if not revisions:
        return ranking.row(repo_id)
    if len(revisions) > 1:
        names = ", ".join(row.checkpoint for row in revisions)
        raise EmmsError(
            f"the ranking has several revisions of {repo_id!r}: {names}",
            setting_ref("checkpoint", *(row.checkpoint for row in revisions)) + " picks one",
        )
    return revisions[0]


def _diff_lines(content: bytes) -> list[str]:
    """Split into lines as diff and patch do: only at line feeds."""
    pieces = content.decode().split("\n")
    return [f"{piece}\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])
