"""A Ray cluster: connecting to it, what a checkpoint needs of it, and tasks with their results."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray

from hf_emms.cache import Cache
from hf_emms.errors import EmmsError, one_line
from hf_emms.features.checkpoint_files import needed_weights
from hf_emms.formatting import format_bytes
from hf_emms.hub import Repo, listing
from hf_emms.registry import versions

if TYPE_CHECKING:
    from ray import ObjectRef


_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # There is one task for each core: more threads would compete for cores.
    "OMP_NUM_THREADS": "1",
}
_CONNECT_SECONDS = 10.0
_WHERE = "ray status, run on the cluster, shows whether it is up: --ray-address HOST:6379"
_INSTALL = "pip install {} on every node of the cluster"
# Bytes that a task needs besides the weights: libraries, a batch. Weights in half precision double when loaded.
TASK_BYTES = 1 << 30
_WEIGHTS_FACTOR = 2
# How often Ray restarts a task whose worker is lost. What a checkpoint raises, it would raise again.
_RETRIES: dict[str, Any] = {"max_retries": 3, "retry_exceptions": False}


@dataclass(frozen=True)
class Cluster:
    """What a cluster offers.

    Attributes:
        cpus: cores in all.
        gpus: in all.
        memory: bytes of its largest node.
        cores: of the smallest node that has any.
    """

    cpus: int
    gpus: int
    memory: float
    cores: int


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Connects to a cluster, or starts one on this machine that ends with the block.

    Args:
        address: "HOST:PORT", "ray://HOST:PORT" or "auto"; None: RAY_ADDRESS, else this machine. Where this process is
            connected already (`ray.init`), that cluster is used, and left running.

    Raises:
        EmmsError: it cannot be reached, or its nodes have other versions than this machine.
    """
    connect = not ray.is_initialized()
    if connect:
        _connect(address or os.environ.get("RAY_ADDRESS") or None)
    try:
        _check_versions()
        offered = ray.cluster_resources()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        memory = max(node.get("memory", 0.0) for node in nodes)
        cores = min((int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1), default=1)
        yield Cluster(int(offered.get("CPU", 1)), int(offered.get("GPU", 0)), memory, cores)
    finally:
        if connect:
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
    """Fails soon where Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise EmmsError(f"nothing answers at the Ray address {address}: {error.strerror or error}", _WHERE) from error


def _check_versions() -> None:
    """Rows are cached under this machine's versions, so the workers must have the same."""
    try:
        theirs = ray.get(ray.remote(versions).options(num_cpus=0).remote())
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[-1]
        hint = _INSTALL.format(f"hf-emms=={versions()['hf_emms']}")
        raise EmmsError(f"the workers of the Ray cluster cannot run hf_emms: {reason}", hint) from error
    other = {name: version for name, version in versions().items() if theirs.get(name) != version}
    if other:
        found = ", ".join(f"{name} {theirs.get(name, 'missing')} (here {version})" for name, version in other.items())
        wanted = " ".join(f"{name.replace('_', '-')}=={version}" for name, version in other.items())
        raise EmmsError(f"the workers of the Ray cluster have other versions: {found}", _INSTALL.format(wanted))


def on_gpu(device: str, cluster: Cluster) -> bool:
    """Whether checkpoints run on GPUs of the cluster.

    Raises:
        EmmsError: the device asks for one that it does not offer.
    """
    if device.startswith("cuda") and not cluster.gpus:
        raise EmmsError(f"--device {device}, but the Ray cluster has no GPU", "--device auto, or add GPU nodes to it")
    if device.startswith("cuda:"):
        raise EmmsError(f"--device {device}: on a Ray cluster, Ray picks the GPU", "--device cuda")
    return device in ("auto", "cuda") and cluster.gpus > 0


def resources(repo: Repo, cluster: Cluster, cache: Cache, *, gpu: bool) -> dict[str, float]:
    """What a task that loads a checkpoint asks for.

    Raises:
        EmmsError: its weights are larger than any node's memory.
    """
    weights = sum(file.bytes for file in needed_weights(repo, listing(repo), cache))
    if weights > cluster.memory:
        raise EmmsError(
            f"the weights take {format_bytes(weights)}, but no node offers more than "
            f"{format_bytes(cluster.memory)} of memory",
            "add a larger node to the cluster, or leave the checkpoint out",
        )
    memory = min(_WEIGHTS_FACTOR * weights + TASK_BYTES, cluster.memory)
    return {"num_cpus": 1, "num_gpus": float(gpu), "memory": memory}


def task(function: Callable[..., Any], **options: Any) -> Any:
    """A function as a task of Ray."""
    return ray.remote(function).options(**_RETRIES, **options)


def result(ref: ObjectRef, *, smaller: str = "--shard-size N") -> Any:
    """The result of a task.

    Args:
        ref: what it will be.
        smaller: the option with which it takes less memory.

    Raises:
        EmmsError: in one line, why it has failed.
    """
    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:
        cause: BaseException = error
        while isinstance(cause, ray.exceptions.RayTaskError):
            cause = cause.cause
        if isinstance(cause, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)):
            tries = _RETRIES["max_retries"] + 1
            reason = f"its worker died {tries} times, mostly because memory ran out"
            raise EmmsError(reason, f"{smaller}, or larger nodes") from error
        raise EmmsError(one_line(cause)) from error
