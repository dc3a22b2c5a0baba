"""What a sweep of checkpoints × datasets was asked for, and what of it has no result yet."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hf_emms.errors import EmmsError, one_line
from hf_emms.files import decoded
from hf_emms.hub import JobSpec, Repo
from hf_emms.options import SETTINGS, Options
from hf_emms.publish.destinations import Destination
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.merge import path_of
from hf_emms.ranking.progress import Progress
from hf_emms.run import ranking_job
from hf_emms.run.plan import Cost, Find, Plan, Rate, cost, find_model, plan, rate
from hf_emms.run.rank import ranking_of
from hf_emms.run.ranking_job import JobSettings

if TYPE_CHECKING:
    from os import PathLike

    SweptDatasets = str | PathLike[str] | Iterable[str | PathLike[str] | Mapping[str, Any]]

_PLAN_SUFFIXES = (".yaml", ".yml", ".json")


def requests(datasets: SweptDatasets, settings: Mapping[str, Any]) -> dict[str, Options]:
    """The options of each dataset, by the dataset's name in the sweep: with its config and split, where these are set.

    Args:
        datasets: see `sweep`; a text that begins with "{" is a plan itself.
        settings: for all datasets; they win over those of a plan for all datasets, and not over a dataset's own.

    Raises:
        EmmsError: a plan that cannot be read, an unknown or unsuitable setting, no dataset, or one named twice.
    """
    if isinstance(datasets, str | os.PathLike):
        of_plan = _read_plan(os.fspath(datasets))
        entries, settings = of_plan.pop("datasets"), {**of_plan, **settings}
    else:
        entries = list(datasets)
    found: dict[str, Options] = {}
    for entry in entries:
        own = dict(entry) if isinstance(entry, Mapping) else {"dataset": entry}
        _check_names(own, settings)
        options = Options.of(**{**settings, **own})
        name = " ".join(filter(None, (str(options.dataset), options.config, options.split)))
        if name in found:
            raise EmmsError(f"{name} is listed twice", "list it once, or tell them apart by config or split")
        found[name] = options
    if not found:
        raise EmmsError("the sweep has no dataset", "--datasets NAME,NAME, or a plan with a list `datasets`")
    return found


def _read_plan(source: str) -> dict[str, Any]:
    example = "a plan has a list `datasets`, and settings as in hf_emms.rank: see docs/sweep.md"
    is_plan = source.lstrip().startswith("{")
    if not is_plan and Path(source).suffix not in _PLAN_SUFFIXES:
        raise EmmsError(f"the plan {source} is no .yaml or .json file", example)
    try:
        content = yaml.safe_load(source if is_plan else decoded(Path(source).read_bytes()))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise EmmsError(f"the plan {source[:80]} cannot be read: {reason}", example) from error
    if not isinstance(content, dict) or not isinstance(content.get("datasets"), list):
        raise EmmsError(f"the plan {source[:80]} has no list `datasets`", example)
    return content


def _check_names(own: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    """Refuses what is no setting of a dataset in a sweep."""
    if not isinstance(own.get("dataset"), str | os.PathLike):
        raise EmmsError(f"a dataset of the sweep has no name: {dict(own)!r}", "- dataset: NAME")
    for name in {**own, **shared}:
        setting = SETTINGS.get(str(name))
        if setting is None:
            raise EmmsError(f"{own['dataset']}: there is no setting {name!r}", f"one of: {', '.join(swept_settings())}")
        if setting.sweep == "never":
            raise EmmsError(f"{name} is no setting of a sweep", "hf-emms rank has it, for one dataset")
        if setting.sweep == "whole" and name in own:
            raise EmmsError(f"{own['dataset']}: {name} is one for the whole sweep", setting.on)


def swept_settings() -> list[str]:
    """The settings that a sweep has for all its datasets or for one of them."""
    return [name for name, setting in SETTINGS.items() if setting.sweep in ("flag", "plan")]


def job_spec(wanted: Mapping[str, Options], settings: JobSettings) -> JobSpec:
    """The job that does the whole sweep, its plan among the words of its command.

    Raises:
        EmmsError: something that only this machine has.
    """
    for options in wanted.values():
        ranking_job.rank_argv(options)
    entries = [
        {name: value for name, value in options.changed().items() if SETTINGS[name].job} for options in wanted.values()
    ]
    shared = {name: value for name, value in entries[0].items() if all(one.get(name) == value for one in entries[1:])}
    own = [{name: value for name, value in one.items() if name == "dataset" or name not in shared} for one in entries]
    content = {**{name: value for name, value in shared.items() if name != "dataset"}, "datasets": own}
    return ranking_job.command_spec(("sweep", json.dumps(content)), settings)


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will run, everything resolved.

    Attributes:
        plans: dataset → what its ranking needs.
        known: dataset → its ranking so far.
        finished: dataset → rows that need no run: of the cache, and of checkpoints that were not found.
        missing: dataset → checkpoints to run, by name.
        failed: dataset → why it cannot be used, in one line.
    """

    plans: dict[str, Plan]
    known: dict[str, Ranking]
    finished: dict[str, list[Row]]
    missing: dict[str, dict[str, Repo]]
    failed: dict[str, str]

    @property
    def cells(self) -> int:
        """How many checkpoints run on how many datasets, in all."""
        return sum(map(len, self.missing.values()))

    @property
    def done(self) -> int:
        """How many cells have a result already."""
        unfound = sum(one.repo is None for plan in self.plans.values() for one in plan.candidates)
        return sum(len(plan.candidates) for plan in self.plans.values()) - unfound - self.cells


def plan_sweep(wanted: Mapping[str, Options], results: Destination, progress: Progress) -> SweepPlan:
    """Reads every dataset, and finds out what of it has a result.

    Raises:
        EmmsError: no dataset is usable.
    """
    made = SweepPlan({}, {}, {}, {}, {})
    find = _each_once(find_model)
    for name, options in wanted.items():
        progress.noted(f"reading {name}")
        try:
            planned = plan(options, progress, find)
            known = results.known(_path(planned)) if options.resume else None
        except EmmsError as error:
            if len(wanted) == 1:
                raise
            made.failed[name] = one_line(error)
            progress.noted(f"{name}: {made.failed[name]}")
            continue
        revisions = {row.checkpoint: row.revision for row in known.rows if row.error is None} if known else {}
        new = [one for one in planned.candidates if one.repo is None or revisions.get(one.id) != one.repo.revision]
        made.plans[name] = planned
        made.finished[name] = [one.row for one in new if one.row is not None]
        made.missing[name] = {one.id: one.repo for one in new if one.row is None and one.repo is not None}
        if known is not None:
            made.known[name] = known
    if not made.plans:
        name, reason = next(iter(made.failed.items()))
        raise EmmsError(f"no dataset of the sweep can be used; {name}: {reason}")
    return made


def _path(planned: Plan) -> str:
    """Where the ranking of a plan is stored, whatever its rows are."""
    return path_of(ranking_of(planned, None, [Row("", error="not run")]))


def _each_once(find: Find) -> Find:
    """The same function, which looks up each name once, also one that is not found."""
    found: dict[str, Repo | EmmsError] = {}
    locks: dict[str, threading.Lock] = {}

    def find_once(id: str) -> Repo:
        with locks.setdefault(id, threading.Lock()):
            if id not in found:
                try:
                    found[id] = find(id)
                except EmmsError as error:
                    found[id] = error
        known = found[id]
        if isinstance(known, EmmsError):
            raise known
        return known

    return find_once


def forecast(planned: SweepPlan) -> tuple[dict[Repo, Cost], dict[Repo, int]]:
    """What each checkpoint and encoder costs over all datasets, and how many cells of a checkpoint run."""
    seconds: dict[Repo, float] = {}
    cells: dict[Repo, int] = {}
    options: dict[Repo, Options] = {}
    for name, missing in planned.missing.items():
        one = planned.plans[name]
        speed = rate(one.options, one.sample.task.input.name)
        for repo in missing.values():
            seconds[repo] = seconds.get(repo, 0.0) + speed.seconds * one.sample.n_read
            cells[repo] = cells.get(repo, 0) + 1
            options[repo] = one.options
        if missing:
            options |= dict.fromkeys(one.encoders, one.options)
    costs = {
        repo: cost(repo, own, 1 if repo in seconds else None, Rate(seconds.get(repo, 0.0), "over all datasets"))
        for repo, own in options.items()
    }
    return costs, cells
