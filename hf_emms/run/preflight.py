"""What a run will meet, found before it starts: nothing is run, and no weights are downloaded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_emms.cache import default_cache
from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import needed_files
from hf_emms.features.extraction_plan import check_config
from hf_emms.formatting import format_bytes
from hf_emms.hub import Repo, listing, resolve
from hf_emms.inputs import TEXT, InputKind
from hf_emms.options import Options
from hf_emms.presets import dataset_preset
from hf_emms.ranking.progress import Progress
from hf_emms.run.plan import Cost, Plan, Rate, checkpoint_names, encoder_names, forecast, open_cache, plan


@dataclass(frozen=True)
class Problem:
    """Something that a run will meet.

    Attributes:
        what: which part of the run: "dataset", "label encoder ID", "checkpoint ID", "disk", "memory" or "settings".
        message: what is wrong.
        hint: what fixes it.
        fatal: whether the run could not start; otherwise a checkpoint will be a failed row.
    """

    what: str
    message: str
    hint: str | None = None
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {self.message}" + (f"\n    → {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class Machine:
    """Free bytes on the disk of the Hub's cache, the bytes of memory in all, and where that cache is."""

    disk: int
    memory: int
    folder: Path

    @classmethod
    def here(cls) -> Machine:
        """This machine."""
        from huggingface_hub import constants

        folder = Path(constants.HF_HUB_CACHE).expanduser().absolute()
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 1 << 62
        return cls(shutil.disk_usage(existing).free, memory, folder)


@dataclass(frozen=True)
class Preflight:
    """A plan with its costs, and every problem; without a plan where none could be made."""

    plan: Plan | None
    costs: Mapping[Repo, Cost]
    rate: Rate | None
    problems: tuple[Problem, ...]

    @property
    def can_start(self) -> bool:
        return not any(problem.fatal for problem in self.problems)


def preflight(options: Options, progress: Progress, machine: Machine | None = None) -> Preflight:
    """Plans a run and lists what it will meet: of the dataset, every encoder and checkpoint, disk and memory.

    Args:
        options: of the run.
        progress: receives events while the dataset is read.
        machine: where it will run; by default this one.
    """
    try:
        planned = plan(options, progress)
    except EmmsError as error:
        return Preflight(None, {}, None, tuple(_without_plan(options, progress, error)))
    costs, rate = forecast(planned)
    found = [*_of_repos(planned, costs), *_of_machine(planned, costs, machine or Machine.here())]
    bad = {problem.what for problem in found}
    if all(f"checkpoint {one.id}" in bad for one in planned.candidates):
        found.append(Problem("checkpoints", "none can be ranked", "--checkpoint ORG/NAME"))
    return Preflight(planned, costs, rate, tuple(found))


def _of_repos(planned: Plan, costs: Mapping[Repo, Cost]) -> Iterator[Problem]:
    options, task = planned.options, planned.sample.task
    for encoder in planned.encoders:
        yield from _of_repo(f"label encoder {encoder.id}", encoder, options, TEXT, "label embedding", costs, fatal=True)
    for one in planned.candidates:
        what = f"checkpoint {one.id}"
        if one.repo is None:
            yield Problem(what, (one.row and one.row.error) or "it cannot be found", fatal=False)
        elif one.row is None:
            yield from _of_repo(what, one.repo, options, task.input, task.id, costs, fatal=False)


def _of_repo(
    what: str,
    repo: Repo,
    options: Options,
    kind: InputKind,
    use: str,
    costs: Mapping[Repo, Cost],
    *,
    fatal: bool,
) -> Iterator[Problem]:
    if problem := costs[repo].problem:
        yield Problem(what, problem, fatal=fatal)
        return
    yield from _tried(
        what, lambda: check_config(repo, kind, use, trust_remote_code=options.trust_remote_code), fatal=fatal
    )


def _of_machine(planned: Plan, costs: Mapping[Repo, Cost], machine: Machine) -> Iterator[Problem]:
    encoders = sum(costs[one].bytes for one in planned.encoders)
    total = sum(cost.bytes for cost in costs.values())
    if total > machine.disk:
        yield Problem(
            "disk",
            f"{format_bytes(total)} to download, {format_bytes(machine.disk)} free in {machine.folder}",
            "free space there, or set HF_HUB_CACHE to a folder on a larger disk",
            fatal=encoders > machine.disk,
        )
    for repo, cost in costs.items():
        if cost.weights > machine.memory:
            kind = "label encoder" if repo in planned.encoders else "checkpoint"
            yield Problem(
                f"{kind} {repo.id}",
                f"its weights are {format_bytes(cost.weights)}, more than the {format_bytes(machine.memory)} of memory",
                "choose a smaller one, or --engine jobs with larger hardware",
                fatal=kind == "label encoder",
            )


def _without_plan(options: Options, progress: Progress, error: EmmsError) -> Iterator[Problem]:
    """Every part of a plan by itself, where the first problem of the plan hides the others."""
    from hf_emms.data import load_sample

    found: list[Problem] = []
    samples: list[Any] = []
    preset = dataset_preset(options.dataset) if isinstance(options.dataset, str) else None
    found += _tried("dataset", lambda: samples.append(load_sample(options, open_cache(options, progress))))
    encoders: list[str] = []
    found += _tried("label encoders", lambda: encoders.extend(encoder_names(options, preset)))
    for id in encoders:
        found += _tried(f"label encoder {id}", lambda id=id: _find(id, options))  # type: ignore[misc]
    task = samples[0].task.id if samples else options.task or (preset.task if preset else None)
    if options.checkpoints or task:
        ids, _ = checkpoint_names(options, preset, task or "")
        for id in ids:
            found += _tried(f"checkpoint {id}", lambda id=id: _find(id, options), fatal=False)  # type: ignore[misc]
    if not any(problem.message in error.message for problem in found):
        yield Problem("settings", error.message, error.hint)
    yield from found


def _find(id: str, options: Options) -> None:
    repo = resolve(id, "model")
    needed_files(repo, listing(repo), default_cache(options.cache), code=options.trust_remote_code)


def _tried(what: str, check: Callable[[], Any], *, fatal: bool = True) -> Iterator[Problem]:
    try:
        check()
    except EmmsError as error:
        yield Problem(what, error.message, error.hint, fatal)
