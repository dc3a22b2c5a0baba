"""Checkpoints on a Ray cluster: a task runs a checkpoint on its samples, or fine-tunes it once."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import ray

from hf_emms.cache import Cache
from hf_emms.cache.files import atomic_folder
from hf_emms.errors import (
    EmmsError,
    HintStyle,
    checkpoint_errors,
    current_hint_style,
    format_bytes,
    hint_style,
    one_line,
    setting_ref,
)
from hf_emms.features.checkpoint_files import fetch_descriptions
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.finetune.fine_tune import FineTuning, not_started, run_lock, spec_for
from hf_emms.finetune.memory import BYTES_OF_WEIGHT, BYTES_PER_PARAMETER
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.finetune.resume_states import StorageError, UnsavedModelError, unfinished_folder
from hf_emms.finetune.splits import Splits
from hf_emms.finetune.training import run_job
from hf_emms.hub import Repo
from hf_emms.options import FeatureOptions, RunOptions, ScoringOptions
from hf_emms.options.registry import installed_versions, versions
from hf_emms.presets import demo
from hf_emms.ranking import Row, TrainingRun
from hf_emms.ranking.progress import Progress
from hf_emms.run.engines import EngineInput
from hf_emms.run.engines.extraction import LOADED_FACTOR, weight_bytes
from hf_emms.run.engines.local import LocalEngine
from hf_emms.scoring.labels import LabelTable

if TYPE_CHECKING:
    from hf_emms.data import Sample

T = TypeVar("T")

_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Each core has a task: more threads would compete for cores.
    "OMP_NUM_THREADS": "1",
}
# Packages that only some checkpoints and trainings need.
_OPTIONAL = ("accelerate", "peft", "timm", "torchvision")
_QUIET: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
_STARTS = 3
_CONNECT_SECONDS = 10.0
_WHERE = "ray status, run on the cluster, shows whether it is up: " + setting_ref("ray_address", "HOST:6379")
_INSTALL = "pip install {} on every node of the cluster"
# Bytes that a task needs besides the weights: libraries, a batch.
_TASK_BYTES = 1 << 30
# Memory of a training, as a multiple of the memory of its weights.
_TRAINED_FACTOR = BYTES_PER_PARAMETER // BYTES_OF_WEIGHT
# How often Ray runs a task again whose worker is lost.
_RETRIES = 3

# Path in the folder of a model → content.
ModelFiles = dict[str, bytes]


# ---- the cluster -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cluster:
    """Cores and GPUs in all, bytes of memory of the largest node, and cores of the smallest node that has any."""

    cpus: int
    gpus: int
    memory: float
    cores: int


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Connect the block to a cluster, or to a new cluster on this machine that ends with the block.

    If this process is already connected (`ray.init`), that cluster is used, and left running. The address is
    "HOST:PORT", "ray://HOST:PORT" or "auto"; None: RAY_ADDRESS, else this machine.
    """
    connect = not ray.is_initialized()
    if connect:
        _connect(address or os.environ.get("RAY_ADDRESS") or None)
    try:
        _check_versions()
        yield _cluster_of([node["Resources"] for node in ray.nodes() if node["Alive"]])
    finally:
        if connect:
            ray.shutdown()


def _cluster_of(nodes: Sequence[Mapping[str, float]]) -> Cluster:
    """Return the cluster of nodes with these resources; a head node may have no cores for tasks."""
    cpus, gpus = (int(sum(node.get(name, 0) for node in nodes)) for name in ("CPU", "GPU"))
    memory = max(node.get("memory", 0.0) for node in nodes)
    cores = min((int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1), default=1)
    return Cluster(cpus, gpus, memory, cores)


def _connect(address: str | None) -> None:
    _check_reachable(address)
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    try:
        if address is None:
            start_local()
        else:
            ray.init(address=address, **_QUIET)
    except Exception as error:  # a node that starts too late raises a plain Exception
        what = f"the Ray cluster at {address} cannot be used" if address else "no Ray cluster can be started here"
        raise EmmsError(f"{what}: {' '.join(str(error).split())[:300]}", _WHERE if address else None) from error
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def start_local(**options: Any) -> None:
    """Start a cluster here, and try again if the machine is too busy for the time limit of Ray's processes.

    `options` are the arguments of `ray.init` that differ from its defaults.
    """
    start = partial(ray.init, address="local", include_dashboard=False, **_QUIET, **options)
    for _ in range(_STARTS - 1):
        with suppress(Exception):
            start()
            return
    start()


def _check_reachable(address: str | None) -> None:
    """Raise an EmmsError soon for an address that does not answer; Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise EmmsError(f"nothing answers at the Ray address {address}: {error.strerror or error}", _WHERE) from error


def _check_versions() -> None:
    """Raise an EmmsError unless workers have this machine's versions, under which rows are cached."""
    here = _versions()
    try:
        theirs = ray.get(ray.remote(_versions).options(num_cpus=0).remote())
    except ray.exceptions.RayError as error:
        *_, reason = str(error).strip().splitlines()
        hint = _INSTALL.format(f"hf-emms=={here['hf_emms']}")
        raise EmmsError(f"the workers of the Ray cluster cannot run hf_emms: {reason}", hint) from error
    _check_same(here, theirs)


def _check_same(here: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    """Raise an EmmsError unless all packages are the same. Packages that only some checkpoints need may be missing."""
    needed = {name: version for name, version in here.items() if name in theirs or name not in _OPTIONAL}
    other = {name: version for name, version in needed.items() if theirs.get(name) != version}
    if other:
        differences = ", ".join(
            f"{name} {theirs.get(name, 'missing')} (here {version})" for name, version in other.items()
        )
        packages = " ".join(f"{name.replace('_', '-')}=={version}" for name, version in other.items())
        raise EmmsError(f"the workers of the Ray cluster have other versions: {differences}", _INSTALL.format(packages))


def _versions() -> dict[str, str]:
    return versions() | installed_versions(*_OPTIONAL)


def _on_gpu(device: str, cluster: Cluster) -> bool:
    """Return whether checkpoints run on GPUs of the cluster; an EmmsError for a device that it does not offer."""
    if device.startswith("cuda") and not cluster.gpus:
        problem = setting_ref("device", device) + ", but the Ray cluster has no GPU"
        raise EmmsError(problem, setting_ref("device", "auto") + ", or add GPU nodes to it")
    if device.startswith("cuda:"):
        raise EmmsError(
            setting_ref("device", device) + ": on a Ray cluster, Ray picks the GPU", setting_ref("device", "cuda")
        )
    return device in ("auto", "cuda") and bool(cluster.gpus)


def _results(
    submissions: Sequence[tuple[T, Callable[[], Any]]], limit: int
) -> Generator[tuple[T, Any | EmmsError], None, None]:
    """Yield the results of tasks as they come, or an `EmmsError` for a task that fails; closing it ends the tasks.

    A submission is a key, and a function that starts the task and returns its stream. At most `limit` tasks run or wait
    in Ray at a time, so that its object store stays small.
    """
    waiting = deque(submissions)
    running: dict[Any, T] = {}
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                key, submit = waiting.popleft()
                try:
                    running[submit()] = key
                except EmmsError as error:
                    yield key, error
            if not running:
                continue
            (stream, *_), _ = ray.wait(list(running))
            ref = next(stream, None)
            if ref is None:
                del running[stream]
                continue
            key, outcome = running[stream], _outcome(ref)
            if isinstance(outcome, EmmsError):
                del running[stream]
            yield key, outcome
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


def _outcome(ref: ray.ObjectRef) -> Any | EmmsError:
    """Return the result of a task, or the error with which it failed."""
    try:
        return ray.get(ref)
    except ray.exceptions.RayError as error:
        return _failure(error)


def _failure(error: BaseException) -> EmmsError:
    """Return the error of a task by what Ray raises for it."""
    while isinstance(error, ray.exceptions.RayTaskError):
        error = error.cause
    if isinstance(error, (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)):
        reason = f"its worker died {1 + _RETRIES} times, mostly because memory ran out"
        return EmmsError(reason, setting_ref("batch_size", ...) + ", or larger nodes")
    return error if isinstance(error, StorageError) else EmmsError(one_line(error))


def _task(function: Callable[..., Any], resources: dict[str, float]) -> Any:
    """Return a function that yields results, as a task of Ray, which names settings as this process does."""
    options = {"name": function.__name__, "num_returns": "streaming", "max_retries": _RETRIES, **resources}
    return partial(ray.remote(_in_words).options(**options).remote, current_hint_style(), function)


def _in_words(words: HintStyle, function: Callable[..., Iterator[Any]], *arguments: Any, **named: Any) -> Iterator[Any]:
    with hint_style(words):
        yield from function(*arguments, **named)


def _here(repo: Repo) -> Repo:
    """Return the checkpoint with its folder on this node; demo checkpoints are in the installed package."""
    folder = demo.folder_of(repo.id) or repo.folder
    if folder is not None and not folder.exists():
        raise EmmsError(
            f"the folder {repo.id} is not on the node that was to run it",
            "put it on storage that every node sees, or on the Hub",
        )
    return replace(repo, folder=folder)


# ---- scoring ---------------------------------------------------------------------------------------------------


class RayEngine:
    """An engine that runs each checkpoint as a task, loaded once for all samples, on the cluster at an address."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address

    def rows(self, inputs: Sequence[EngineInput]) -> Generator[tuple[int, Row], None, None]:
        """Yield the rows of checkpoints, see `Engine.rows`; features are cached on the node of a task."""
        specs: dict[Repo, dict[int, tuple[str, FeatureSpec]]] = {}
        for place, engine_input in enumerate(inputs):
            for name, spec in engine_input.checkpoints.items():
                specs.setdefault(spec.repo, {})[place] = name, spec
        if not specs:
            return
        with connected(self._address) as cluster:
            gpu = [_on_gpu(engine_input.running.device, cluster) for engine_input in inputs]
            samples = [
                ray.put((each.sample, each.labels(), each.features, each.scoring, each.running)) for each in inputs
            ]

            def submit(repo: Repo) -> Any:
                places = list(specs[repo])
                for place, (name, _) in specs[repo].items():
                    inputs[place].progress.started(name, len(inputs[place].sample.inputs))
                cache = inputs[places[0]].cache
                factor = (
                    _TRAINED_FACTOR
                    if any(inputs[place].estimators.need_training for place in places)
                    else LOADED_FACTOR
                )
                needs = _scoring_resources(repo, cluster, factor, gpu=any(gpu[place] for place in places))
                return _task(run_on_node, needs)(dict(specs[repo]), cache.root, *(samples[place] for place in places))

            limit = 1 + (cluster.gpus if any(gpu) else cluster.cpus)
            with closing(_results([(repo, partial(submit, repo)) for repo in specs], limit)) as results:
                for repo, outcome in results:
                    for place, row in _rows_of(outcome, repo, specs[repo]):
                        del specs[repo][place]
                        if row.error is None:
                            inputs[place].progress.advanced(row.checkpoint, len(inputs[place].sample.inputs))
                        inputs[place].progress.finished(row)
                        yield place, row


def _rows_of(
    outcome: tuple[int, Row] | EmmsError, repo: Repo, running: dict[int, tuple[str, FeatureSpec]]
) -> list[tuple[int, Row]]:
    """Return the row of a task; for a failed task, a failed row for each sample that it has not run on."""
    if not isinstance(outcome, EmmsError):
        return [outcome]
    return [(place, Row(name, repo.revision, error=one_line(outcome))) for place, (name, _) in running.items()]


def _scoring_resources(repo: Repo, cluster: Cluster, factor: int, *, gpu: bool) -> dict[str, float]:
    """Return CPUs, GPUs and memory of a task that takes `factor` times the bytes of a checkpoint's weights.

    Raises:
        EmmsError: The weights are larger than any node's memory.
    """
    weights = weight_bytes(repo)
    if weights > cluster.memory:
        raise EmmsError(
            f"the weights take {format_bytes(weights)}, but no node offers more than "
            f"{format_bytes(cluster.memory)} of memory",
            "add a larger node to the cluster, or leave the checkpoint out",
        )
    memory = min(factor * weights + _TASK_BYTES, cluster.memory)
    return {"num_cpus": 1, "num_gpus": float(gpu), "memory": memory}


def run_on_node(
    specs: dict[int, tuple[str, FeatureSpec]],
    root: Path | None,
    *samples: tuple[Sample, LabelTable, FeatureOptions, ScoringOptions, RunOptions],
) -> Iterator[tuple[int, Row]]:
    """Yield, in a task, the rows of a checkpoint on several samples, each with the sample's place.

    `specs` are by place: the checkpoint's name in the ranking and its `FeatureSpec`; `samples` are in their
    order. `root` is the root of the cache on this node.
    """
    with checkpoint_errors():
        inputs = [
            EngineInput(
                {name: _spec_here(spec)},
                sample,
                partial(_same, labels),
                features,
                scoring,
                replace(running, engine="local"),  # features are cached under the device of this node
                Cache(root),
                Progress(),
            )
            for (name, spec), (sample, labels, features, scoring, running) in zip(specs.values(), samples, strict=True)
        ]
        places = list(specs)
        for place, row in LocalEngine().rows(inputs):
            yield places[place], row


def _spec_here(spec: FeatureSpec) -> FeatureSpec:
    repo = _here(spec.repo)
    return replace(spec, repo=repo, folder=fetch_descriptions(repo, code=spec.code))


def _same(labels: LabelTable) -> LabelTable:
    return labels


# ---- fine-tuning -----------------------------------------------------------------------------------------------


def train_on_ray(
    work: FineTuning, jobs: Sequence[TrainingJob]
) -> Generator[tuple[TrainingJob, TrainingRun], None, None]:
    """Yield each job with its finished run, which is a task with a GPU or its share of the cores.

    A task whose worker is lost resumes from its last complete state, if its new node sees the cache's storage.
    """
    if not jobs:
        return
    with ExitStack() as locks:
        to_train = []
        for job in sorted(jobs, key=work.digest):  # in a fixed order, so that no two calls wait for each other
            try:
                locks.enter_context(run_lock(work, job))
            except TimeoutError:
                yield job, not_started(job)
                continue
            stored = work.stored(job)
            if stored is None:
                to_train.append(job)
            else:
                yield job, stored
        if to_train:
            yield from _train_on_cluster(work, to_train)


def _train_on_cluster(
    work: FineTuning, jobs: Sequence[TrainingJob]
) -> Generator[tuple[TrainingJob, TrainingRun], None, None]:
    with connected(work.options.ray_address) as cluster:
        splits, running = ray.put(work.splits), work.options.running

        def submit(job: TrainingJob) -> Any:
            work.progress.started(job.name, job.recipe.total_steps(work.splits.training_rows))
            return _task(train_checkpoint, _training_resources(job, running.device, cluster, len(jobs)))(
                job,
                splits,
                running,
                work.cache.root,
                work.digest(job),
                work.deadline,
                keep=work.model_folder is not None,
            )

        with closing(_results([(job, partial(submit, job)) for job in jobs], len(jobs))) as results:
            for job, outcome in results:
                if isinstance(outcome, StorageError):
                    raise outcome
                if isinstance(outcome, EmmsError):
                    result = TrainingRun(job.learning_rate, job.seed, error=one_line(outcome))
                else:
                    result, files = outcome
                    _write(work.models_of(job), str(result.steps), files)
                work.progress.advanced(job.name, job.recipe.total_steps(work.splits.training_rows))
                yield job, result


def _training_resources(job: TrainingJob, device: str, cluster: Cluster, jobs: int) -> dict[str, float]:
    """Return the CPUs, GPUs and memory of a training run, of this many side by side."""
    memory = min(BYTES_PER_PARAMETER * (job.parameters or 0) + _TASK_BYTES, cluster.memory)
    gpu = _on_gpu(device, cluster)
    side_by_side = min(jobs, cluster.gpus) if gpu else jobs
    cores = max(1, min(cluster.cpus // side_by_side, cluster.cores))
    return {"num_cpus": cores, "num_gpus": float(gpu), "memory": memory}


def train_checkpoint(
    job: TrainingJob,
    splits: Splits,
    options: RunOptions,
    root: Path | None,
    digest: str,
    deadline: float | None,
    *,
    keep: bool,
) -> Iterator[tuple[TrainingRun, ModelFiles]]:
    """Yield, in a task, the result of a training run, and with `keep` the files of its model."""
    import torch

    torch.set_num_threads(int(ray.get_runtime_context().get_assigned_resources()["CPU"]))
    job = replace(job, spec=spec_for(_here(job.spec.repo), splits.task, options, job.spec))
    with unfinished_folder(root, digest) as folder, tempfile.TemporaryDirectory() as temporary:
        models = Path(temporary, "models") if keep else None
        try:
            result = run_job(job, splits, options, folder, models=models, deadline=deadline)
        except UnsavedModelError as error:
            result = error.run
        model = Path(temporary, "models", str(result.steps))
        paths = [path for path in model.rglob("*") if path.is_file()]
        if result.unfinished is None:
            shutil.rmtree(folder, ignore_errors=True)
        yield result, {path.relative_to(model).as_posix(): path.read_bytes() for path in paths}


def _write(models: Path | None, name: str, files: ModelFiles) -> None:
    if models is not None and files:
        with atomic_folder(models / name) as folder:
            for path, content in files.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
