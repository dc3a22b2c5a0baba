"""Estimate the costs of a run and find its problems, without running anything or downloading weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import needed_files, needed_weights
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.forecast import forecast_text, seconds_of_runs
from hf_emms.finetune.recipe import Recipe, choose_method, head_of, recipe_for
from hf_emms.formatting import format_bytes, pluralize
from hf_emms.hub import Repo, RepoFile, listing
from hf_emms.inputs import TEXT, Modality, Pairs, Spans
from hf_emms.options import DEFAULT_ENCODERS, Options, RunOptions
from hf_emms.options.calls import checked_call
from hf_emms.presets import encoder_presets
from hf_emms.ranking.columns import single_line
from hf_emms.ranking.progress import Progress
from hf_emms.ranking.progress_bars import reporting
from hf_emms.ranking.text import aligned
from hf_emms.run.bm25_baseline import bm25_seconds
from hf_emms.run.engine import AHEAD
from hf_emms.run.label_embeddings import labels_key
from hf_emms.run.plan import PlannedCheckpoint, RankingPlan, make_plan
from hf_emms.scoring.reranking import count_pairs
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    from hf_emms.data import Sample
    from hf_emms.finetune.splits import Splits

_GPU_SPEEDUP = 100
# Seconds to import torch and transformers, once per run; seconds to load a checkpoint, and per byte of its weights.
_IMPORT_SECONDS, _LOAD_SECONDS, _LOAD_BYTE_SECONDS = 4.0, 0.2, 1e-9
# Overhead in seconds per row in small batches, which dominates for a small model.
_ROW_SECONDS = 0.001
# Most checkpoints of texts truncate them to 512 tokens, which are about as many characters.
_LONGEST_TEXT = 2300
# Overhead in seconds per input.
_INPUT_SECONDS = 0.0003
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
        loading: The part of `seconds` that does not depend on the number of inputs.
    """

    files: int = 0
    bytes: int = 0
    cached: int = 0
    seconds: float | None = None
    problem: str | None = None
    weights: int = 0
    loading: float = 0.0


@dataclass(frozen=True)
class Rate:
    """An estimate of the seconds per input, by the size of a checkpoint.

    Attributes:
        seconds_per_parameter: In addition to `_INPUT_SECONDS`. Token embeddings do not count.
        unit: The unit of inputs.
    """

    seconds_per_parameter: float
    unit: str

    def seconds(self, parameters: float, embedding: float = 0) -> float:
        """Return the seconds per input for a checkpoint of this size, of which a part only embeds tokens."""
        return _INPUT_SECONDS + self.seconds_per_parameter * max(0, parameters - embedding)

    def __str__(self) -> str:
        return f"a rule of thumb: {self.seconds_per_parameter * 1e9:.2g} ns × parameters × {self.unit}"


def rate(device: str, kind: Modality, bytes_of_text: float | None = None) -> Rate:
    """Return how fast checkpoints run. The rate scales with `bytes_of_text`, the mean size of an input text."""
    gpu = device.startswith(("cuda", "mps"))
    scale = 1.0 if bytes_of_text is None or kind.text_bytes is None else bytes_of_text / kind.text_bytes
    return Rate(kind.cpu_seconds * scale / (_GPU_SPEEDUP if gpu else 1), kind.plural)


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
    inputs: int = 0,
    speed: Rate | None = None,
    config: Mapping[str, Any] = MappingProxyType({}),
) -> Cost:
    """Return download and time of a checkpoint with a configuration, for a number of inputs at a rate."""
    try:
        files = listing(repo)
        needed = needed_files(repo, files, code=options.trust_remote_code)
        weights = _total(needed_weights(repo, files))
    except EmmsError as error:
        return Cost(problem=error.message)
    seconds, loading = None, _LOAD_SECONDS + _LOAD_BYTE_SECONDS * weights
    if speed is not None:
        per_input = speed.seconds(weights / _BYTES_PER_PARAMETER, embedding_parameters(config))
        seconds = loading + inputs * per_input
    return Cost(
        len(needed),
        _total(file for file in needed if not file.cached),
        _total(file for file in needed if file.cached),
        seconds,
        weights=weights,
        loading=loading,
    )


def plan_costs(plan: RankingPlan) -> tuple[dict[Repo, Cost], Rate]:
    """Return the cost of each checkpoint and encoder that a plan still has to run, and the rate of its seconds."""
    speed = rate(plan.options.running.device, plan.sample.task.input, text_bytes(plan.sample))
    costs = {encoder: _cost_of_encoder(encoder, plan) for encoder in plan.encoders}
    estimators = plan.estimators
    forwards = sum(estimator.forwards for estimator in estimators if not estimator.reranks)
    rows = forwards + (plan.sample.n_read if estimators.need_features else 0)
    if any(estimator.reranks for estimator in estimators):
        queries = len(np.unique(plan.sample.input_of_row))
        rows += count_pairs(queries, plan.sample.n_read - queries)
    for spec in plan.to_run.values():
        cost = cost_of(spec.repo, plan.options.running, rows, speed, spec.config)
        if cost.seconds is not None:
            cost = replace(cost, seconds=cost.seconds + forwards * _ROW_SECONDS)
        costs[spec.repo] = cost
    return costs, speed


def _cost_of_encoder(encoder: Repo, plan: RankingPlan) -> Cost:
    """Return download and time of a label encoder; no time if the cache has the label embeddings."""
    options, texts = plan.options.running, plan.sample.label_texts
    if plan.session.cache.holds(labels_key(encoder, texts, options)):
        return cost_of(encoder, options)
    config = make_feature_spec(encoder, TEXT, "label embedding", trust_remote_code=options.trust_remote_code).config
    return cost_of(encoder, options, len(texts), rate(options.device, TEXT, _mean_length(texts)), config)


def seconds_of(plan: RankingPlan, costs: Mapping[Repo, Cost]) -> dict[str, float]:
    """Return the parts of a run that take time → about how many seconds they take on an idle machine."""
    embedding = sum(costs[encoder].seconds or 0 for encoder in plan.encoders)
    checkpoints = sum(cost.seconds or 0 for repo, cost in costs.items() if repo not in plan.encoders)
    sample, cache = plan.sample, plan.session.cache
    return {
        "reading": plan.session.reading_seconds,
        "libraries": _IMPORT_SECONDS if embedding or checkpoints else 0.0,
        "label embeddings": embedding,
        "BM25": bm25_seconds(sample, plan.options.scoring, cache) if "search" in plan.estimators.needs else 0.0,
        "checkpoints": checkpoints,
    }


def costs_in_words(seconds: Mapping[str, float], speed: Rate) -> str:
    """Return the time of a run by its parts as text."""
    parts = ", ".join(f"{part} {taken:,.0f} s" for part, taken in seconds.items() if taken >= 0.5)
    total = f"about {sum(seconds.values()):,.0f} s on an idle machine" + f" ({parts})" * bool(parts)
    return f"{total}, without downloads; checkpoints by {speed}"


def _total(files: Iterable[RepoFile]) -> int:
    return sum(file.bytes for file in files)


# ---- the dry run -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preflight:
    """A plan with its costs.

    Attributes:
        plan: The plan of the ranking.
        costs: Checkpoint or encoder → its cost.
        rate: The rate of the seconds.
        problems: Why checkpoints will be failed rows, and what is too little for the downloads.
        fine_tuning: The maximum time of fine-tuning, as text.
    """

    plan: RankingPlan
    costs: Mapping[Repo, Cost]
    rate: Rate
    problems: tuple[str, ...] = ()
    fine_tuning: str | None = None

    def __str__(self) -> str:
        header, rows = self.records()
        reading = self.plan.sample.reading
        table = aligned(header, [list(map(single_line, row)) for row in rows], left=header[:3])
        return "\n".join([*(reading.lines() if reading else []), *self.lines(), *table])

    def __repr__(self) -> str:
        sample, checkpoints = self.plan.sample, len(self.plan.checkpoints)
        return f"Preflight(dataset={sample.dataset!r}, checkpoints={checkpoints}, problems={len(self.problems)})"

    def lines(self) -> list[str]:
        """Return the size of the sample, label encoders, notes, downloads, time and problems as lines of text."""
        plan, sample = self.plan, self.plan.sample
        default = set(encoder_presets()[DEFAULT_ENCODERS]) if not plan.options.features.encoders else set()
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
            *filter(None, [self.fine_tuning]),
            *([f"{pluralize(len(self.problems), 'problem')} of this run:"] if self.problems else []),
            *(f"  {problem}" for problem in self.problems),
        ]

    def records(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return the header, and state, files, bytes and seconds of each checkpoint."""
        header = ("checkpoint", "revision", "state", "files", "download_bytes", "seconds")
        return header, [self._record(checkpoint) for checkpoint in self.plan.checkpoints]

    def _record(self, checkpoint: PlannedCheckpoint) -> tuple[Any, ...]:
        revision = checkpoint.repo.revision if checkpoint.repo else None
        if _problem_of(checkpoint, self.costs) is not None:
            return checkpoint.id, revision, "cannot be used", None, None, None
        if checkpoint.row is not None or checkpoint.repo is None:
            return checkpoint.id, revision, "finished earlier", None, None, None
        cost = self.costs[checkpoint.repo]
        state = "local folder" if checkpoint.repo.folder else "to download" if cost.bytes else "cached"
        return checkpoint.id, revision, state, cost.files, cost.bytes, round(cost.seconds or 0.0, 1)


@checked_call
def plan(
    dataset: Any,
    checkpoints: Any = None,
    *,
    progress: Progress | bool | None = None,
    **settings: Any,
) -> Preflight:
    """Return the downloads, the expected time and all problems of a ranking, without running a checkpoint.

    Args:
        dataset: See `rank`.
        checkpoints: See `rank`.
        progress: See `rank`.
        settings: Other arguments of `rank`, for this machine.

    Returns:
        A plan with its costs. Print it.

    Raises:
        EmmsError: The ranking cannot start.

    Examples:
        >>> import hf_emms
        >>> print(hf_emms.plan("demo_glosses", max_samples=200))  # doctest: +SKIP
    """
    options = Options.of(dataset, checkpoints=checkpoints, **settings)
    with reporting(progress) as receiver:
        return preflight(options, receiver)


def preflight(options: Options, progress: Progress) -> Preflight:
    """Return the plan of a run with its costs and problems.

    Raises:
        EmmsError: The run cannot start.
    """
    plan = make_plan(options, progress)
    costs, speed = plan_costs(plan)
    for encoder in plan.encoders:
        if (problem := costs[encoder].problem) is not None:
            raise EmmsError(
                "encoder-failed",
                f"the label encoder {encoder.id} cannot be used: {problem}",
                setting_ref("encoders", "demo"),
            )
    reasons = {checkpoint.id: _problem_of(checkpoint, costs) for checkpoint in plan.checkpoints}
    problems = [f"checkpoint {id}: {reason}" for id, reason in reasons.items() if reason is not None]
    if len(problems) == len(plan.checkpoints):
        likewise: dict[str, list[str]] = {}  # reasons without the id → the ids
        for id, reason in reasons.items():
            likewise.setdefault(str(reason).replace(id, ""), []).append(id)
        problem = "; ".join(f"{', '.join(ids)}: {reasons[ids[0]]}" for ids in likewise.values())
        problem = f"no checkpoint can be ranked: {problem}"
        raise EmmsError("no-usable-checkpoint", problem, setting_ref("checkpoints", "ORG/NAME"))
    fine_tuning = None
    if options.training.confirm is not None:
        fine_tuning = _fine_tuning_at_most(plan, costs, speed)
    return Preflight(plan, costs, speed, (*problems, *_too_full(plan, costs)), fine_tuning)


def _problem_of(checkpoint: PlannedCheckpoint, costs: Mapping[Repo, Cost]) -> str | None:
    """Return why a checkpoint will be a failed row, or None."""
    if checkpoint.row is not None or checkpoint.repo is None:
        return checkpoint.row.error if checkpoint.row is not None else None
    return costs[checkpoint.repo].problem


def _too_full(plan: RankingPlan, costs: Mapping[Repo, Cost]) -> Iterator[str]:
    """Yield a problem if the disk has too little space for the downloads, of which a run may delete the finished."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE).expanduser().absolute()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    sizes = sorted((cost.bytes for repo, cost in costs.items() if repo not in plan.encoders), reverse=True)
    at_once = sizes[: AHEAD + 1] if plan.options.running.delete_downloads else sizes
    total = sum(at_once) + sum(costs[encoder].bytes for encoder in plan.encoders)
    if total > free:
        yield f"disk: {format_bytes(total)} to download, {format_bytes(free)} free in {folder} (HF_HUB_CACHE)"


def _fine_tuning_at_most(plan: RankingPlan, costs: Mapping[Repo, Cost], rate: Rate) -> str:
    """Describe the cost of fine-tuning in the worst case: the largest checkpoints are the best."""
    splits = plan.session.read_splits(plan.session.source)
    runs = fine_tuning_costs(plan, costs, rate, splits).values()
    slowest = sorted(runs, key=itemgetter(1), reverse=True)[: plan.options.training.confirm]
    seconds = sum(taken for _, taken in slowest)
    return f"fine-tuning, at most: {forecast_text([recipe for recipe, _ in slowest], seconds, splits)}"


def fine_tuning_costs(
    plan: RankingPlan, costs: Mapping[Repo, Cost], rate: Rate, splits: Splits
) -> dict[str, tuple[Recipe, float]]:
    """Return the recipe and the seconds of fine-tuning each checkpoint that can run."""
    from hf_emms.features.device import choose_device

    options, head, by_name = plan.options, head_of(plan.sample.task), dict[str, tuple[Recipe, float]]()
    for checkpoint in plan.checkpoints:
        spec, row = checkpoint.spec, checkpoint.row
        if spec is not None and (row is None or row.error is None):
            weights = costs[spec.repo].weights // _BYTES_PER_PARAMETER if row is None else row.parameters
            parameters = weights or 0
            method, _ = choose_method(options.training, parameters, choose_device(options.running.device))
            recipe = recipe_for(options.training, head, parameters, method, options.running.batch_size)
            speed = rate.seconds(parameters, embedding_parameters(spec.config))
            by_name[checkpoint.id] = recipe, seconds_of_runs(recipe, splits, speed)
    return by_name
