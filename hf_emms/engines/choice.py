"""Engines by name."""

from __future__ import annotations

import os
from typing import Literal, get_args

from hf_emms.engines.base import Engine
from hf_emms.engines.local import LocalEngine
from hf_emms.errors import EmmsError

EngineName = Literal["local", "ray"]


def engine_of(name: str, *, ray_address: str | None = None, shard_inputs: int | None = None) -> Engine:
    """The engine of a name.

    Args:
        name: "local" or "ray".
        ray_address: of a running Ray cluster; None: RAY_ADDRESS, else one on this machine for this run.
        shard_inputs: inputs a Ray task; None: what keeps the cluster busy.

    Raises:
        EmmsError: an unknown name, options of another engine, or its package is not installed.
    """
    if name not in get_args(EngineName):
        raise EmmsError(f"unknown engine {name!r}", f"one of {', '.join(get_args(EngineName))}, jobs")
    if name == "local":
        if ray_address is not None or shard_inputs is not None:
            option = "--ray-address" if ray_address is not None else "--shard-size"
            raise EmmsError(f"{option} is for a Ray cluster, but the engine is {name}", "--engine ray")
        return LocalEngine()
    if ray_address is None and "RAY_ADDRESS" not in os.environ:
        # Ray reads it when it is imported: its processes then listen on the loopback device, where nobody else is.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        from hf_emms.engines.ray_engine import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise EmmsError("--engine ray needs Ray, which is not installed", "pip install 'hf-emms[ray]'") from None
    return RayEngine(ray_address, shard_inputs)
