"""What the workers of a cluster run: plain functions of plain data, which any of them may run again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hf_emms import demo
from hf_emms.engines.base import failures, one_line, versions
from hf_emms.engines.checkpoint import LayerScores, layer_scores, scoring_inputs
from hf_emms.engines.extraction import batches_of, filled, load
from hf_emms.engines.shards import Shard, moments_of, streamed_moments
from hf_emms.errors import EmmsError
from hf_emms.features.feature_plan import FeatureInfo
from hf_emms.options import Options
from hf_emms.scoring.estimators import ScoringInputs
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.hub import Repo
    from hf_emms.tasks import Task


T = TypeVar("T")
# Layer → its moments, and its features, float32 (m, D1).
MomentsOf = dict[str, Moments]
FeaturesOf = dict[str, np.ndarray]


@dataclass(frozen=True)
class ShardResult:
    """What is small of a part's extraction.

    Attributes:
        about: layer → the checkpoint.
        refused: layer → why the checkpoint cannot give it, in one line.
        seconds: that it took, loading included.
    """

    about: dict[str, FeatureInfo]
    refused: dict[str, str]
    seconds: float


@dataclass(frozen=True)
class ScoreResult:
    """What the estimators say of a checkpoint, and the seconds that they took."""

    layer_scores: LayerScores
    seconds: float


def extract_part(
    repo: Repo, task: Task, part: Shard, labels: LabelTable, options: Options, keep: bool
) -> tuple[ShardResult, MomentsOf, FeaturesOf | None]:
    """Runs a checkpoint over a part of the inputs.

    Args:
        repo: the checkpoint.
        task: what it is ranked for.
        part: the inputs.
        labels: of all rows of the sample.
        options: how.
        keep: whether the features are wanted beside the moments.

    Returns:
        What is small, the moments, and the features, or None.

    Raises:
        EmmsError: in one line, why the checkpoint cannot be loaded or run.
    """
    return _told(lambda: _extract_part(repo, task, part, labels, options, keep))


def moments_of_features(features: FeaturesOf, part: Shard, labels: LabelTable, options: Options) -> MomentsOf:
    """Moments of features that are there already."""
    return _told(lambda: _moments_of(features, part, labels, options))


def merge(left: MomentsOf, right: MomentsOf) -> MomentsOf:
    """One node of the tree of merges."""
    return {layer: own.merge(right[layer]) for layer, own in left.items()}


def score(moments: MomentsOf, part: Shard, labels: LabelTable, options: Options, *features: FeaturesOf) -> ScoreResult:
    """Scores a checkpoint.

    Args:
        moments: of all rows.
        part: all rows; its inputs are not looked at.
        labels: of all rows.
        options: how.
        features: of one part after the other, where an estimator needs rows.

    Raises:
        EmmsError: in one line, why it has no score.
    """

    def evidence(layer: str) -> ScoringInputs:
        rows = np.concatenate([one[layer] for one in features]) if features else None
        # A copy: what lies in the object store cannot be written to, and the last rows are still to be folded in.
        return scoring_inputs(rows, moments[layer].copy(), part, labels, options)

    def scored() -> ScoreResult:
        started = time.perf_counter()
        judged = layer_scores({layer: partial(evidence, layer) for layer in moments}, {}, options)
        return ScoreResult(judged, time.perf_counter() - started)

    return _told(scored)


def worker_versions() -> dict[str, str]:
    """What a worker has installed."""
    return versions()


def _extract_part(
    repo: Repo, task: Task, part: Shard, labels: LabelTable, options: Options, keep: bool
) -> tuple[ShardResult, MomentsOf, FeaturesOf | None]:
    started = time.perf_counter()
    extractor = load(_here(repo), task, options, part.inputs)
    try:
        if keep:
            rows = filled(batches_of(extractor, part, options), len(part.inputs), extractor.width)
            features = {layer: np.ascontiguousarray(rows[:, own]) for layer, own in extractor.layer_slices.items()}
            moments = _moments_of(features, part, labels, options)
        else:
            features = None
            batches = batches_of(extractor, part, options)
            moments = streamed_moments(batches, extractor.layer_slices, part, labels, options)
    finally:
        extractor.close()
    about = {layer: extractor.info(layer) for layer in extractor.layer_slices}
    refused = {layer: one_line(error) for layer, error in extractor.refused.items()}
    return ShardResult(about, refused, time.perf_counter() - started), moments, features


def _moments_of(features: FeaturesOf, part: Shard, labels: LabelTable, options: Options) -> MomentsOf:
    return {layer: moments_of(own, part, labels, options) for layer, own in features.items()}


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
