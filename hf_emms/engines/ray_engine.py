"""A Ray cluster: reached or started, looked over, and left as it was found.

Checkpoints on a Ray cluster: a task for each part of the inputs, moments merged in a tree, scores where they are.
"""

from __future__ import annotations

import math
import os
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from hf_emms.engines import ray_tasks
from hf_emms.engines.base import Work, failures, one_line, versions
from hf_emms.engines.checkpoint import needs_rows, row_fields
from hf_emms.engines.extraction import CachedFeatures
from hf_emms.engines.ray_tasks import worker_versions
from hf_emms.engines.shards import shard_of, whole
from hf_emms.errors import EmmsError
from hf_emms.features.feature_plan import FeatureInfo
from hf_emms.features.files import weight_files
from hf_emms.formatting import format_bytes
from hf_emms.hub import Repo, listing
from hf_emms.ranking import Row, Seconds

if TYPE_CHECKING:
    from ray import ObjectRef


_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # One task a core: threads of its own would fight those of the others.
    "OMP_NUM_THREADS": "1",
}
_CONNECT_SECONDS = 10.0
_WHERE = "ray status, run on the cluster, tells whether it is up: --ray-address HOST:6379"
_INSTALL = "pip install {} on every node of the cluster"


@dataclass(frozen=True)
class Cluster:
    """What a cluster offers: cores and GPUs in all, and the memory in bytes of its largest node."""

    cpus: int
    gpus: int
    memory: float


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Connects to a cluster, or starts one on this machine that ends with the block.

    Args:
        address: "HOST:PORT", "ray://HOST:PORT" or "auto"; None: RAY_ADDRESS, else this machine. Where this process is
            connected already (`ray.init`), that cluster is used, and left running.

    Raises:
        EmmsError: it cannot be reached, or its nodes have other versions than this machine.
    """
    mine = not ray.is_initialized()
    if mine:
        _connect(address or os.environ.get("RAY_ADDRESS") or None)
    try:
        _check_versions()
        offered = ray.cluster_resources()
        memory = max(node["Resources"].get("memory", 0.0) for node in ray.nodes() if node["Alive"])
        yield Cluster(int(offered.get("CPU", 1)), int(offered.get("GPU", 0)), memory)
    finally:
        if mine:
            ray.shutdown()


def _connect(address: str | None) -> None:
    _check_reachable(address)
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError) as error:
        what = f"the Ray cluster at {address} cannot be used" if address else "no Ray cluster can be started here"
        raise EmmsError(f"{what}: {' '.join(str(error).split())[:300]}", _WHERE if address else None) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _check_reachable(address: str | None) -> None:
    """Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise EmmsError(f"nothing answers at the Ray address {address}: {error.strerror or error}", _WHERE) from error


def _check_versions() -> None:
    """Rows are kept under this machine's versions: a worker with others would make them say what is not so."""
    try:
        theirs = ray.get(ray.remote(worker_versions).options(num_cpus=0).remote())
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        hint = _INSTALL.format(f"hf-emms=={versions()['hf_emms']}")
        raise EmmsError(f"the workers of the Ray cluster cannot run hf_emms: {reason}", hint) from error
    other = {name: version for name, version in versions().items() if theirs.get(name) != version}
    if other:
        told = ", ".join(f"{name} {theirs.get(name, 'missing')} (here {version})" for name, version in other.items())
        wanted = " ".join(f"{name.replace('_', '-')}=={version}" for name, version in other.items())
        raise EmmsError(f"the workers of the Ray cluster have other versions: {told}", _INSTALL.format(wanted))


# A task loads the checkpoint: fewer inputs are not worth it.
_FEWEST_INPUTS = 256
# Bytes of a task beside the weights: libraries, a batch. Weights in half precision double when they are loaded.
_BESIDE_BYTES = 1 << 30
_LOADED = 2
# How often Ray starts a task anew whose worker is lost. What a checkpoint raises, it would raise again.
_RETRIES: dict[str, Any] = {"max_retries": 3, "retry_exceptions": False}
# Finished tasks are looked at in groups: a run of many would spend its time asking.
_POLL_SECONDS = 0.1


class RayEngine:
    """Runs checkpoints on a Ray cluster.

    Args:
        address: see `connected`.
        shard_inputs: inputs a task; None: what keeps the cluster busy.
    """

    def __init__(self, address: str | None = None, shard_inputs: int | None = None) -> None:
        self._address = address
        self._shard_inputs = shard_inputs

    def rows(self, work: Work) -> Generator[Row, None, None]:
        """See `Engine.rows`. The seconds of a row are those of all its tasks together."""
        if not work.checkpoints:
            return
        with connected(self._address) as cluster:
            run = _Run(work, cluster, self._shard_inputs)
            try:
                yield from run.rows()
            finally:
                run.cancel()


@dataclass
class _PendingCheckpoint:
    """A checkpoint whose tasks are under way.

    Attributes:
        repo: the checkpoint.
        kept: where its features are kept.
        judgement: of the last task.
        pieces: what is small of each part, in the order of the inputs.
        features: of each part, likewise; None where they are not wanted.
        about: layer → the checkpoint, where the cache had all its features.
    """

    repo: Repo
    kept: CachedFeatures
    judgement: ObjectRef
    pieces: list[ObjectRef] = field(default_factory=list)
    features: list[ObjectRef] = field(default_factory=list)
    about: dict[str, FeatureInfo] | None = None

    def __post_init__(self) -> None:
        self.under_way = [*self.pieces, self.judgement]

    def cancel(self) -> None:
        for ref in self.under_way:
            ray.cancel(ref, force=True)


class _Run:
    def __init__(self, work: Work, cluster: Cluster, shard_inputs: int | None) -> None:
        self._work = work
        self._cluster = cluster
        self._on_gpu = _on_gpu(work.options.device, cluster)
        self._slots = max(1, cluster.gpus if self._on_gpu else cluster.cpus)
        self._keep = work.cache.enabled or needs_rows(work.options)
        self._inputs = len(work.sample.inputs)
        self._size = shard_inputs or shard_size(self._inputs, len(work.checkpoints), self._slots)
        self._starts = range(0, self._inputs, self._size)
        self._parts: list[ObjectRef] = []
        self._flights: dict[str, _PendingCheckpoint] = {}

    def rows(self) -> Generator[Row, None, None]:
        labels, sample = self._work.labels(), self._work.sample
        self._labels = ray.put(labels)
        self._settings = ray.put(self._work.options)
        self._all_rows = ray.put(replace(whole(sample), inputs=()))
        self._parts = [ray.put(shard_of(sample, slice(start, start + self._size))) for start in self._starts]
        waiting = deque(self._work.checkpoints.items())
        ahead = self._slots + 1  # enough to leave no slot idle, few enough to keep the object store small
        while waiting or self._flights:
            while waiting and len(self._flights) < ahead:
                failed = self._start(*waiting.popleft())
                if failed is not None:
                    yield failed
            yield from self._landed()

    def cancel(self) -> None:
        """Ends what is under way."""
        for flight in self._flights.values():
            flight.cancel()

    def _start(self, name: str, repo: Repo) -> Row | None:
        """Hands a checkpoint to the cluster; its row where that is of no use."""
        self._work.progress.started(name, len(self._work.sample.inputs))
        try:
            self._flights[name] = self._flight(repo)
        except failures() as error:
            return self._finished(Row(name, repo.revision, error=one_line(error)))
        return None

    def _flight(self, repo: Repo) -> _PendingCheckpoint:
        work = self._work
        kept = CachedFeatures(repo, work.sample, work.options, work.cache)
        found = {layer: kept.load(layer) for layer in work.options.read_layers}
        stored = {layer: one for layer, one in found.items() if one is not None}
        if len(stored) == len(found):
            features = ray.put({layer: one.features for layer, one in stored.items()})
            moments = _task(ray_tasks.moments_of_features).remote(
                features, self._all_rows, self._labels, self._settings
            )
            return _PendingCheckpoint(
                repo, kept, self._score(moments, [features]), about={layer: one.about for layer, one in stored.items()}
            )
        extract = _task(ray_tasks.extract_part, num_returns=3, **self._resources(repo))
        parts = [
            extract.remote(repo, work.sample.task, part, self._labels, self._settings, self._keep)
            for part in self._parts
        ]
        pieces, moments, features = (list(refs) for refs in zip(*parts, strict=True))
        return _PendingCheckpoint(repo, kept, self._score(_merged(moments), features), pieces, features)

    def _score(self, moments: ObjectRef, features: list[ObjectRef]) -> ObjectRef:
        rows = features if needs_rows(self._work.options) else []
        return _task(ray_tasks.score).remote(moments, self._all_rows, self._labels, self._settings, *rows)

    def _resources(self, repo: Repo) -> dict[str, float]:
        files = listing(repo)
        weights = sum(files[path].bytes for path in weight_files(files, allow_pickle=self._work.options.allow_pickle))
        if weights > self._cluster.memory:
            raise EmmsError(
                f"the weights take {format_bytes(weights)}, but no node offers more than "
                f"{format_bytes(self._cluster.memory)} of memory",
                "add a larger node to the cluster, or leave the checkpoint out",
            )
        memory = min(_LOADED * weights + _BESIDE_BYTES, self._cluster.memory)
        return {"num_cpus": 1, "num_gpus": float(self._on_gpu), "memory": memory}

    def _landed(self) -> Generator[Row, None, None]:
        """Waits until something is finished; yields the rows that it completes."""
        under_way = {ref: name for name, flight in self._flights.items() for ref in flight.under_way}
        if not under_way:
            return
        ready, _ = ray.wait(list(under_way), num_returns=len(under_way), timeout=_POLL_SECONDS)
        if not ready:
            ready, _ = ray.wait(list(under_way))
        for ref in ready:
            name = under_way[ref]
            flight = self._flights.get(name)
            if flight is None:  # it has failed meanwhile
                continue
            row = self._row(name, flight, ref)
            if row is not None:
                del self._flights[name]
                yield self._finished(row)

    def _row(self, name: str, flight: _PendingCheckpoint, ref: ObjectRef) -> Row | None:
        """What a finished task means: a failed row, a whole one, or nothing yet."""
        flight.under_way.remove(ref)
        try:
            result = ray.get(ref)
            if isinstance(result, ray_tasks.ScoreResult):
                return self._scored(name, flight, result)
        except (ray.exceptions.RayError, *failures()) as error:
            flight.cancel()
            return Row(name, flight.repo.revision, error=_reason(error))
        place = flight.pieces.index(ref)
        self._work.progress.advanced(name, len(range(self._starts[place], self._inputs)[: self._size]))
        return None

    def _scored(self, name: str, flight: _PendingCheckpoint, judgement: ray_tasks.ScoreResult) -> Row:
        pieces: list[ray_tasks.ShardResult] = ray.get(flight.pieces)
        about, layer_scores = flight.about, judgement.layer_scores
        if about is not None:
            self._work.progress.advanced(name, self._inputs)
        else:
            about = {
                layer: reduce(FeatureInfo.merge, (piece.about[layer] for piece in pieces)) for layer in pieces[0].about
            }
            layer_scores = replace(layer_scores, refused=layer_scores.refused | pieces[0].refused)
            self._keep_features(flight, about)
        return Row(
            name,
            flight.repo.revision,
            seconds=Seconds(round(sum(piece.seconds for piece in pieces), 3), round(judgement.seconds, 3)),
            cached="none" if flight.about is None else "features",
            **row_fields(layer_scores, about, self._work.options),
        )

    def _keep_features(self, flight: _PendingCheckpoint, about: dict[str, FeatureInfo]) -> None:
        """Brings all features to this machine's cache, one part after the other."""
        if not self._work.cache.enabled:
            return
        for layer, told in about.items():
            whole = np.empty((self._inputs, told.width), np.float32)
            for start, ref in zip(self._starts, flight.features, strict=True):
                whole[start : start + self._size] = ray.get(ref)[layer]
            flight.kept.store(whole, told, layer)

    def _finished(self, row: Row) -> Row:
        self._work.progress.finished(row)
        return row


def shard_size(inputs: int, checkpoints: int, slots: int) -> int:
    """Inputs a task: two tasks a slot, so that none is idle long, but none so small that loading is most of it."""
    tasks = math.ceil(2 * slots / checkpoints)
    return min(inputs, max(_FEWEST_INPUTS, math.ceil(inputs / tasks)))


def _on_gpu(device: str, cluster: Cluster) -> bool:
    if device.startswith("cuda") and not cluster.gpus:
        raise EmmsError(f"--device {device}, but the Ray cluster has no GPU", "--device auto, or add GPU nodes to it")
    if device.startswith("cuda:"):
        raise EmmsError(f"--device {device}: on a Ray cluster, Ray picks the GPU", "--device cuda")
    return device in ("auto", "cuda") and cluster.gpus > 0


def _task(function: Callable[..., Any], **options: Any) -> Any:
    return ray.remote(function).options(**_RETRIES, **options)


def _merged(moments: list[ObjectRef]) -> ObjectRef:
    """A tree of merges of neighbours: the same sums in the same order, whichever worker is first."""
    while len(moments) > 1:
        pairs = [moments[place : place + 2] for place in range(0, len(moments), 2)]
        moments = [_task(ray_tasks.merge).remote(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return moments[0]


def _reason(error: Exception) -> str:
    """Why a task has failed, in one line."""
    cause: BaseException = error
    while isinstance(cause, ray.exceptions.RayTaskError):
        cause = cause.cause
    if isinstance(cause, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)):
        tries = _RETRIES["max_retries"] + 1
        lost = EmmsError(f"its worker died {tries} times, mostly for want of memory", "--shard-size N, or larger nodes")
        return one_line(lost)
    return one_line(cause)
