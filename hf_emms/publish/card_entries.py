"""Entries: the part of a ranking that a card shows, and the command that reproduces its numbers."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from hf_emms.errors import EmmsError, printable
from hf_emms.options import DEFAULT_ESTIMATORS, SETTINGS, to_flags
from hf_emms.presets import encoder_presets
from hf_emms.ranking import Ranking, Row, emms_score, is_commit
from hf_emms.ranking.columns import runs_models
from hf_emms.ranking.verdict import Verdict, pick, verdict
from hf_emms.scoring import Score
from hf_emms.tasks import TASKS, Task

TOP_ROWS = 5
TOP_ROWS_OF_A_DATASET = 10

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


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The part of a ranking that a card shows.

    Attributes:
        ranking: The ranking with only the rows of the card: the best ones and the card's checkpoint.
        ranked: The number of checkpoints with a rank.
        first: The number of checkpoints that are tied at the top.
        verdict: The conclusion from the full ranking.
        best: The row that the card names as the best.
        checkpoint: The checkpoint of a model card; None for a dataset card.
        command: Reproduces the numbers; None for a dataset in memory.
        leaderboard: The Space with the full ranking.
    """

    ranking: Ranking
    ranked: int
    first: int
    verdict: Verdict
    best: Row
    checkpoint: str | None
    command: str | None
    leaderboard: str | None

    @property
    def key(self) -> str:
        """Return 16 hex digits for dataset, config, split and task. A ranking with the same key replaces the entry."""
        ranking = self.ranking
        parts = ranking.dataset_id, ranking.config, ranking.split, ranking.task
        return hashlib.blake2b(repr(parts).encode("utf-8", "replace"), digest_size=8).hexdigest()

    @property
    def top(self) -> tuple[Row, ...]:
        return self.ranking.rows[: TOP_ROWS_OF_A_DATASET if self.checkpoint is None else TOP_ROWS]

    @property
    def row(self) -> Row | None:
        return None if self.checkpoint is None else self.ranking.row(self.checkpoint)

    @property
    def weights(self) -> list[float]:
        """Return the F-label weights of the checkpoint's EMMS score."""
        score = emms_score(self.row.scores) if self.row else None
        return (score.details.get("weights") if score else None) or []

    @property
    def estimators(self) -> tuple[str, ...]:
        """Return the estimators with a score in any row, in the order of the ranking."""
        return tuple(name for name in self.ranking.estimators if any(name in row.scores for row in self.ranking.rows))


def checkpoint_entry(ranking: Ranking, checkpoint: str, *, leaderboard: str | None) -> Entry:
    """Return the entry of a model card. Raises an EmmsError if the checkpoint has no score on all rows."""
    row = ranking.row(checkpoint)
    if row.rank is None:
        raise EmmsError(f"the ranking has no score for {checkpoint!r}: {row.error}", "choose a checkpoint with a score")
    if row.n is not None:
        raise EmmsError(
            f"a race stopped {checkpoint!r} after {row.n:,} of {ranking.n:,} rows, so its score is not comparable",
            f"rank it on all rows: {rank_command(ranking, (checkpoint,))}",
        )
    first = _scored(ranking)[:TOP_ROWS]
    rows = first if row in first else [*first, row]
    return _entry(ranking, rows, (row, *(other for other in first if other is not row)), row, leaderboard)


def dataset_entry(ranking: Ranking, *, leaderboard: str | None) -> Entry:
    """Return the entry of a dataset card. Raises an EmmsError if no checkpoint has a score."""
    scored = _scored(ranking)[:TOP_ROWS_OF_A_DATASET]
    if not scored:
        raise EmmsError("the ranking has no scored checkpoint", "read the errors in the rows of the ranking")
    return _entry(ranking, scored, scored, None, leaderboard)


def _scored(ranking: Ranking) -> list[Row]:
    return [row for row in ranking.rows if row.rank is not None and row.n is None]


def _entry(
    ranking: Ranking, rows: Sequence[Row], again: Sequence[Row], checkpoint: Row | None, leaderboard: str | None
) -> Entry:
    """Return the entry of `checkpoint` that shows `rows` and whose command ranks the rows `again`."""
    costs = runs_models(ranking)
    shown = tuple(_card_row(row, whole=row is checkpoint, costs=costs) for row in rows)
    command = rank_command(ranking, [row.checkpoint for row in again]) if ranking.dataset_revision else None
    return Entry(
        ranking=msgspec.structs.replace(ranking, rows=shown, notes=()),
        ranked=sum(row.rank is not None for row in ranking.rows),
        checkpoint=checkpoint.checkpoint if checkpoint else None,
        command=command,
        leaderboard=leaderboard,
        verdict=verdict(ranking),
        best=pick(ranking) or rows[0],
        first=sum(row.rank == 1 for row in ranking.rows),
    )


def _card_row(row: Row, *, whole: bool, costs: bool) -> Row:
    """Return the fields of a row that a card shows; duration and notes only if models generated or trained."""
    details = ("r2", "weights") if whole else ("r2",)
    scores = {
        name: Score(score.value, score.stderr, (), {key: score.details.get(key) for key in details})
        for name, score in row.scores.items()
    }
    more = {name: getattr(row, name) for name in ("width", "architecture", "pooling")} if whole else {}
    more |= {"seconds": row.seconds} if costs else {}
    more |= {"notes": row.notes} if costs and whole else {}
    if row.fine_tuned is not None:
        more["fine_tuned"] = msgspec.structs.replace(row.fine_tuned, runs=())
    same = {
        name: getattr(row, name)
        for name in ("tied", "parameters", "mean_rank_elsewhere", "static", "static_trained_on")
    }
    return Row(row.checkpoint, row.revision, row.rank, scores=scores, **same, **more)
