"""Rank checkpoints on many datasets: load each checkpoint once, and run only cells without a result."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import yaml

from hf_emms.cache.files import decoded, read_limited
from hf_emms.errors import EmmsError, one_line, pluralize, setting_ref
from hf_emms.hub import JobSpec, Repo
from hf_emms.options import DEFAULT_RESULTS, SETTINGS, Options, RunOptions, unknown_setting, with_role_columns
from hf_emms.publish.destinations import Destination, ResultsDataset, ResultsFolder
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.ranking.columns import format_rank
from hf_emms.ranking.progress import Progress
from hf_emms.ranking.progress_bars import reporting
from hf_emms.ranking.text import html_table
from hf_emms.run import ranking_job
from hf_emms.run.label_embeddings import embed_labels_with, label_table
from hf_emms.run.plan import RankingPlan, find_model, make_plan
from hf_emms.run.preflight import Cost, Rate, cost_of, rate, text_bytes
from hf_emms.run.rank import engine_input, path_in_results, ranking_of, store_row
from hf_emms.run.ranking_job import JobSettings
from hf_emms.scoring.labels import LabelTable

if TYPE_CHECKING:
    from os import PathLike

    SweptDatasets = str | PathLike[str] | Iterable[str | PathLike[str] | Mapping[str, Any]]

_FILE_SUFFIXES = (".yaml", ".yml", ".json")
# The loader of libyaml is faster and refuses deep nesting. PyYAML may lack it.
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Sweep:
    """The results of a sweep.

    Attributes:
        rankings: Dataset → its ranking of the sweep's checkpoints. The stored ranking may contain others.
        failed: Dataset → the reason for a missing ranking or missing rows, on one line.
    """

    rankings: dict[str, Ranking]
    failed: dict[str, str]

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Return a header and the rank of each checkpoint on each dataset: "=2" if shared, "failed", or empty.

        Checkpoints are ordered by the number of datasets on which they are first, then by the mean share of better
        checkpoints.
        """
        rows = {name: {row.checkpoint: row for row in ranking.rows} for name, ranking in self.rankings.items()}
        checkpoints = dict.fromkeys(row.checkpoint for ranking in self.rankings.values() for row in ranking.rows)

        def order(checkpoint: str) -> tuple[int, float]:
            cells = [
                (of_dataset[checkpoint], len(of_dataset)) for of_dataset in rows.values() if checkpoint in of_dataset
            ]
            ranks = [(row.rank, count) for row, count in cells if row.rank is not None]
            shares = [(rank - 1) / count for rank, count in ranks]
            return -sum(rank == 1 for rank, _ in ranks), sum(shares) / len(shares) if shares else 1.0

        lines = [
            (checkpoint, *(_rank_text(of_dataset.get(checkpoint)) for of_dataset in rows.values()))
            for checkpoint in sorted(checkpoints, key=order)
        ]
        return ("checkpoint", *rows), lines

    def __repr__(self) -> str:
        return f"Sweep(rankings={list(self.rankings)}, failed={list(self.failed)})"

    def _repr_html_(self) -> str:
        return html_table(*self.table(), left=("checkpoint",))


def _rank_text(row: Row | None) -> str:
    if row is None:
        return ""
    return "failed" if row.rank is None else format_rank(row)


def sweep(
    datasets: SweptDatasets,
    checkpoints: str | Iterable[str] | None = None,
    *,
    output: str | PathLike[str] = DEFAULT_RESULTS,
    results_repo: str | None = None,
    engine: str = "local",
    job: JobSettings | None = None,
    progress: Progress | bool | None = None,
    **settings: Any,
) -> Sweep:
    """Rank checkpoints on many datasets. Each checkpoint is loaded once, and cells with a result do not run again.

    Each row is stored when it is finished, so that a killed sweep continues. A checkpoint that fails on a dataset is a
    failed row, which runs again in the next sweep. A row is outdated if its checkpoint or dataset has a new revision.

    Args:
        datasets: Names, or dictionaries of a ``dataset`` and its settings. Or a YAML file with ``datasets`` and shared
            settings.
        checkpoints: See `rank`. By default the list of each dataset or task.
        output: A folder with one JSON file per ranking.
        results_repo: A results dataset instead of the folder, "ORG/emms-results".
        engine: "local" or "jobs" (the sweep is a Hugging Face Job).
        job: The hardware of the job. Its results dataset stores the rankings.
        progress: See `rank`. A cell is named "CHECKPOINT on DATASET".
        settings: Other arguments of `rank` for all datasets, without fine-tuning.

    Raises:
        EmmsError: An argument or all datasets are invalid, or results cannot be stored.
    """
    ranking_job.check_job(engine, job)
    # None is the default, except for `max_samples`, for which it means all rows.
    shared = {
        name: value for name, value in _columns_gathered(settings).items() if value is not None or name == "max_samples"
    }
    if checkpoints is not None:
        shared["checkpoints"] = checkpoints
    options_of = sweep_options(datasets, {**shared, "engine": engine})
    with reporting(progress) as receiver:
        if job is not None:
            return sweep_as_job(options_of, job, receiver)
        results = destination(output, results_repo, receiver)
        return run_sweep(plan_sweep(options_of, results, receiver), results, receiver)


def destination(output: str | PathLike[str], results_repo: str | None, progress: Progress) -> Destination:
    """Return the results dataset, or the folder if `results_repo` is None."""
    if not isinstance(output, str | os.PathLike):
        raise EmmsError(f"output is {output!r:.80}; it must be a folder", setting_ref("output", DEFAULT_RESULTS))
    return ResultsDataset(results_repo, progress.noted) if results_repo is not None else ResultsFolder(Path(output))


# ---- options ---------------------------------------------------------------------------------------------------


def sweep_options(datasets: SweptDatasets, settings: Mapping[str, Any]) -> dict[str, Options]:
    """Return the options of each dataset by its name in the sweep, which includes its config and split.

    A text that begins with "{" is the content of a sweep file. `settings` override the shared settings of a file, but
    not the settings of a dataset.
    """
    if isinstance(datasets, str | os.PathLike):
        of_file = _read_sweep_file(os.fspath(datasets))
        entries, settings = of_file.pop("datasets"), {**of_file, **settings}
    elif isinstance(datasets, Iterable):
        entries = list(datasets)
    else:
        raise EmmsError(
            f"datasets is {datasets!r}; it must be names or a sweep file", setting_ref("datasets", ["NAME", "NAME"])
        )
    options_of: dict[str, Options] = {}
    for entry in entries:
        entry_settings = _columns_gathered(entry) if isinstance(entry, Mapping) else {"dataset": entry}
        _check_names(entry_settings, settings)
        options = Options.of(
            **{name: _none_for_zero(name, value) for name, value in {**settings, **entry_settings}.items()}
        )
        name = " ".join(filter(None, (str(options.dataset), options.config, options.split)))
        if name in options_of:
            raise EmmsError(f"{name} is listed twice", "list it once, or with different configs or splits")
        options_of[name] = options
    if not options_of:
        raise EmmsError(
            "the sweep has no dataset", setting_ref("datasets", ["NAME", "NAME"]) + ", or a file with a list `datasets`"
        )
    return options_of


def _none_for_zero(name: str, value: Any) -> Any:
    """Return a value of a sweep file, with None instead of 0 if 0 means all rows."""
    return None if SETTINGS[name].zero_is_none and value == 0 and value is not False else value


def _columns_gathered(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, with ``text_column`` and similar settings moved to `columns`."""
    by_role = {name: value for name, value in settings.items() if str(name).endswith("_column")}
    others = {name: value for name, value in settings.items() if name not in by_role}
    return others | {"columns": with_role_columns(others.get("columns"), by_role)} if by_role else others


def _read_sweep_file(source: str) -> dict[str, Any]:
    hint = "write a list `datasets`, and settings as in hf_emms.rank: see docs/sweep.md"
    is_content = source.lstrip().startswith("{")
    if not is_content and Path(source).suffix not in _FILE_SUFFIXES:
        raise EmmsError(f"the sweep file {source} does not end in .yaml or .json", hint)
    try:
        content = yaml.load(source if is_content else decoded(read_limited(Path(source))), _YAML_LOADER)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise EmmsError(f"the sweep file {source[:80]} cannot be read: {reason}", hint) from error
    if not isinstance(content, dict) or not isinstance(content.get("datasets"), list):
        raise EmmsError(f"the sweep file {source[:80]} has no list `datasets`", hint)
    return content


def _check_names(entry: Mapping[str, Any], shared: Mapping[str, Any]) -> None:
    if not isinstance(entry.get("dataset"), str | os.PathLike):
        fields = ", ".join(
            f"{name}: {value!r}" for name, value in entry.items() if isinstance(value, str | int | float)
        )
        raise EmmsError(f"a dataset of the sweep has no name: {{{fields:.200}}}", "- dataset: NAME")
    for name in {**entry, **shared}:
        setting = SETTINGS.get(str(name))
        if setting is None:
            hint = unknown_setting(str(name)).remedy
            raise EmmsError(f"{entry['dataset']}: unknown setting {name!r}", hint)
        if setting.sweep == "never":
            raise EmmsError(f"{name} is not a setting of a sweep", "use it with hf-emms rank, for one dataset")
        if setting.sweep == "whole" and name in entry:
            raise EmmsError(f"{entry['dataset']}: {name} must be the same for all datasets", setting_ref(name))


# ---- as a job --------------------------------------------------------------------------------------------------


def job_spec(options_of: Mapping[str, Options], settings: JobSettings) -> JobSpec:
    """Return the job for a sweep. Its command contains the datasets."""
    for options in options_of.values():
        ranking_job.rank_argv(options)
    entries = [
        {name: value for name, value in options.changed().items() if SETTINGS[name].job}
        for options in options_of.values()
    ]
    first, *others = entries
    shared = {name: value for name, value in first.items() if all(entry.get(name) == value for entry in others)}
    shared.pop("dataset", None)
    entries = [{name: value for name, value in entry.items() if name not in shared} for entry in entries]
    return ranking_job.command_spec(("sweep", json.dumps({**shared, "datasets": entries})), settings)


def sweep_as_job(options_of: Mapping[str, Options], settings: JobSettings, progress: Progress) -> Sweep:
    """Run a sweep as a Hugging Face Job, wait for it, and return its results."""
    return Sweep(_by_name(ranking_job.run(job_spec(options_of, settings), settings, progress), options_of), {})


def _by_name(rankings: Iterable[Ranking], options_of: Mapping[str, Options]) -> dict[str, Ranking]:
    """Return dataset → its ranking, with the requested checkpoints only."""
    by_name = {}
    for ranking in rankings:
        names = [
            name
            for name, options in options_of.items()
            if options.dataset == ranking.dataset
            and options.config in (None, ranking.config)
            and options.split in (None, ranking.split)
        ]
        name = max(names, key=len, default=ranking.dataset)
        checkpoints = options_of[name].checkpoints if names else ()
        by_name[name] = _only(ranking, checkpoints) if checkpoints else ranking
    return by_name


# ---- the plan --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SweepPlan:
    """The resolved plan of a sweep.

    Attributes:
        plans: Dataset → the plan of its ranking, whose candidates are the checkpoints without a result.
        checkpoints: Dataset → all its checkpoints.
        stored: Dataset → its ranking so far.
        failed: Dataset → the reason why it cannot be used, on one line.
        done: The number of cells with a result.
    """

    plans: dict[str, RankingPlan]
    checkpoints: dict[str, tuple[str, ...]]
    stored: dict[str, Ranking]
    failed: dict[str, str]
    done: int

    @property
    def cells(self) -> int:
        """The number of cells, pairs of a checkpoint and a dataset, to run."""
        return sum(len(plan.to_run) for plan in self.plans.values())


class _DatasetProgress(Progress):
    """Forward the events of a dataset, with names of cells instead of checkpoints."""

    def __init__(self, progress: Progress, dataset: str) -> None:
        self._progress = progress
        self._dataset = dataset

    def started(self, checkpoint: str, inputs: int) -> None:
        self._progress.started(self._name(checkpoint), inputs)

    def advanced(self, checkpoint: str, inputs: int) -> None:
        self._progress.advanced(self._name(checkpoint), inputs)

    def finished(self, row: Row) -> None:
        self._progress.finished(msgspec.structs.replace(row, checkpoint=self._name(row.checkpoint)))

    def noted(self, message: str) -> None:
        self._progress.noted(f"{self._dataset}: {message}")

    def _name(self, checkpoint: str) -> str:
        return f"{checkpoint} on {self._dataset}"


def plan_sweep(options_of: Mapping[str, Options], results: Destination, progress: Progress) -> SweepPlan:
    """Read all datasets, and return the plan of the cells without a result."""
    plans, stored, failed, done = dict[str, RankingPlan](), dict[str, Ranking](), dict[str, str](), 0
    checkpoints = dict[str, tuple[str, ...]]()
    resolver = functools.cache(find_model)
    for name, options in options_of.items():
        progress.noted(f"reading {name}")
        try:
            plan = make_plan(options, _DatasetProgress(progress, name), resolver)
            ranking = results.ranking_at(path_in_results(plan)) if options.resume else None
        except EmmsError as error:
            if len(options_of) == 1:
                raise
            failed[name] = one_line(error)
            progress.noted(f"{name}: {failed[name]}")
            continue
        revisions = {row.checkpoint: row.revision for row in ranking.rows if row.error is None} if ranking else {}
        new = [
            candidate
            for candidate in plan.candidates
            if candidate.repo is None or revisions.get(candidate.id) != candidate.repo.revision
        ]
        plans[name] = replace(plan, candidates=tuple(new))
        checkpoints[name] = tuple(candidate.id for candidate in plan.candidates)
        done += len(plan.candidates) - len(new)
        done += sum(each.row is not None and each.row.error is None for each in new)
        if ranking is not None:
            stored[name] = ranking
    if not plans:
        name, reason = next(iter(failed.items()))
        raise EmmsError(f"no dataset of the sweep can be used; {name}: {reason}")
    return SweepPlan(plans, checkpoints, stored, failed, done)


def sweep_costs(plan: SweepPlan) -> tuple[dict[Repo, Cost], dict[Repo, int]]:
    """Return the cost of each checkpoint and encoder over all datasets, and the cells per checkpoint."""
    inputs: dict[Repo, list[tuple[int, Rate]]] = {}
    options_by_repo: dict[Repo, RunOptions] = {}
    configs: dict[Repo, Mapping[str, Any]] = {}
    for of_dataset in plan.plans.values():
        sample, to_run = of_dataset.sample, of_dataset.to_run
        speed = rate(of_dataset.options.device, sample.task.input, sample.repo.id, text_bytes(sample))
        for spec in to_run.values():
            inputs.setdefault(spec.repo, []).append((sample.n_read, speed))
            options_by_repo[spec.repo], configs[spec.repo] = of_dataset.options.running, spec.config
        if to_run:
            options_by_repo |= dict.fromkeys(of_dataset.encoders, of_dataset.options.running)
    costs = {
        repo: cost_of(repo, options, inputs.get(repo, ()), configs.get(repo, {}))
        for repo, options in options_by_repo.items()
    }
    return costs, {repo: len(counts) for repo, counts in inputs.items()}


# ---- the run ---------------------------------------------------------------------------------------------------


def run_sweep(sweep_plan: SweepPlan, results: Destination, progress: Progress) -> Sweep:
    """Run the cells of a plan and return the results. Each row is stored before the next cell starts."""
    rankings, failed = dict(sweep_plan.stored), dict(sweep_plan.failed)
    plans = {name: each for name, each in sweep_plan.plans.items() if each.candidates}
    progress.expect(sweep_plan.cells, "cells")
    labels = _label_tables(plans, failed, progress)

    def add(name: str, row: Row) -> None:
        rankings[name] = results.add(ranking_of(plans[name], labels[name], [row]))

    try:
        for name in labels:
            for candidate in plans[name].candidates:
                if candidate.row is not None:
                    if candidate.row.error is not None:
                        plans[name].session.progress.noted(f"{candidate.id}: {candidate.row.error}")
                    add(name, candidate.row)
        running = [name for name in labels if plans[name].to_run]
        if running:
            inputs = [engine_input(plans[name], functools.partial(labels.__getitem__, name)) for name in running]
            with closing(plans[running[0]].session.engine.rows(inputs)) as finished:
                for place, row in finished:
                    store_row(row, plans[running[place]])
                    add(running[place], row)
    finally:
        results.flush()
    asked_for = {
        name: _only(rankings[name], sweep_plan.checkpoints[name]) for name in sweep_plan.plans if name in rankings
    }
    return Sweep(asked_for, failed)


def _only(ranking: Ranking, checkpoints: Collection[str]) -> Ranking:
    """Return the ranking of some of its checkpoints."""
    rows = [row for row in ranking.rows if row.checkpoint in checkpoints]
    return msgspec.structs.replace(ranking, rows=ranked(rows, ranking.estimators[0]))


def _label_tables(
    plans: Mapping[str, RankingPlan], failed: dict[str, str], progress: Progress
) -> dict[str, LabelTable]:
    """Return the label embeddings of each dataset, loading encoders once. Add datasets that fail to `failed`."""
    embeddings: dict[tuple[str, Repo], np.ndarray] = {}
    for encoder in dict.fromkeys(encoder for each in plans.values() for encoder in each.encoders):
        names = [name for name, each in plans.items() if encoder in each.encoders and name not in failed]
        for name, result in zip(names, embed_labels_with(encoder, [plans[name] for name in names]), strict=True):
            if isinstance(result, EmmsError):
                failed[name] = one_line(result)
                progress.noted(f"{name}: {failed[name]}")
            else:
                embeddings[name, encoder] = result
    return {
        name: label_table(of_dataset, [embeddings[name, encoder] for encoder in of_dataset.encoders])
        for name, of_dataset in plans.items()
        if name not in failed
    }


def summary(result: Sweep, sweep_plan: SweepPlan) -> str:
    """Return the outcome of a sweep in a sentence."""
    bad = sum(row.error is not None for ranking in result.rankings.values() for row in ranking.rows)
    parts = [
        f"{pluralize(sweep_plan.cells, 'cell')} run",
        f"{sweep_plan.done} there already",
        *([f"{bad} failed"] if bad else []),
        *([f"{pluralize(len(result.failed), 'dataset')} not usable"] if result.failed else []),
    ]
    return f"{pluralize(len(result.rankings), 'dataset')}: {', '.join(parts)}"
