"""Checkpoints on several samples on a Ray cluster: a task loads one checkpoint and runs it on all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray

from hf_emms.hub import Repo
from hf_emms.ranking import Row
from hf_emms.run.engines import ray_tasks
from hf_emms.run.engines.base import Work, or_failed_row
from hf_emms.run.engines.ray_cluster import Cluster, on_gpu, resources, result, task


@dataclass
class PendingSweep:
    """A checkpoint whose task is running: its name in each of the works that have no row of it yet."""

    repo: Repo
    stream: Any
    names: dict[int, str] = field(default_factory=dict)


def sweep_cells(works: Sequence[Work], cluster: Cluster) -> Generator[tuple[int, Row], None, None]:
    """See `LocalEngine.cells`."""
    names: dict[Repo, dict[int, str]] = {}
    for place, work in enumerate(works):
        for name, repo in work.checkpoints.items():
            names.setdefault(repo, {})[place] = name
    samples = [ray.put((work.sample, work.labels(), work.options)) for work in works]
    gpu = any(on_gpu(work.options.device, cluster) for work in works)
    waiting = deque(names.items())
    running: dict[Any, PendingSweep] = {}

    def failed(pending: PendingSweep, row: Row) -> Generator[tuple[int, Row], None, None]:
        for place, name in pending.names.items():
            own = Row(name, row.revision, error=row.error)
            works[place].progress.finished(own)
            yield place, own

    def submit(pending: PendingSweep) -> None:
        run = task(
            ray_tasks.run_on_samples,
            num_returns="streaming",
            **resources(pending.repo, cluster, works[next(iter(pending.names))].cache, gpu=gpu),
        )
        pending.stream = run.remote(pending.repo, pending.names, *(samples[place] for place in pending.names))
        running[pending.stream] = pending

    try:
        while waiting or running:
            while waiting and len(running) <= max(1, cluster.gpus if gpu else cluster.cpus):
                repo, own_names = waiting.popleft()
                pending = PendingSweep(repo, None, own_names)
                for place, name in own_names.items():
                    works[place].progress.started(name, 0)
                refused = or_failed_row(repo.id, repo.revision, partial(submit, pending))
                if refused is not None:
                    yield from failed(pending, refused)
            if not running:
                continue
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            pending = running[ready]
            ref = next(ready, None)
            if ref is None:
                del running[ready]
                continue
            found = or_failed_row(pending.repo.id, pending.repo.revision, partial(result, ref))
            if isinstance(found, Row):
                del running[ready]
                yield from failed(pending, found)
                continue
            place, row = found
            del pending.names[place]
            works[place].progress.finished(row)
            yield place, row
    finally:
        for stream in running:
            ray.cancel(stream, force=True)
