"""The entries of a card's section, as plain data inside the README, and the command that it shows."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import msgspec

from hf_emms.errors import EmmsError, printable
from hf_emms.options import SETTINGS, Setting, to_flags
from hf_emms.ranking import Ranking, Row, emms_score, is_commit
from hf_emms.ranking.columns import runs_models
from hf_emms.ranking.files import problems
from hf_emms.scoring import Score

LAYOUT_VERSION = 2

TOP_ROWS = 5
TOP_ROWS_OF_A_DATASET = 10

_ON_A_NEW_LINE = ("--split", "--max-samples", "--encoder", "--estimator", "--checkpoint")


def rank_command(ranking: Ranking, checkpoints: Sequence[str]) -> str:
    """Return the command that scores some checkpoints of a ranking again, at the same revisions."""
    settings = {
        "dataset": pinned(ranking.dataset_id, ranking.dataset_revision, unpinned=ranking.dataset),
        **{name: getattr(ranking, name) or None for name in ("config", "split", "task")},
        "columns": ranking.columns,
        **{
            name: value
            for name, value in ranking.settings.items()
            if name in SETTINGS and _is_on_card(SETTINGS[name], value)
        },
        # Labels that are numbers need no encoder, and have no revision.
        "encoders": [pinned(encoder.id, encoder.revision) for encoder in ranking.encoders if encoder.revision],
        "estimators": ranking.estimators,
        "checkpoints": [pinned(name, ranking.row(name).revision) for name in checkpoints],
    }
    command = "hf-emms rank"
    for flag, value in to_flags(settings):
        # Each value on a line, so that none can end the code block; a prompt's last space counts.
        words = [flag] if value is None else [flag, shlex.quote(printable(" ".join(str(value).splitlines())))]
        command += (" \\\n  " if flag in _ON_A_NEW_LINE else " ") + " ".join(words)
    return command


def _is_on_card(setting: Setting, value: Any) -> bool:
    return setting.compared and (setting.card == "always" or value != setting.default)


def pinned(id: str, revision: str | None, *, unpinned: str | None = None) -> str:
    """Return ``ORG/NAME@SHA`` where the revision is a commit; else the id (or `unpinned`) as it is."""
    if is_commit(revision):
        return f"{id.partition('@')[0]}@{revision}"
    return unpinned or id


class _PackedEntries(msgspec.Struct):
    version: int
    about: str
    entries: list[Any]


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a ranking that a card shows.

    Attributes:
        ranking: with the rows that the card shows: the first ones, and the card's checkpoint if it is none of them.
        ranked: how many checkpoints have a rank.
        checkpoint: None in a dataset's card.
        command: makes the numbers again; None for a dataset that nobody else has.
        leaderboard: the Space that shows the whole ranking.
    """

    ranking: Ranking
    ranked: int
    checkpoint: str | None = None
    command: str | None = None
    leaderboard: str | None = None

    @property
    def key(self) -> tuple[str, str | None, str, str]:
        """Return dataset, config, split and task: a newer ranking with the same replaces this entry."""
        ranking = self.ranking
        return ranking.dataset_id, ranking.config, ranking.split, ranking.task

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


def checkpoint_entry(ranking: Ranking, checkpoint: str, *, leaderboard: str | None = None) -> Entry:
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


def dataset_entry(ranking: Ranking, *, leaderboard: str | None = None) -> Entry:
    """Return the entry of a dataset's card; an EmmsError where the ranking has no scored checkpoint."""
    scored = _scored(ranking)[:TOP_ROWS_OF_A_DATASET]
    if not scored:
        raise EmmsError("the ranking has no scored checkpoint", "the failed rows of the ranking have the reasons")
    return _entry(ranking, scored, scored, None, leaderboard)


def with_entry(entries: tuple[Entry, ...], new: Entry) -> tuple[Entry, ...]:
    """Return the entries with a new entry, which replaces its predecessor or follows the others."""
    old = next((entry for entry in entries if entry.key == new.key), None)
    if old is None:
        return (*entries, new)
    # A leaderboard that was named stays until another is named.
    new = msgspec.structs.replace(new, leaderboard=new.leaderboard or old.leaderboard)
    return tuple(new if entry is old else entry for entry in entries)


def pack(entries: Sequence[Entry], about: str) -> dict[str, Any]:
    """Return entries as plain data for `readme.data_comment`; `about` is "model" or "dataset"."""
    plain = msgspec.to_builtins(entries)
    for entry in plain:
        rows = entry["ranking"]["rows"]
        entry["ranking"]["rows"] = [_without_empty(_without_seconds(row) | {"cached": None}) for row in rows]
    return {"version": LAYOUT_VERSION, "about": about, "entries": plain}


def _without_seconds(row: dict[str, Any]) -> dict[str, Any]:
    return row if any(row["seconds"].values()) else row | {"seconds": None}


def unpack(data: Any, about: str) -> tuple[Entry, ...]:
    """Return the entries in the data that `readme.section_data` read; none for None.

    Raises:
        EmmsError: written by a newer version, for another kind of card, or damaged.
    """
    if data is None:
        return ()
    again = "remove the section between the markers; it is written anew then"
    try:
        head = msgspec.convert(data, _PackedEntries)
        if head.version > LAYOUT_VERSION:
            raise EmmsError(
                f"the card's section was written by a newer hf_emms (layout {head.version}; this one knows "
                f"{LAYOUT_VERSION})",
                "install a newer hf-emms",
            )
        if head.about != about:
            raise EmmsError(f"the section of this {about} card was written for a {head.about} card", again)
        entries = msgspec.convert(head.entries, tuple[Entry, ...])
        for entry in entries:
            _check(entry, about)
        return entries
    except (msgspec.ValidationError, LookupError, TypeError, AttributeError) as error:
        raise EmmsError(f"the data of the card's section is damaged: {error}", again) from error


def _check(entry: Entry, about: str) -> None:
    if about == "model" and all(row.checkpoint != entry.checkpoint for row in entry.ranking.rows):
        raise msgspec.ValidationError("an entry without the card's checkpoint")
    problem = next(problems(entry.ranking), None)
    if problem is not None:
        raise msgspec.ValidationError(problem)


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
    same = {name: getattr(row, name) for name in ("tied", "parameters", "elsewhere")}
    return Row(row.checkpoint, row.revision, row.rank, scores=scores, **same, **more)


def _without_empty(value: Any) -> Any:
    """Return plain data without the values that read back as the default."""
    if not isinstance(value, dict):
        return value
    short = {name: _without_empty(item) for name, item in value.items()}
    return {
        name: item for name, item in short.items() if item is not None and item is not False and item not in ((), {})
    }
