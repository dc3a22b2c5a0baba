"""What the workers of a Ray cluster run: functions of plain data, which Ray may run again on another worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hf_emms.cache import default_cache
from hf_emms.errors import EmmsError, checkpoint_errors
from hf_emms.options import Options
from hf_emms.presets import demo
from hf_emms.ranking import Row
from hf_emms.ranking.progress import Silent
from hf_emms.run.engines.base import Work
from hf_emms.run.engines.checkpoint import LayerScores, score_layers, scoring_inputs
from hf_emms.run.engines.extraction import Extraction, run_on_shard
from hf_emms.run.engines.local import LocalEngine
from hf_emms.run.engines.shards import Shard, moments_of
from hf_emms.scoring.estimators import ScoringInputs
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    from hf_emms.data import Sample
    from hf_emms.hub import Repo
    from hf_emms.tasks import Task

LayerMoments = dict[str, Moments]
LayerFeatures = dict[str, np.ndarray]
"""Layer → float32 (m, D1)."""


@checkpoint_errors()
def extract_shard(
    repo: Repo, task: Task, shard: Shard, labels: LabelTable, options: Options, keep: bool
) -> tuple[Extraction, LayerMoments, LayerFeatures]:
    """Runs a checkpoint on a shard.

    Args:
        repo: the checkpoint.
        task: what it is ranked for.
        shard: the inputs.
        labels: of all rows of the sample.
        options: how.
        keep: whether the features are wanted besides the moments.

    Returns:
        Information about the features, the moments, and the features (none unless they are wanted).

    Raises:
        EmmsError: in one line, why the checkpoint cannot be loaded or run.
    """
    extraction = run_on_shard(on_this_node(repo), task, shard, labels, options, keep=keep)
    features = {layer: np.ascontiguousarray(its) for layer, its in extraction.features.items()}
    moments = extraction.moments or _moments(features, shard, labels, options)
    return replace(extraction, features={}, moments={}), moments, features


@checkpoint_errors()
def moments_of_features(features: LayerFeatures, shard: Shard, labels: LabelTable, options: Options) -> LayerMoments:
    """Moments of cached features."""
    return _moments(features, shard, labels, options)


def merge(left: LayerMoments, right: LayerMoments) -> LayerMoments:
    """Moments of the rows of both."""
    return {layer: moments.merge(right[layer]) for layer, moments in left.items()}


@checkpoint_errors()
def score(
    moments: LayerMoments, shard: Shard, labels: LabelTable, options: Options, *features: LayerFeatures
) -> LayerScores:
    """Scores a checkpoint.

    Args:
        moments: of all rows.
        shard: all rows; its inputs are not used.
        labels: of all rows.
        options: how.
        features: of the shards of inputs in order, if an estimator needs rows.

    Raises:
        EmmsError: in one line, why it has no score.
    """

    def inputs_of(layer: str) -> ScoringInputs:
        rows = np.concatenate([of_shard[layer] for of_shard in features]) if features else None
        # A copy: objects of the store are read-only, and moments may still have rows to accumulate.
        return scoring_inputs(rows, moments[layer].copy(), shard, labels, options)

    return score_layers(moments, inputs_of, options)


def run_on_samples(
    repo: Repo, names: dict[int, str], *samples: tuple[Sample, LabelTable, Options]
) -> Iterator[tuple[int, Row]]:
    """Runs a checkpoint on several samples; it is loaded once.

    Args:
        repo: the checkpoint.
        names: place of a sample → the checkpoint's name in its ranking, in the order of the samples.
        samples: each with the F-labels of its rows, and how it is run and scored.

    Yields:
        The place of a sample, and the row.

    Raises:
        EmmsError: in one line, why it cannot be run at all.
    """
    with checkpoint_errors():
        here = on_this_node(repo)
        works = [
            Work({name: here}, sample, partial(_same, labels), options, default_cache(options.cache), Silent())
            for name, (sample, labels, options) in zip(names.values(), samples, strict=True)
        ]
        places = list(names)
        for place, row in LocalEngine().cells(works):
            yield places[place], row


def _same(labels: LabelTable) -> LabelTable:
    return labels


def _moments(features: LayerFeatures, shard: Shard, labels: LabelTable, options: Options) -> LayerMoments:
    return {layer: moments_of(its, shard, labels, options, sampled=True) for layer, its in features.items()}


def on_this_node(repo: Repo) -> Repo:
    """The checkpoint with its folder on this node; demo checkpoints are in the installed package.

    Raises:
        EmmsError: the folder is not here.
    """
    folder = demo.folder_of(repo.id) or repo.folder
    if folder is not None and not folder.exists():
        raise EmmsError(
            f"the folder {repo.id} is not on the node that was to run it",
            "put it on storage that every node sees, or on the Hub",
        )
    return replace(repo, folder=folder)
