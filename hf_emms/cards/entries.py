"""The command line that makes a ranking again.

What a section remembers: one entry for each dataset, as plain data that lies in the README itself.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from hf_emms import views
from hf_emms.errors import EmmsError
from hf_emms.ranking import Ranking, Row, emms_score
from hf_emms.tasks import ROLES

_ON_A_NEW_LINE = ("split", "max-samples", "encoder", "estimator", "checkpoint")
_SHA = re.compile(r"[0-9a-f]{40}")


def rank_command(ranking: Ranking, checkpoints: Sequence[str]) -> str:
    """The command that scores some checkpoints of a ranking again, at the same revisions."""
    dataset = pinned(ranking.dataset_id, ranking.dataset_revision, unpinned=ranking.dataset)
    flags = [("dataset", dataset), ("config", ranking.config), ("split", ranking.split), ("task", ranking.task)]
    for role, column in sorted(ranking.columns.items()):
        flags.append((f"{role}-column", column) if role in ROLES else ("column", f"{role}={column}"))
    flags += [("max-samples", str(ranking.max_samples or 0)), ("seed", str(ranking.seed))]
    flags += [("folds", str(ranking.folds)), ("sampling", ranking.sampling)]
    flags += [("references", None if ranking.captions == "mean" else ranking.captions), ("prompt", ranking.prompt)]
    flags += [("label-form", ranking.label_form), ("box-format", ranking.box_format)]
    # Labels that are numbers need no encoder, and have no revision.
    flags += [("encoder", pinned(encoder.id, encoder.revision)) for encoder in ranking.encoders if encoder.revision]
    flags += [("layer", layer) for layer in ranking.layers]
    flags += [("estimator", estimator) for estimator in ranking.estimators]
    flags += [("checkpoint", pinned(name, ranking.row(name).revision)) for name in checkpoints]
    command = "hf-emms rank"
    for flag, value in flags:
        if value:
            # Values stand on one line each, so that none can end the code block.
            gap = " \\\n  " if flag in _ON_A_NEW_LINE else " "
            command += f"{gap}--{flag} {shlex.quote(views.one_line(value))}"
    return command


def pinned(id: str, revision: str | None, *, unpinned: str | None = None) -> str:
    """``ORG/NAME@SHA`` where the revision is a commit; else the id (or `unpinned`) as it is."""
    if is_commit(revision):
        return f"{id.partition('@')[0]}@{revision}"
    return unpinned or id


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit of the Hub, and not the content hash of a folder."""
    return revision is not None and _SHA.fullmatch(revision) is not None


LAYOUT_VERSION = 1

# A README's data may come from anywhere: what cannot be drawn is refused when it is read.
_Number = Annotated[float, Meta(ge=-1e100, le=1e100)]
_Error = Annotated[float, Meta(ge=0, le=1e100)]

TOP_ROWS = 5
TOP_ROWS_OF_A_DATASET = 10


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """One estimator's value, with its standard error where there is one."""

    estimator: str
    value: _Number
    stderr: _Error | None = None


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a chart or of a table of the best."""

    checkpoint: str
    rank: int
    scores: Annotated[tuple[Score, ...], Meta(min_length=1)]
    tied: bool = False
    parameters: int | None = None
    on_hub: bool = False

    @property
    def score(self) -> Score:
        """The one that the order comes from."""
        return self.scores[0]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ranking, as far as a card tells of it.

    Attributes:
        dataset: as the user named it.
        dataset_id: the repository or folder behind that name.
        dataset_revision: commit sha, "local-" and a content hash, or empty.
        config: dataset configuration.
        split: dataset split.
        task: the Hub's task id.
        ranked: how many checkpoints have a rank.
        top: the first of them.
        n: rows scored.
        n_inputs: distinct inputs among them.
        n_labels: distinct label texts among them.
        seed: of the sample and the folds.
        folds: number of folds.
        columns: role → column.
        encoders: id and revision of what embedded the label texts.
        versions: package → version.
        created: UTC time in ISO 8601.
        command: what makes the numbers again; None for a dataset that nobody else has.
        leaderboard: the Space (ORG/NAME) that shows the whole ranking.
        own: the row of the card's checkpoint; None in a dataset's card.
        revision: of the card's checkpoint.
        r2: held-out R² of the card's checkpoint.
        weights: of the label encoders in its EMMS score.
        width: number of features.
        architecture: the class that was run.
        pooling: what became the feature row.
    """

    dataset: str
    dataset_id: str
    dataset_revision: str
    config: str | None = None
    split: str
    task: str
    ranked: int
    top: Annotated[tuple[Place, ...], Meta(min_length=1)]
    n: int
    n_inputs: int
    n_labels: int
    seed: int
    folds: int
    columns: dict[str, str]
    encoders: tuple[tuple[str, str], ...]
    versions: dict[str, str]
    created: str
    command: str | None = None
    leaderboard: str | None = None
    own: Place | None = None
    revision: str | None = None
    r2: _Number | None = None
    weights: tuple[_Number, ...] = ()
    width: int | None = None
    architecture: str | None = None
    pooling: str | None = None

    @property
    def key(self) -> tuple[str, str | None, str, str]:
        """What a newer ranking replaces: the one of the same dataset, config, split and task."""
        return self.dataset_id, self.config, self.split, self.task

    @property
    def on_hub(self) -> bool:
        return is_commit(self.dataset_revision)

    @property
    def estimators(self) -> tuple[str, ...]:
        """Of all rows that the entry tells of, in the ranking's order."""
        rows = (self.own, *self.top) if self.own else self.top
        return tuple(dict.fromkeys(score.estimator for row in rows for score in row.scores))


def of_checkpoint(ranking: Ranking, checkpoint: str, *, leaderboard: str | None = None) -> Entry:
    """What a checkpoint's card tells of a ranking.

    Raises:
        EmmsError: the ranking does not hold the checkpoint, or has no score for it.
    """
    row = ranking.row(checkpoint)
    if row.rank is None:
        raise EmmsError(
            f"the ranking has no score for {checkpoint!r}: {row.error}", "a card tells of scored checkpoints only"
        )
    if row.n is not None:
        raise EmmsError(
            f"a race stopped {checkpoint!r} after {row.n:,} of {ranking.n:,} rows: its score is not that of the others",
            f"rank it on all rows: {rank_command(ranking, (checkpoint,))}",
        )
    emms = emms_score(row.scores)
    first = [other.checkpoint for other in _scored(ranking)[:TOP_ROWS]]
    return msgspec.structs.replace(
        _common(ranking, TOP_ROWS, tuple(dict.fromkeys((checkpoint, *first))), leaderboard),
        own=_place(ranking, row),
        revision=row.revision,
        r2=emms.details.get("r2") if emms else None,
        weights=tuple(emms.details.get("weights") or ()) if emms else (),
        width=row.width,
        architecture=row.architecture,
        pooling=row.pooling,
    )


def of_dataset(ranking: Ranking, *, leaderboard: str | None = None) -> Entry:
    """What a dataset's card tells of a ranking.

    Raises:
        EmmsError: the ranking has no scored checkpoint.
    """
    scored = _scored(ranking)
    if not scored:
        raise EmmsError("the ranking has no scored checkpoint", "hf-emms rank … says why in its rows")
    shown = tuple(row.checkpoint for row in scored[:TOP_ROWS_OF_A_DATASET])
    return _common(ranking, TOP_ROWS_OF_A_DATASET, shown, leaderboard)


def with_entry(entries: tuple[Entry, ...], new: Entry) -> tuple[Entry, ...]:
    """The entries with one put in the place of its predecessor, or behind the others."""
    old = next((entry for entry in entries if entry.key == new.key), None)
    if old is None:
        return (*entries, new)
    # A leaderboard that was named once stays until another one is named.
    new = msgspec.structs.replace(new, leaderboard=new.leaderboard or old.leaderboard)
    return tuple(new if entry is old else entry for entry in entries)


def packed(entries: tuple[Entry, ...], about: str) -> dict[str, Any]:
    """Entries as plain data for `splice.with_data`; `about` is "model" or "dataset"."""
    return {"version": LAYOUT_VERSION, "about": about, "entries": msgspec.to_builtins(entries)}


def unpacked(data: Any, about: str) -> tuple[Entry, ...]:
    """Entries from what `splice.data_of` read; none for None.

    Raises:
        EmmsError: written by a newer version, for another kind of card, or damaged.
    """
    if data is None:
        return ()
    again = "remove the section between the markers; it is written anew then"
    try:
        head = msgspec.convert(data, _Packed)
        if head.version > LAYOUT_VERSION:
            raise EmmsError(
                f"the card's section was written by a newer hf_emms (layout {head.version}; this one knows "
                f"{LAYOUT_VERSION})",
                "pip install --upgrade hf-emms",
            )
        if head.about != about:
            raise EmmsError(f"the section of this {about} card was written for a {head.about} card", again)
        entries = msgspec.convert(head.entries, tuple[Entry, ...])
        if about == "model" and any(entry.own is None for entry in entries):
            raise msgspec.ValidationError("an entry without the card's checkpoint")
        return entries
    except msgspec.ValidationError as error:
        raise EmmsError(f"the data of the card's section is damaged: {error}", again) from error


class _Packed(msgspec.Struct):
    version: int
    about: str
    entries: list[Any]


def _scored(ranking: Ranking) -> list[Row]:
    """Rows with a score on all rows of the sample."""
    return [row for row in ranking.rows if row.rank is not None and row.n is None]


def _place(ranking: Ranking, row: Row) -> Place:
    scores = [(name, row.scores[name]) for name in ranking.estimators if name in row.scores]
    return Place(
        row.checkpoint,
        row.rank or 0,
        tuple(Score(name, score.value, score.stderr) for name, score in scores),
        row.tied,
        row.parameters,
        is_commit(row.revision),
    )


def _common(ranking: Ranking, top: int, reproduced: tuple[str, ...], leaderboard: str | None) -> Entry:
    scored = _scored(ranking)
    placed = [row for row in ranking.rows if row.rank is not None]
    return Entry(
        dataset=ranking.dataset,
        dataset_id=ranking.dataset_id,
        dataset_revision=ranking.dataset_revision,
        config=ranking.config,
        split=ranking.split,
        task=ranking.task,
        ranked=len(placed),
        top=tuple(_place(ranking, row) for row in scored[:top]),
        n=ranking.n,
        n_inputs=ranking.n_inputs,
        n_labels=ranking.n_labels,
        seed=ranking.seed,
        folds=ranking.folds,
        columns=ranking.columns,
        encoders=tuple((encoder.id, encoder.revision) for encoder in ranking.encoders),
        versions=ranking.versions,
        created=ranking.created,
        command=rank_command(ranking, reproduced) if ranking.dataset_revision else None,
        leaderboard=leaderboard,
    )
