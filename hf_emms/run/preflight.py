"""Estimate the costs of a run and find its problems, without running anything or downloading weights."""

from __future__ import annotations

import html
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hf_emms.cache import default_root
from hf_emms.errors import EmmsError, format_bytes, pluralize, setting_ref
from hf_emms.features.checkpoint_files import needed_files, needed_weights
from hf_emms.features.feature_spec import FeatureSpec, plan_extraction
from hf_emms.features.main_memory import total_main_memory
from hf_emms.finetune.fine_tune import check_settings
from hf_emms.finetune.forecast import PlannedRuns, forecast_text
from hf_emms.finetune.recipe import check_head, choose_method, head_of, max_rows, recipe_for
from hf_emms.finetune.splits import load_splits
from hf_emms.hub import Repo, RepoFile, listing
from hf_emms.inputs import TEXT, Modality, Pairs, Spans
from hf_emms.options import DEFAULT_ENCODERS, Options, RunOptions
from hf_emms.presets import encoder_presets
from hf_emms.ranking import Ranking
from hf_emms.ranking.columns import single_line
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.ranking.text import aligned, html_table
from hf_emms.run.bm25_baseline import bm25_seconds
from hf_emms.run.label_embeddings import labels_key
from hf_emms.run.plan import Candidate, RankingPlan, make_plan, reading_note
from hf_emms.scoring.reranking import count_pairs
from hf_emms.tasks import get_task

if TYPE_CHECKING:
    from hf_emms.data import Sample

_GPU_SPEEDUP = 100
# Seconds to import torch and transformers, once per run; seconds to load a checkpoint, and per byte of its weights.
_IMPORT_SECONDS, _LOAD_SECONDS, _LOAD_BYTE_SECONDS = 4.0, 0.2, 1e-9
# Overhead in seconds per row in small batches, which dominates for a small model.
_ROW_SECONDS = 0.001
# Most checkpoints of texts truncate them to 512 tokens, which are about as many characters.
_LONGEST_TEXT = 2300
# Overhead in seconds per input, and the largest ratio of sizes of checkpoints whose speed is comparable.
_INPUT_SECONDS, _NEAR = 0.0003, 4
# Overhead dominates shorter runs, so that they do not measure a rate.
_MIN_SECONDS = 1.0
_MAX_RANKINGS = 50
_BYTES_PER_PARAMETER = 4


# ---- costs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """The cost of a checkpoint or encoder.

    Attributes:
        files: The number of needed files.
        bytes: The number of bytes to download.
        cached: The number of bytes that are on this machine already.
        seconds: The time to load it and to compute features or label embeddings, by `Rate`. None if it does not run.
        problem: The reason why the other fields are unknown.
        weights: The size of the weights in bytes.
    """

    files: int = 0
    bytes: int = 0
    cached: int = 0
    seconds: float | None = None
    problem: str | None = None
    weights: int = 0


@dataclass(frozen=True)
class Rate:
    """Seconds per input by the size of a checkpoint: measured, else by a rule of thumb.

    Attributes:
        seconds_per_parameter: By the rule of thumb, in addition to `_INPUT_SECONDS`. Token embeddings do not count.
        unit: The unit of inputs.
        measured: Parameters and seconds per input of checkpoints in earlier rankings of the dataset.
    """

    seconds_per_parameter: float
    unit: str
    measured: tuple[tuple[float, float], ...] = ()

    def seconds(self, parameters: float, embedding: float = 0) -> float:
        """Return the seconds per input for a checkpoint of this size, of which a part only embeds tokens."""
        near = [(size, seconds) for size, seconds in self.measured if 1 / _NEAR <= parameters / size <= _NEAR]
        if near:
            return median(seconds * parameters / size for size, seconds in near)
        return _INPUT_SECONDS + self.seconds_per_parameter * max(0, parameters - embedding)

    @property
    def source(self) -> str:
        rule = f"rule of thumb: {self.seconds_per_parameter * 1e9:.2g} ns × parameters × {self.unit}"
        return (
            f"{pluralize(len(self.measured), 'checkpoint')} before, else by a {rule}" if self.measured else f"a {rule}"
        )


def rate(device: str, kind: Modality, dataset: str | None = None, bytes_of_text: float | None = None) -> Rate:
    """Return how fast checkpoints run here: as in earlier rankings of the dataset on this device, or by a rule of
    thumb.

    The rule scales with `bytes_of_text`, the mean size of an input text.
    """
    measured = tuple(
        (float(row.parameters), row.seconds.forward / ranking.n_inputs)
        for ranking in _earlier_rankings()
        if ranking.settings.get("device") == device and _kind_of(ranking) is kind and ranking.dataset_id == dataset
        if ranking.n_inputs
        for row in ranking.rows
        if row.parameters and row.cached != "features" and row.seconds.forward >= _MIN_SECONDS
    )
    gpu = device.startswith(("cuda", "mps"))
    scale = 1.0 if bytes_of_text is None or kind.text_bytes is None else bytes_of_text / kind.text_bytes
    return Rate(kind.cpu_seconds * scale / (_GPU_SPEEDUP if gpu else 1), kind.plural, measured)


def text_bytes(sample: Sample) -> float | None:
    """Return the mean size of an input text or pair of texts in bytes; None for other inputs."""
    kind, inputs = sample.task.input, sample.inputs.inputs if isinstance(sample.inputs, Spans) else sample.inputs
    if kind.text_bytes is None:
        return None
    parts = (inputs.firsts, inputs.seconds) if isinstance(inputs, Pairs) else (inputs,)
    contents = [part_kind.contents(part) for part_kind, part in zip(kind.parts or (kind,), parts, strict=False)]
    return sum(map(_mean_length, contents))


def _mean_length(texts: Sequence[Any]) -> float:
    return sum(min(len(text), _LONGEST_TEXT) for text in texts) / len(texts)


def embedding_parameters(config: Mapping[str, Any]) -> int:
    """Return the number of parameters that embed tokens; 0 if the configuration does not contain it."""
    vocabulary, width = config.get("vocab_size"), config.get("hidden_size")
    return vocabulary * width if isinstance(vocabulary, int) and isinstance(width, int) else 0


def cost_of(
    repo: Repo,
    options: RunOptions,
    inputs: Sequence[tuple[int, Rate]] = (),
    config: Mapping[str, Any] = MappingProxyType({}),
) -> Cost:
    """Return download and time of a checkpoint with a configuration, for numbers of inputs and their rates."""
    try:
        files = listing(repo)
        needed = needed_files(repo, files, code=options.trust_remote_code)
        weights = _total(needed_weights(repo, files))
    except EmmsError as error:
        return Cost(problem=error.message)
    seconds = None
    if inputs:
        parameters, embedding = weights / _BYTES_PER_PARAMETER, embedding_parameters(config)
        seconds = _LOAD_SECONDS + _LOAD_BYTE_SECONDS * weights
        seconds += sum(count * rate.seconds(parameters, embedding) for count, rate in inputs)
    return Cost(
        len(needed),
        _total(file for file in needed if not file.cached),
        _total(file for file in needed if file.cached),
        seconds,
        weights=weights,
    )


def plan_costs(plan: RankingPlan) -> tuple[dict[Repo, Cost], Rate]:
    """Return the cost of each checkpoint and encoder that a plan still has to run, and the rate of its seconds."""
    speed = rate(plan.options.device, plan.sample.task.input, plan.sample.repo.id, text_bytes(plan.sample))
    costs = {encoder: _cost_of_encoder(encoder, plan) for encoder in plan.encoders}
    estimators = plan.estimators
    forwards = sum(estimator.forwards for estimator in estimators if not estimator.reranks)
    rows = forwards + (plan.sample.n_read if estimators.need_features else 0)
    if any(estimator.reranks for estimator in estimators):
        queries = len(np.unique(plan.sample.input_of_row))
        rows += count_pairs(queries, plan.sample.n_read - queries)
    for spec in plan.to_run.values():
        cost = cost_of(spec.repo, plan.options.running, [(rows, speed)], spec.config)
        if cost.seconds is not None:
            cost = replace(cost, seconds=cost.seconds + forwards * _ROW_SECONDS)
        costs[spec.repo] = cost
    return costs, speed


def _cost_of_encoder(encoder: Repo, plan: RankingPlan) -> Cost:
    """Return download and time of a label encoder; no time if the cache has the label embeddings."""
    options, texts = plan.options.running, plan.sample.label_texts
    if plan.session.cache.holds(labels_key(encoder, texts, options)):
        return cost_of(encoder, options)
    try:
        config = plan_extraction(encoder, TEXT, "label embedding", trust_remote_code=options.trust_remote_code).config
    except EmmsError:
        config = {}  # its problems are reported separately
    return cost_of(encoder, options, [(len(texts), rate(options.device, TEXT, None, _mean_length(texts)))], config)


def seconds_of(plan: RankingPlan, costs: Mapping[Repo, Cost]) -> dict[str, float]:
    """Return the parts of a run that take time → about how many seconds they take on an idle machine."""
    embedding = sum(costs[encoder].seconds or 0 for encoder in plan.encoders)
    checkpoints = sum(cost.seconds or 0 for repo, cost in costs.items() if repo not in plan.encoders)
    sample, cache = plan.sample, plan.session.cache
    return {
        "reading": plan.session.reading_seconds,
        "libraries": _IMPORT_SECONDS if embedding or checkpoints else 0.0,
        "label embeddings": embedding,
        "BM25": bm25_seconds(sample, plan.options.scoring, cache) if plan.estimators.need_search else 0.0,
        "checkpoints": checkpoints,
    }


def costs_in_words(seconds: Mapping[str, float], speed: Rate) -> str:
    """Return the time of a run by its parts as text."""
    parts = ", ".join(f"{part} {taken:,.0f} s" for part, taken in seconds.items() if taken >= 0.5)
    total = f"about {sum(seconds.values()):,.0f} s on an idle machine" + f" ({parts})" * bool(parts)
    return f"{total}, without downloads; checkpoints by {speed.source}"


def _kind_of(ranking: Ranking) -> Modality | None:
    try:
        return get_task(ranking.task).input
    except EmmsError:  # the package of the task is not installed
        return None


def _total(files: Iterable[RepoFile]) -> int:
    return sum(file.bytes for file in files)


def _earlier_rankings() -> list[Ranking]:
    """Return the latest rankings that the command line has saved."""
    paths = sorted((default_root() / "rankings").glob("*.json"), key=lambda path: path.stat().st_mtime)
    rankings = []
    for path in paths[-_MAX_RANKINGS:]:
        try:
            rankings.append(Ranking.from_json(path.read_text(encoding="utf-8")))
        except (EmmsError, OSError):
            continue  # unreadable, or removed in the meantime
    return rankings


# ---- problems --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Problem:
    """A problem of a run.

    Attributes:
        what: The affected part: "fine-tuning", "label encoder ID", "checkpoint ID", "checkpoints" or "disk".
        message: What is wrong.
        hint: What to do.
        fatal: Whether the run cannot start. Otherwise a checkpoint will be a failed row.
    """

    what: str
    message: str
    hint: str | None = None
    fatal: bool = True

    def __str__(self) -> str:
        return f"{self.what}: {self.message}" + (f"\n    → {self.hint}" if self.hint else "")


@dataclass(frozen=True)
class Machine:
    """The free bytes on the disk of the Hub's cache, the total bytes of memory, and the folder of the cache."""

    disk: int
    memory: int
    folder: Path

    @classmethod
    def here(cls) -> Machine:
        from huggingface_hub import constants

        folder = Path(constants.HF_HUB_CACHE).expanduser().absolute()
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        return cls(shutil.disk_usage(existing).free, total_main_memory(), folder)


@dataclass(frozen=True)
class Preflight:
    """A plan with its costs, and all its problems.

    Attributes:
        plan: The plan of the ranking.
        costs: Checkpoint or encoder → its cost.
        rate: The rate of the seconds.
        problems: The problems that the run will have.
        fine_tuning: The maximum time of fine-tuning, as text.
    """

    plan: RankingPlan
    costs: Mapping[Repo, Cost]
    rate: Rate
    problems: tuple[Problem, ...]
    fine_tuning: str | None = None

    def __str__(self) -> str:
        header, cells = self._cells()
        reading = self.plan.sample.reading
        lines = [*(reading.lines() if reading else []), *self.lines(), *aligned(header, cells, left=header[:3])]
        return "\n".join([*lines, *self.fine_tuning_and_problems()])

    def __repr__(self) -> str:
        sample, checkpoints = self.plan.sample, len(self.plan.candidates)
        return f"Preflight(dataset={sample.dataset!r}, checkpoints={checkpoints}, problems={len(self.problems)})"

    def _repr_html_(self) -> str:
        header, cells = self._cells()
        above, below = (
            "".join(f"<p>{html.escape(line)}</p>\n" for line in lines)
            for lines in (self.lines(), self.fine_tuning_and_problems())
        )
        return above + html_table(header, cells, left=header[:3]) + "\n" + below

    def _cells(self) -> tuple[tuple[str, ...], list[list[str]]]:
        header, rows = self.records()
        return header, [[single_line(value) for value in row] for row in rows]

    def renamed(self, names: Mapping[str, str]) -> Self:
        """Return a copy with the names of models in memory instead of their folders."""
        candidates = tuple(replace(each, id=names.get(each.id, each.id)) for each in self.plan.candidates)
        return replace(self, plan=replace(self.plan, candidates=candidates))

    def lines(self) -> list[str]:
        """Return how the dataset was read, the label encoders, notes, downloads and time as lines of text."""
        plan, sample = self.plan, self.plan.sample
        default = set(encoder_presets()[DEFAULT_ENCODERS]) if not plan.options.encoders else set()
        encoders = (
            f"label encoder {encoder.id} at {encoder.revision}"
            + f", of the default set {DEFAULT_ENCODERS!r}" * (encoder.id in default)
            + f": {format_bytes(self.costs[encoder].bytes)} to download"
            for encoder in plan.encoders
        )
        files, download, cached = (
            sum(getattr(cost, name) for cost in self.costs.values()) for name in ("files", "bytes", "cached")
        )
        return [
            f"dataset {sample.repo.id} at {sample.repo.revision}, {sample.split} split, {sample.task.id}",
            f"{pluralize(len(sample.codes), 'row')}, {pluralize(sample.n_read, 'input')}, "
            f"{pluralize(len(sample.label_texts), 'label text')}",
            *encoders,
            *map(str, plan.notes),
            f"{pluralize(files, 'file')}: {format_bytes(download)} to download, {format_bytes(cached)} here already",
            costs_in_words(seconds_of(plan, self.costs), self.rate),
        ]

    def records(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return the header, and state, files, bytes and seconds of each checkpoint."""
        header = ("checkpoint", "revision", "state", "files", "download_bytes", "cached_bytes", "seconds")
        return header, [self._record(candidate) for candidate in self.plan.candidates]

    def fine_tuning_and_problems(self) -> list[str]:
        """Return the maximum cost of fine-tuning, and all problems, as lines of text."""
        count = len(self.problems)
        return [
            *([self.fine_tuning] if self.fine_tuning is not None else []),
            *([f"{pluralize(count, 'problem')} of this run:"] if count else []),
            *(f"  {problem}" for problem in self.problems),
        ]

    def _record(self, candidate: Candidate) -> tuple[Any, ...]:
        repo, row = candidate.repo, candidate.row
        cost = self.costs.get(repo) if repo else None
        problem = row.error if row else cost.problem if cost else None
        if problem:
            state = "cannot be used"  # `problems` contains the reason
        elif row:
            state = "finished earlier"
        else:
            state = "local folder" if repo and repo.folder else "to download" if cost and cost.bytes else "cached"
        numbers: tuple[float | None, ...] = (None, None, None, None)
        if cost and not problem:
            numbers = cost.files, cost.bytes, cost.cached, cost.seconds and round(cost.seconds, 1)
        return candidate.id, repo and repo.revision, state, *numbers


def preflight(options: Options, progress: Progress, machine: Machine | None = None) -> Preflight:
    """Return the plan of a run, and the problems of its encoders, checkpoints, disk and memory.

    Raises:
        EmmsError: The run cannot be planned.
    """
    plan = make_plan(options, progress)
    costs, rate = plan_costs(plan)
    problems = list[Problem]()
    fine_tuning = list[str]()
    if options.confirm is not None:
        problems += _check_fine_tuning(plan)
        if not problems:
            problems += _problem_if_raises(
                "fine-tuning", lambda: fine_tuning.append(_fine_tuning_at_most(plan, costs, rate))
            )
    problems += [*_check_repos(plan, costs), *_check_machine(plan, costs, machine or Machine.here())]
    bad = {problem.what for problem in problems}
    if all(f"checkpoint {candidate.id}" in bad for candidate in plan.candidates):
        problems.append(
            Problem("checkpoints", "no checkpoint can be ranked", str(setting_ref("checkpoints", "ORG/NAME")))
        )
    return Preflight(plan, costs, rate, tuple(problems), *fine_tuning)


def _check_fine_tuning(plan: RankingPlan) -> Iterator[Problem]:
    yield from _problem_if_raises("fine-tuning", partial(check_settings, plan.options))
    yield from _problem_if_raises("fine-tuning", partial(check_head, plan.sample.task, plan.options.training))


def _fine_tuning_at_most(plan: RankingPlan, costs: Mapping[Repo, Cost], rate: Rate) -> str:
    """Return the cost of fine-tuning if the largest checkpoints are the best, as text."""
    from hf_emms.features.device import choose_device

    options, session, task = plan.options, plan.session, plan.sample.task
    with noted_while(session.progress, reading_note(options.sample)):
        splits = load_splits(options.sample, session.source, max_rows=max_rows(options.training))
    sized = list[tuple[int, FeatureSpec]]()
    for candidate in plan.candidates:
        spec, row = candidate.spec, candidate.row
        if spec is not None and (row is None or row.error is None):
            weights = costs[spec.repo].weights // _BYTES_PER_PARAMETER if row is None else row.parameters
            sized.append((weights or 0, spec))
    shortlist = []
    for parameters, spec in sorted(sized, key=itemgetter(0), reverse=True)[: options.confirm]:
        method, _ = choose_method(options.training, parameters, choose_device(options.device))
        recipe = recipe_for(options.training, head_of(task), parameters, method, options.batch_size)
        forward = rate.seconds(parameters, embedding_parameters(spec.config))
        shortlist.append(PlannedRuns(recipe, forward))
    if not shortlist:
        raise EmmsError("no checkpoint can be fine-tuned", setting_ref("checkpoints", "ORG/NAME"))
    return f"fine-tuning, at most: {forecast_text(shortlist, splits)}"


def _check_repos(plan: RankingPlan, costs: Mapping[Repo, Cost]) -> Iterator[Problem]:
    for encoder in plan.encoders:
        what = f"label encoder {encoder.id}"
        if problem := costs[encoder].problem:
            yield Problem(what, problem)
        else:
            trust = plan.options.trust_remote_code
            yield from _problem_if_raises(
                what, partial(plan_extraction, encoder, TEXT, "label embedding", trust_remote_code=trust)
            )
    for candidate in plan.candidates:
        error = candidate.row.error if candidate.row is not None else None
        if candidate.spec is not None and candidate.row is None:
            error = costs[candidate.spec.repo].problem
        if error is not None:
            yield Problem(f"checkpoint {candidate.id}", error, fatal=False)


def _check_machine(plan: RankingPlan, costs: Mapping[Repo, Cost], machine: Machine) -> Iterator[Problem]:
    encoders = sum(costs[encoder].bytes for encoder in plan.encoders)
    total = sum(cost.bytes for cost in costs.values())
    if total > machine.disk:
        yield Problem(
            "disk",
            f"{format_bytes(total)} to download, {format_bytes(machine.disk)} free in {machine.folder}",
            "free some space, or set HF_HUB_CACHE to a folder on a larger disk",
            fatal=encoders > machine.disk,
        )
    for repo, cost in costs.items():
        if cost.weights > machine.memory:
            kind = "label encoder" if repo in plan.encoders else "checkpoint"
            yield Problem(
                f"{kind} {repo.id}",
                f"its weights are {format_bytes(cost.weights)}, more than the {format_bytes(machine.memory)} of memory",
                f"choose a smaller checkpoint, or {setting_ref('engine', 'jobs')} with larger hardware",
                fatal=kind == "label encoder",
            )


def _problem_if_raises(what: str, check: Callable[[], Any]) -> Iterator[Problem]:
    try:
        check()
    except EmmsError as error:
        yield Problem(what, error.message, error.hint)
