"""The runs of a confirmation on a Ray cluster: one task a run, each with a GPU or its share of the cores."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray

from hf_emms.errors import EmmsError
from hf_emms.files import write_atomic
from hf_emms.finetune.fine_tune import FineTuning, plan_for, unfinished_folder
from hf_emms.finetune.recipe import BYTES_PER_PARAMETER, TrainingJob
from hf_emms.finetune.splits import Splits
from hf_emms.finetune.training import run_job
from hf_emms.options import Options
from hf_emms.ranking import TrainingRun
from hf_emms.run.engines.ray_cluster import TASK_BYTES, Cluster, connected, on_gpu, result, task
from hf_emms.run.engines.ray_tasks import on_this_node

Files = dict[str, bytes]
"""Path → content."""


def train_on_ray(
    work: FineTuning, jobs: Sequence[TrainingJob]
) -> Generator[tuple[TrainingJob, TrainingRun], None, None]:
    """A `TrainAll`: on the cluster of the options, as many at a time as it has GPUs or cores for.

    A task whose worker is lost goes on from its last whole state, where the cache is on storage that its node sees.
    """
    if not jobs:
        return
    with connected(work.options.ray_address) as cluster:
        splits, options, running = ray.put(work.splits), ray.put(work.options), dict[Any, tuple[TrainingJob, Any]]()
        try:
            for job in jobs:
                training = task(_train, num_returns=2, **_resources(job, work.options, cluster, len(jobs)))
                ref, files = training.remote(
                    job, splits, options, work.cache.root, work.digest(job), work.deadline, work.keeper is not None
                )
                running[ref] = job, files
                work.progress.started(job.name, job.recipe.total_steps(work.splits.training_rows))
            while running:
                (ready, *_), _ = ray.wait(list(running))
                job, files = running.pop(ready)
                try:
                    run = result(ready, smaller="--batch-size N")
                    _write(work.model_folder(job), result(files))
                except EmmsError as error:
                    run = TrainingRun(job.learning_rate, job.seed, error=error.message)
                work.progress.advanced(job.name, job.recipe.total_steps(work.splits.training_rows))
                yield job, run
        finally:
            for ref in running:
                ray.cancel(ref, force=True)


def _resources(job: TrainingJob, options: Options, cluster: Cluster, jobs: int) -> dict[str, float]:
    """What one of so many runs takes."""
    memory = min(BYTES_PER_PARAMETER * (job.parameters or 0) + TASK_BYTES, cluster.memory)
    gpu = on_gpu(options.device, cluster)
    side_by_side = min(jobs, cluster.gpus) if gpu else jobs
    cores = max(1, min(cluster.cpus // side_by_side, cluster.cores))
    return {"num_cpus": cores, "num_gpus": float(gpu), "memory": memory}


def _train(
    job: TrainingJob,
    splits: Splits,
    options: Options,
    root: Path | None,
    digest: str,
    deadline: float | None,
    keep: bool,
) -> tuple[TrainingRun, Files]:
    """One run on a worker; its result, and the files of its model where they are wanted."""
    import torch

    torch.set_num_threads(max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1))))
    job = replace(job, plan=plan_for(on_this_node(job.plan.repo), splits.task, options))
    with unfinished_folder(root, digest) as folder, tempfile.TemporaryDirectory() as temporary:
        model = Path(temporary, "model")
        run = run_job(job, splits, options, folder, save_to=model if keep else None, deadline=deadline)
        paths = [path for path in model.rglob("*") if path.is_file()]
        return run, {path.relative_to(model).as_posix(): path.read_bytes() for path in paths}


def _write(folder: Path | None, files: Files) -> None:
    if folder is not None and files:
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in files.items():
            write_atomic(folder / path, content)
