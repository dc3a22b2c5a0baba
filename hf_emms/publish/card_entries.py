"""The entries of a card's section: what a card shows of a ranking, and the command that makes its numbers again."""

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
from hf_emms.ranking.verdict import Verdict, verdict
from hf_emms.scoring import Score
from hf_emms.tasks import TASKS, Task

TOP_ROWS = 5
TOP_ROWS_OF_A_DATASET = 10

_ON_A_NEW_LINE = ("--split", "--max-samples", "--encoder", "--estimator", "--checkpoint")


def rank_command(ranking: Ranking, checkpoints: Sequence[str]) -> str:
    """Return the shortest command that scores some checkpoints of a ranking again, at the same revisions.

    What `hf-emms rank` does by itself is left out: settings and estimators by default, and columns by their first name.
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
        # Each value on a line, so that none can end the code block; a prompt's last space counts.
        words = [flag] if value is None else [flag, shlex.quote(printable(" ".join(str(value).splitlines())))]
        command += (" \\\n  " if flag in _ON_A_NEW_LINE else " ") + " ".join(words)
    return command


def _default_estimators(task: Task | None) -> tuple[str, ...]:
    return (task.estimators if task is not None else ()) or DEFAULT_ESTIMATORS


def _is_first_name(task: Task | None, role: str, name: str) -> bool:
    """Return whether a task reads this column before any other."""
    columns = task.columns if task is not None else {}
    return role in columns and name.lower() == next(iter(columns[role].candidates), None)


def _encoders(ranking: Ranking) -> Sequence[str]:
    """Return the label encoders with their revisions, or the name of the demo's set; none where labels are numbers."""
    used = [encoder for encoder in ranking.encoders if encoder.revision]
    shipped = next(
        (name for name, ids in encoder_presets().items() if ids == tuple(encoder.id for encoder in used)), None
    )
    if shipped is not None and not any(is_commit(encoder.revision) for encoder in used):
        return (shipped,)
    return [pinned(encoder.id, encoder.revision) for encoder in used]


def pinned(id: str, revision: str | None, *, unpinned: str | None = None) -> str:
    """Return ``ORG/NAME@SHA`` where the revision is a commit; else the id (or `unpinned`) as it is."""
    if is_commit(revision):
        return f"{id.partition('@')[0]}@{revision}"
    return unpinned or id


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The part of a ranking that a card shows.

    Attributes:
        ranking: with the rows that the card shows: the first ones, and the card's checkpoint if it is none of them.
        ranked: how many checkpoints have a rank.
        first: how many checkpoints share the first rank.
        judgement: what the whole ranking shows.
        checkpoint: None in a dataset's card.
        command: makes the numbers again; None for a dataset that nobody else has.
        leaderboard: the Space that shows the whole ranking.
    """

    ranking: Ranking
    ranked: int
    first: int
    judgement: Verdict
    checkpoint: str | None
    command: str | None
    leaderboard: str | None

    @property
    def key(self) -> str:
        """Return 16 hex digits for dataset, config, split and task: a newer ranking with these replaces the entry."""
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
        """Return the weights of the F-labels in the EMMS score of the card's checkpoint."""
        score = emms_score(self.row.scores) if self.row else None
        return (score.details.get("weights") if score else None) or []

    @property
    def estimators(self) -> tuple[str, ...]:
        """Return the estimators that scored any of the rows, in the ranking's order."""
        return tuple(name for name in self.ranking.estimators if any(name in row.scores for row in self.ranking.rows))


def checkpoint_entry(ranking: Ranking, checkpoint: str, *, leaderboard: str | None) -> Entry:
    """Return the entry of a checkpoint's card; an EmmsError where the ranking has no score for it on all rows."""
    row = ranking.row(checkpoint)
    if row.rank is None:
        raise EmmsError(
            f"the ranking has no score for {checkpoint!r}: {row.error}", "a card shows scored checkpoints only"
        )
    if row.n is not None:
        raise EmmsError(
            f"a race stopped {checkpoint!r} after {row.n:,} of {ranking.n:,} rows: its score is not that of the others",
            f"rank it on all rows: {rank_command(ranking, (checkpoint,))}",
        )
    first = _scored(ranking)[:TOP_ROWS]
    rows = first if row in first else [*first, row]
    return _entry(ranking, rows, (row, *(other for other in first if other is not row)), row, leaderboard)


def dataset_entry(ranking: Ranking, *, leaderboard: str | None) -> Entry:
    """Return the entry of a dataset's card; an EmmsError where the ranking has no scored checkpoint."""
    scored = _scored(ranking)[:TOP_ROWS_OF_A_DATASET]
    if not scored:
        raise EmmsError("the ranking has no scored checkpoint", "the failed rows of the ranking have the reasons")
    return _entry(ranking, scored, scored, None, leaderboard)


def _scored(ranking: Ranking) -> list[Row]:
    return [row for row in ranking.rows if row.rank is not None and row.n is None]


def _entry(
    ranking: Ranking, rows: Sequence[Row], again: Sequence[Row], checkpoint: Row | None, leaderboard: str | None
) -> Entry:
    """Return an entry that shows `rows`, whose command ranks those of `again`, on the card of `checkpoint`."""
    costs = runs_models(ranking)
    shown = tuple(_card_row(row, whole=row is checkpoint, costs=costs) for row in rows)
    command = rank_command(ranking, [row.checkpoint for row in again]) if ranking.dataset_revision else None
    return Entry(
        ranking=msgspec.structs.replace(ranking, rows=shown, notes=()),
        ranked=sum(row.rank is not None for row in ranking.rows),
        checkpoint=checkpoint.checkpoint if checkpoint else None,
        command=command,
        leaderboard=leaderboard,
        judgement=verdict(ranking),
        first=sum(row.rank == 1 for row in ranking.rows),
    )


def _card_row(row: Row, *, whole: bool, costs: bool) -> Row:
    """Return a row as a card needs it, with its time and its notes where models themselves were run."""
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
    same = {name: getattr(row, name) for name in ("tied", "parameters", "mean_rank_elsewhere")}
    return Row(row.checkpoint, row.revision, row.rank, scores=scores, **same, **more)
