"""Checkpoints on a Ray cluster: a task for each shard of the inputs, moments merged in a tree, then scored."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import TYPE_CHECKING

import numpy as np
import ray

from hf_emms.hub import Repo
from hf_emms.ranking import Row
from hf_emms.run.engines import ray_tasks
from hf_emms.run.engines.base import Work, or_failed_row
from hf_emms.run.engines.checkpoint import LayerScores, scored_row
from hf_emms.run.engines.extraction import Extraction, FeatureCache, needs_rows
from hf_emms.run.engines.ray_cluster import Cluster, connected, on_gpu, resources, result, task
from hf_emms.run.engines.ray_sweep import sweep_cells
from hf_emms.run.engines.shards import shard_of, whole

if TYPE_CHECKING:
    from ray import ObjectRef


# A task loads the checkpoint: fewer inputs are not worth it.
_FEWEST_INPUTS = 256
# Finished tasks are collected in groups: with many tasks, asking for each one alone would take most of the time.
_POLL_SECONDS = 0.1


class RayEngine:
    """Runs checkpoints on a Ray cluster.

    Args:
        address: see `connected`.
        shard_inputs: inputs of a task; None: what keeps the cluster busy.
    """

    def __init__(self, address: str | None = None, shard_inputs: int | None = None) -> None:
        self._address = address
        self._shard_inputs = shard_inputs

    def rows(self, work: Work) -> Generator[Row, None, None]:
        """See `Engine.rows`. The seconds of a row are the sum over its tasks."""
        if not work.checkpoints:
            return
        with connected(self._address) as cluster:
            run = _Run(work, cluster, self._shard_inputs)
            try:
                yield from run.rows()
            finally:
                run.cancel()

    def cells(self, works: Sequence[Work]) -> Generator[tuple[int, Row], None, None]:
        """See `LocalEngine.cells`. A checkpoint is a task, and its node's own cache holds its features."""
        with connected(self._address) as cluster:
            yield from sweep_cells(works, cluster)


@dataclass
class PendingCheckpoint:
    """A checkpoint whose tasks are running.

    Attributes:
        name: in the ranking.
        repo: the checkpoint.
        store: where its features are cached.
        scores: result of the last task.
        extractions: information about the features of each shard, in the order of the inputs.
        features: of each shard, likewise.
        cached: what the cache has, if it has all features.
    """

    name: str
    repo: Repo
    store: FeatureCache
    scores: ObjectRef
    extractions: list[ObjectRef] = field(default_factory=list)
    features: list[ObjectRef] = field(default_factory=list)
    cached: Extraction | None = None

    def __post_init__(self) -> None:
        self.running = [*self.extractions, self.scores]

    def cancel(self) -> None:
        for ref in self.running:
            ray.cancel(ref, force=True)


class _Run:
    def __init__(self, work: Work, cluster: Cluster, shard_inputs: int | None) -> None:
        self._work = work
        self._cluster = cluster
        self._on_gpu = on_gpu(work.options.device, cluster)
        self._slots = max(1, cluster.gpus if self._on_gpu else cluster.cpus)
        self._keep = work.cache.enabled or needs_rows(work.options)
        self._inputs = len(work.sample.inputs)
        self._size = shard_inputs or shard_size(self._inputs, len(work.checkpoints), self._slots)
        self._starts = range(0, self._inputs, self._size)
        self._pending: dict[str, PendingCheckpoint] = {}

    def rows(self) -> Generator[Row, None, None]:
        labels, sample = self._work.labels(), self._work.sample
        self._labels = ray.put(labels)
        self._options = ray.put(self._work.options)
        self._all_rows = ray.put(replace(whole(sample), inputs=()))
        self._shards = [ray.put(shard_of(sample, slice(start, start + self._size))) for start in self._starts]
        waiting = deque(self._work.checkpoints.items())
        most = self._slots + 1  # enough to leave no slot idle, few enough to keep the object store small
        while waiting or self._pending:
            while waiting and len(self._pending) < most:
                name, repo = waiting.popleft()
                self._work.progress.started(name, self._inputs)
                pending = or_failed_row(name, repo.revision, partial(self._submit, name, repo))
                if isinstance(pending, Row):
                    yield self._finished(pending)
                else:
                    self._pending[name] = pending
            yield from self._completed()

    def cancel(self) -> None:
        """Ends what is running."""
        for pending in self._pending.values():
            pending.cancel()

    def _submit(self, name: str, repo: Repo) -> PendingCheckpoint:
        """Starts the tasks of a checkpoint."""
        work = self._work
        store = FeatureCache(repo, work.sample, work.options, work.cache)
        cached = store.load()
        if len(cached.info) == len(work.options.read_layers):
            features = ray.put(cached.features)
            moments = task(ray_tasks.moments_of_features).remote(features, self._all_rows, self._labels, self._options)
            scores = self._score(moments, [features])
            return PendingCheckpoint(name, repo, store, scores, cached=replace(cached, features={}))
        extract = task(
            ray_tasks.extract_shard, num_returns=3, **resources(repo, self._cluster, work.cache, gpu=self._on_gpu)
        )
        results = [
            extract.remote(repo, work.sample.task, shard, self._labels, self._options, self._keep)
            for shard in self._shards
        ]
        extractions, moments, features = (list(refs) for refs in zip(*results, strict=True))
        return PendingCheckpoint(name, repo, store, self._score(_merged(moments), features), extractions, features)

    def _score(self, moments: ObjectRef, features: list[ObjectRef]) -> ObjectRef:
        rows = features if needs_rows(self._work.options) else []
        return task(ray_tasks.score).remote(moments, self._all_rows, self._labels, self._options, *rows)

    def _completed(self) -> Generator[Row, None, None]:
        """Waits until a task is finished; yields the rows that are complete then."""
        running = {ref: name for name, pending in self._pending.items() for ref in pending.running}
        if not running:
            return
        ready, _ = ray.wait(list(running), num_returns=len(running), timeout=_POLL_SECONDS)
        if not ready:
            ready, _ = ray.wait(list(running))
        for ref in ready:
            pending = self._pending.get(running[ref])
            if pending is None:  # it has failed meanwhile
                continue
            pending.running.remove(ref)
            row = or_failed_row(pending.name, pending.repo.revision, partial(self._row, pending, ref))
            if row is not None:
                if row.error is not None:
                    pending.cancel()
                del self._pending[pending.name]
                yield self._finished(row)

    def _row(self, pending: PendingCheckpoint, ref: ObjectRef) -> Row | None:
        """The row of a checkpoint if a finished task is its last one."""
        found = result(ref)
        if isinstance(found, LayerScores):
            return self._scored(pending, found)
        start = self._starts[pending.extractions.index(ref)]
        self._work.progress.advanced(pending.name, len(range(start, self._inputs)[: self._size]))
        return None

    def _scored(self, pending: PendingCheckpoint, scores: LayerScores) -> Row:
        extraction = pending.cached
        if extraction is not None:
            self._work.progress.advanced(pending.name, self._inputs)
        else:
            extraction = reduce(Extraction.merge, map(result, pending.extractions))
            self._cache_features(pending, extraction)
        return scored_row(pending.name, pending.repo, extraction, scores, self._work.options)

    def _cache_features(self, pending: PendingCheckpoint, extraction: Extraction) -> None:
        """Copies all features to this machine's cache, one shard after the other."""
        if not self._work.cache.enabled:
            return
        for layer, info in extraction.info.items():
            features = np.empty((self._inputs, info.width), np.float32)
            for start, ref in zip(self._starts, pending.features, strict=True):
                features[start : start + self._size] = result(ref)[layer]
            pending.store.save(layer, features, info)

    def _finished(self, row: Row) -> Row:
        self._work.progress.finished(row)
        return row


def shard_size(inputs: int, checkpoints: int, slots: int) -> int:
    """Inputs of a task: two tasks for each slot, so that none is idle long, but not so few that loading dominates."""
    tasks = math.ceil(2 * slots / checkpoints)
    return min(inputs, max(_FEWEST_INPUTS, math.ceil(inputs / tasks)))


def _merged(moments: list[ObjectRef]) -> ObjectRef:
    """A tree of merges of neighbours: the same sums in the same order, whichever worker is first."""
    while len(moments) > 1:
        pairs = [moments[place : place + 2] for place in range(0, len(moments), 2)]
        moments = [task(ray_tasks.merge).remote(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return moments[0]
