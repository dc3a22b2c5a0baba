"""Entries: the part of a ranking that a card shows, and the command that reproduces its numbers."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from hf_emms.errors import EmmsError
from hf_emms.options import DEFAULT_ESTIMATORS, SETTINGS, to_flags
from hf_emms.presets import encoder_presets
from hf_emms.ranking import Ranking, Row, is_commit
from hf_emms.ranking.expected_gap import ExpectedGap, expected_gap
from hf_emms.ranking.verdict import Verdict, verdict
from hf_emms.tasks import TASKS, Task
from hf_emms.texts import printable

TOP_ROWS = 10
# Checkpoints of the command that reproduces the entry of a model card.
_AGAIN = 6

_ON_A_NEW_LINE = ("--split", "--max-samples", "--encoder", "--estimator", "--checkpoint")


def rank_command(ranking: Ranking, checkpoints: Sequence[str]) -> str:
    """Return the shortest command that scores checkpoints of a ranking again, at the same revisions.

    Omits default settings, default estimators, and columns that `hf-emms rank` finds by name.
    """
    task = TASKS.find(ranking.task)
    foreign = () if task is not None and task.input.is_collection else ("corpus_size",)
    settings = {
        "dataset": pinned(ranking.dataset_id, ranking.dataset_revision, unpinned=ranking.dataset),
        **{name: getattr(ranking, name) or None for name in ("config", "split", "task")},
        "columns": {role: name for role, name in ranking.columns.items() if not _is_first_name(task, role, name)},
        **{
            name: value
            for name, value in ranking.settings.items()
            if name in SETTINGS and SETTINGS[name].compared and value != SETTINGS[name].default and name not in foreign
        },
        "encoders": _encoders(ranking),
        "estimators": () if ranking.estimators == _default_estimators(task) else ranking.estimators,
        "checkpoints": [pinned(name, ranking.row(name).revision) for name in checkpoints],
    }
    command = "hf-emms rank"
    for flag, value in to_flags(settings):
        # Line breaks become spaces, so that no value can end the code block. Trailing spaces of a prompt stay.
        words = [flag] if value is None else [flag, shlex.quote(printable(" ".join(str(value).splitlines())))]
        command += (" \\\n  " if flag in _ON_A_NEW_LINE else " ") + " ".join(words)
    return command


def _default_estimators(task: Task | None) -> tuple[str, ...]:
    return (task.estimators if task is not None else ()) or DEFAULT_ESTIMATORS


def _is_first_name(task: Task | None, role: str, name: str) -> bool:
    """Return whether a task prefers this column name for a role."""
    columns = task.columns if task is not None else {}
    return role in columns and name.lower() == next(iter(columns[role].candidates), None)


def _encoders(ranking: Ranking) -> Sequence[str]:
    """Return the label encoders with their revisions, or the name of a set that ships with hf_emms."""
    used = [encoder for encoder in ranking.encoders if encoder.revision]
    shipped = next(
        (name for name, ids in encoder_presets().items() if ids == tuple(encoder.id for encoder in used)), None
    )
    if shipped is not None and not any(is_commit(encoder.revision) for encoder in used):
        return (shipped,)
    return [pinned(encoder.id, encoder.revision) for encoder in used]


def pinned(id: str, revision: str | None, *, unpinned: str | None = None) -> str:
    """Return ``ORG/NAME@SHA`` if the revision is a commit; otherwise the id, or `unpinned`."""
    if is_commit(revision):
        return f"{id.partition('@')[0]}@{revision}"
    return unpinned or id


@dataclass(frozen=True)
class Entry:
    """The part of a card that shows a ranking.

    Attributes:
        ranking: The full ranking.
        row: The row of a model card's checkpoint; None for a dataset card.
    """

    ranking: Ranking
    row: Row | None = None

    @property
    def key(self) -> str:
        """16 hex digits for dataset, config, split and task. A ranking with the same key replaces the entry."""
        ranking = self.ranking
        parts = ranking.dataset_id, ranking.config, ranking.split, ranking.task
        return hashlib.blake2b(repr(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()

    @property
    def ranked(self) -> int:
        """The number of checkpoints with a rank."""
        return sum(row.rank is not None for row in self.ranking.rows)

    @cached_property
    def verdict(self) -> Verdict:
        return verdict(self.ranking)

    @property
    def top(self) -> list[Row]:
        """The checkpoints of a dataset card, which have a score."""
        return [row for row in self.ranking.rows if row.rank is not None][:TOP_ROWS]

    @property
    def gap(self) -> ExpectedGap | None:
        """How far the checkpoint of a model card is expected to trail the first."""
        name = self.row.checkpoint if self.row else None
        return next((gap for gap in expected_gap(self.ranking) if gap.checkpoint == name), None)

    @property
    def estimators(self) -> tuple[str, ...]:
        """The estimators with a score in any row, in the order of the ranking."""
        return tuple(name for name in self.ranking.estimators if any(name in row.scores for row in self.ranking.rows))

    @property
    def command(self) -> str | None:
        """The command that reproduces the numbers; None for a dataset in memory."""
        if not self.ranking.dataset_revision:
            return None
        rows = [self.row, *(row for row in self.top if row is not self.row)][:_AGAIN] if self.row else self.top
        return rank_command(self.ranking, [row.checkpoint for row in rows])


def checkpoint_entry(ranking: Ranking, checkpoint: str) -> Entry:
    """Return the entry of a model card. Raises an EmmsError if the checkpoint has no score."""
    row = ranking.row(checkpoint)
    if row.rank is None:
        raise EmmsError(
            "no-score", f"the ranking has no score for {checkpoint!r}: {row.error}", "choose a checkpoint with a score"
        )
    return Entry(ranking, row)


def dataset_entry(ranking: Ranking) -> Entry:
    """Return the entry of a dataset card. Raises an EmmsError if no checkpoint has a score."""
    entry = Entry(ranking)
    if not entry.top:
        raise EmmsError(
            "no-score", "the ranking has no scored checkpoint", "read the errors in the rows of the ranking"
        )
    return entry
