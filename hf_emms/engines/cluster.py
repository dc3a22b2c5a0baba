"""A Ray cluster: reached or started, looked over, and left as it was found."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray

from hf_emms.engines.tasks import worker_versions
from hf_emms.engines.versions import versions
from hf_emms.errors import EmmsError

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # One task a core: threads of its own would fight those of the others.
    "OMP_NUM_THREADS": "1",
}
_PATIENCE_SECONDS = 10.0
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
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_SECONDS).close()
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
