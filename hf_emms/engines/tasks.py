"""What the workers of a cluster run: plain functions of plain data, which any of them may run again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hf_emms import demo
from hf_emms.engines.extraction import About, about_of, batches_of, filled, load
from hf_emms.engines.failures import failures, one_line
from hf_emms.engines.parts import Part, moments_of, streamed_moments
from hf_emms.engines.scores import evidence_of, scores_of
from hf_emms.engines.settings import Settings
from hf_emms.engines.versions import versions
from hf_emms.errors import EmmsError
from hf_emms.ranking import RowScore
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.hub import Repo
    from hf_emms.tasks import Task

T = TypeVar("T")


@dataclass(frozen=True)
class Piece:
    """What is small of a part's extraction.

    Attributes:
        about: the checkpoint.
        seconds: that it took, loading included.
    """

    about: About
    seconds: float


@dataclass(frozen=True)
class Verdict:
    """A checkpoint's scores, notes, and the seconds that they took."""

    scores: dict[str, RowScore]
    notes: tuple[str, ...]
    seconds: float


def extract_part(
    repo: Repo, task: Task, part: Part, labels: LabelTable, settings: Settings, keep: bool
) -> tuple[Piece, Moments, np.ndarray | None]:
    """Runs a checkpoint over a part of the inputs.

    Args:
        repo: the checkpoint.
        task: what it is ranked for.
        part: the inputs.
        labels: of all rows of the target.
        settings: how.
        keep: whether the features are wanted beside the moments.

    Returns:
        What is small, the moments, and the features, float32 (m, D1), or None.

    Raises:
        EmmsError: in one line, why the checkpoint cannot be loaded or run.
    """
    return _told(lambda: _extract_part(repo, task, part, labels, settings, keep))


def moments_of_features(features: np.ndarray, part: Part, labels: LabelTable, settings: Settings) -> Moments:
    """Moments of features that are there already."""
    return _told(lambda: moments_of(features, part, labels, settings))


def merge(left: Moments, right: Moments) -> Moments:
    """One node of the tree of merges."""
    return left.merge(right)


def score(moments: Moments, part: Part, labels: LabelTable, settings: Settings, *features: np.ndarray) -> Verdict:
    """Scores a checkpoint.

    Args:
        moments: of all rows.
        part: all rows; its inputs are not looked at.
        labels: of all rows.
        settings: how.
        features: float32 (m, D1) of one part after the other, where an estimator needs rows.

    Raises:
        EmmsError: in one line, why it has no score.
    """

    def scored() -> Verdict:
        started = time.perf_counter()
        rows = np.concatenate(features) if features else None
        # A copy: what lies in the object store cannot be written to, and the last rows are still to be folded in.
        evidence = evidence_of(rows, moments.copy(), part, labels, settings)
        scores, notes = scores_of(evidence, settings)
        return Verdict(scores, notes, time.perf_counter() - started)

    return _told(scored)


def worker_versions() -> dict[str, str]:
    """What a worker has installed."""
    return versions()


def _extract_part(
    repo: Repo, task: Task, part: Part, labels: LabelTable, settings: Settings, keep: bool
) -> tuple[Piece, Moments, np.ndarray | None]:
    started = time.perf_counter()
    extractor = load(_here(repo), task, settings)
    try:
        batches = batches_of(extractor, part, settings)
        features = filled(batches, len(part.inputs), extractor.width) if keep else None
        if features is None:
            moments = streamed_moments(batches, extractor.width, part, labels, settings)
        else:
            moments = moments_of(features, part, labels, settings)
    finally:
        extractor.close()
    return Piece(about_of(extractor), time.perf_counter() - started), moments, features


def _here(repo: Repo) -> Repo:
    """The checkpoint as this machine finds it: embedded ones lie wherever hf_emms is installed."""
    folder = demo.folder_of(repo.id) or repo.folder
    if folder is not None and not folder.exists():
        raise EmmsError(
            f"the folder {repo.id} is not on the node that was to run it",
            "put it on storage that every node sees, or on the Hub",
        )
    return replace(repo, folder=folder)


def _told(call: Callable[[], T]) -> T:
    """Turns whatever a checkpoint raises into an error that the driver can read, whatever it has installed."""
    try:
        return call()
    except failures() as error:
        raise EmmsError(one_line(error)) from None
