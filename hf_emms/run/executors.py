"""Executors for units of work: processes of this machine, and Ray."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from importlib.util import find_spec
from queue import SimpleQueue
from typing import Any

from hf_emms.errors import EmmsError
from hf_emms.options import RunOptions
from hf_emms.options.registry import installed_version
from hf_emms.run.units import Executor
from hf_emms.run.worker import runs_in_worker
from hf_emms.texts import install_command, setting_ref


@contextmanager
def executor_of(
    options: RunOptions, engine: str, executor: Executor | None, *, in_memory: bool
) -> Iterator[Executor | None]:
    """Yield the executor for the units of a ranking, or None if checkpoints run one after the other in one worker.

    Raises:
        EmmsError: Two settings exclude each other, or Ray is not installed.
    """
    if options.gpus_per_checkpoint is not None and engine != "ray":
        problem = setting_ref("gpus_per_checkpoint") + " is for Ray"
        raise EmmsError("setting-without-effect", problem, setting_ref("engine", "ray"))
    if options.workers is not None and (executor is not None or engine == "ray"):
        problem = setting_ref("workers") + " is for this machine, and not for another engine"
        raise EmmsError("settings-exclude-each-other", problem, "leave it out")
    if executor is not None or engine == "ray":
        yield executor or RayExecutor(options.gpus_per_checkpoint)
        return
    gpus = _gpus() if options.device in ("auto", "cuda") and runs_in_worker() else []
    workers = options.workers or (1 if in_memory else max(1, len(gpus)))
    if workers == 1:
        yield None
        return
    with LocalPool(workers, gpus) as pool:
        yield pool


class LocalPool(ThreadPoolExecutor):
    """Processes of this machine, each with its GPU or its share of the cores. If one dies, only its unit is lost.

    Args:
        workers: The number of processes.
        gpus: The names of the GPUs for CUDA_VISIBLE_DEVICES; none for the CPU.
    """

    def __init__(self, workers: int, gpus: list[str]) -> None:
        super().__init__(workers)
        threads = min(int(os.environ.get("OMP_NUM_THREADS") or sys.maxsize), (os.cpu_count() or 1) // workers)
        self._starting, self._idle = threading.Lock(), SimpleQueue[tuple[dict[str, str], ProcessPoolExecutor]]()
        for number in range(workers):
            # Every thread runs one process, so a process that ends does not break the others' pool.
            gpu = {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]} if gpus else {}
            environment = {"OMP_NUM_THREADS": str(max(1, threads))} | gpu
            self._idle.put((environment, self._process(environment)))

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        return super().submit(self._run, function, *arguments, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        while not self._idle.empty():
            self._idle.get()[1].shutdown()

    def _run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        environment, process = self._idle.get()
        try:
            return process.submit(function, *arguments, **options).result()
        except BrokenProcessPool:
            process = self._process(environment)
            raise
        finally:
            self._idle.put((environment, process))

    def _process(self, environment: dict[str, str]) -> ProcessPoolExecutor:
        process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _set_environment, (environment,))
        with self._starting:
            # Without it, the process would import the user's script again.
            main, sys.modules["__main__"] = sys.modules["__main__"], types.ModuleType("__main__")
            try:
                process.submit(os.getpid)
            finally:
                sys.modules["__main__"] = main
        return process


class RayExecutor:
    """Run units on a Ray cluster, or on a local Ray if this machine belongs to none.

    Args:
        gpus: The GPUs per checkpoint. By default 1 if the cluster has any.
    """

    def __init__(self, gpus: str | None) -> None:
        if find_spec("ray") is None:
            raise EmmsError("package-missing", "ray is not installed", install_command("ray"))
        import ray

        if not ray.is_initialized():
            try:
                ray.init(address="auto")
            except ConnectionError:
                ray.init("local")
        self._gpus = float(gpus) if gpus is not None else min(1.0, ray.cluster_resources().get("GPU", 0.0))

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future[Any]:
        import ray

        options = {"num_cpus": 1, "num_gpus": self._gpus}
        unit: Future[Any] = ray.remote(function).options(**options).remote(*arguments).future()
        return unit


def _gpus() -> list[str]:
    """Return the names of the GPUs that this process may use."""
    if installed_version("torch").endswith("+cpu"):
        return []  # without importing torch
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return visible.split(",")[:count] if visible else [str(number) for number in range(count)]


def _set_environment(values: dict[str, str]) -> None:
    os.environ.update(values)
