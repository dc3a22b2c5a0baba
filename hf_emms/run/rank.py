"""From a dataset and checkpoints to a ranking."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeAlias, cast, overload

import msgspec
import numpy as np

from hf_emms.errors import EmmsError, Note, pluralize
from hf_emms.finetune.fine_tune import check_settings
from hf_emms.finetune.recipe import check_head
from hf_emms.finetune.saving import model_folder_for, push_best
from hf_emms.hub import HubFacts
from hf_emms.options import DEFAULT_CORPUS_SIZE, DEFAULT_MAX_SAMPLES, Options, settings_of
from hf_emms.options.registry import versions
from hf_emms.ranking import Encoder, Ranking, Row, emms_score, ranked
from hf_emms.ranking.merge import checkpoint_key, results_path
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.ranking.progress_bars import reporting
from hf_emms.run import ranking_job
from hf_emms.run.confirm import NotConfirmedError, confirmed
from hf_emms.run.engines import EngineInput
from hf_emms.run.label_embeddings import label_names, label_table
from hf_emms.run.models_in_memory import renamed, saved_models
from hf_emms.run.plan import RankingPlan, make_plan, row_key
from hf_emms.run.preflight import Preflight, costs_in_words, plan_costs, preflight
from hf_emms.run.ranking_job import JobSettings
from hf_emms.run.worker import prepare
from hf_emms.scoring.estimators import Estimator
from hf_emms.scoring.generative import TRAINING_ROWS
from hf_emms.scoring.labels import LabelTable

if TYPE_CHECKING:
    from os import PathLike

    import datasets
    import pandas as pd  # type: ignore[import-untyped]
    import transformers
    from sentence_transformers import SentenceTransformer  # type: ignore[import-not-found, unused-ignore]

    from hf_emms.options import LabelForm, References, Sampling

    DatasetLike: TypeAlias = (
        str | PathLike[str] | datasets.Dataset | datasets.DatasetDict | pd.DataFrame | list[dict[str, Any]]
    )
    Model: TypeAlias = transformers.PreTrainedModel | transformers.Pipeline | SentenceTransformer
    CheckpointLike: TypeAlias = str | PathLike[str] | Model | tuple[transformers.PreTrainedModel, Any]


P = ParamSpec("P")


class _Rank(Protocol[P]):
    """The types of `rank`: `dry_run` returns another."""

    @overload
    def __call__(  # type: ignore[overload-overlap]
        self, *args: Any, dry_run: Literal[True], **settings: Any
    ) -> Preflight: ...
    @overload
    def __call__(self, *args: P.args, **settings: P.kwargs) -> Ranking: ...


def _typed(function: Callable[P, Ranking | Preflight]) -> _Rank[P]:
    return cast(_Rank[P], function)


@_typed
def rank(
    dataset: DatasetLike,
    checkpoints: CheckpointLike | Iterable[CheckpointLike] | Mapping[str, CheckpointLike] | None = None,
    *,
    task: str | None = None,
    config: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    max_samples: int | None = DEFAULT_MAX_SAMPLES,
    corpus_size: int | None = DEFAULT_CORPUS_SIZE,
    sampling: Sampling | None = None,
    race: int | None = None,
    references: References = "mean",
    prompt: str | None = None,
    label_form: LabelForm | None = None,
    box_format: str | None = None,
    group_column: str | None = None,
    encoders: str | Iterable[str] | None = None,
    estimators: str | Iterable[str] | None = None,
    seed: int = 0,
    folds: int = 5,
    results: str | None = None,
    confirm: int | None = None,
    method: str | None = None,
    budget: str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    learning_rates: float | str | Iterable[float | str] | None = None,
    seeds: int | None = None,
    confirm_samples: int | None = None,
    time_limit: str | None = None,
    save_model: str | None = None,
    keep_adapter: bool = False,
    push_to_hub: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    stall_limit: int = 120,
    layers: str | int | Iterable[str | int] | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    resume: bool = True,
    cache: bool = True,
    streaming: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    engine: str = "local",
    ray_address: str | None = None,
    job: JobSettings | None = None,
    progress: Progress | bool | None = None,
    dry_run: bool = False,
    **role_columns: str | None,
) -> Ranking | Preflight:
    """Rank checkpoints for a dataset without fine-tuning any of them.

    Args:
        dataset: a preset name, a Hub dataset id, a folder or file, a `datasets.Dataset` or `DatasetDict`, a DataFrame
            of pandas or polars, an Arrow table, a dictionary of columns or of tables by split, or a list of
            dictionaries, a row each.
        checkpoints: Hub model ids (``ORG/NAME[@REVISION]``), folders, and models in memory, in any mixture: models and
            pipelines of transformers, tuples of a model and its tokenizer, and models of sentence-transformers; or a
            dictionary from names to models in memory. The task's preset list by default.
        task: the Hub's task id; inferred from the columns by default.
        config: dataset configuration.
        split: dataset split.
        columns: role → column, e.g. ``{"image": "img", "label": "fine_label"}``; inferred by default.
        max_samples: the most rows that are used; None for all of them. A question that becomes spans counts as one, and
            so does a query with all its documents.
        corpus_size: the most documents that queries search, beside those that answer them; None for all.
        sampling: "balanced" (evenly over classes) or "proportional".
        race: K: stop checkpoints early that cannot come in among the best K; None runs all of them on all rows.
        references: which of an input's texts count (captions, answers, classes): "mean" of their embeddings, "first",
            "majority", "one-per-image" (by the seed), or "all", each as a row of its own.
        prompt: template of the label texts, with ``{}`` where the label goes.
        label_form: which F-labels boxes and values make: "text", "numbers" or "both"; the task's by default. Of answers
            "spans" of their contexts, the default if they are substrings of these, or "text".
        box_format: "xywh", "xyxy" or "cxcywh".
        group_column: a column of the dataset, such as the speakers, patients or documents that rows are of: those of
            one are in one fold, and in one split of a fine-tuning.
        encoders: sets ("base", "paper", "demo") or ids of the label encoders.
        estimators: names; the first one orders the rows.
        seed: of the sample and the folds.
        folds: number of folds of the held-out estimators.
        results: a results dataset (``ORG/NAME[@REVISION]``) or a folder of rankings; the mean ranks of the checkpoints
            on its other datasets of the same task become `Row.mean_rank_elsewhere`, a control that orders nothing.
        confirm: then fine-tune so many of the best checkpoints, see `hf_emms.confirm`, which explains the arguments
            from here to `push_to_hub`.
        method: what is trained.
        budget: "quick" for few rows and epochs.
        epochs: the most epochs a run.
        steps: optimizer steps a run.
        learning_rates: peaks that are tried.
        seeds: runs of each checkpoint at its best rate.
        confirm_samples: the most rows for fine-tuning.
        time_limit: when fine-tuning ends.
        save_model: a folder for the best fine-tuned model.
        keep_adapter: save the LoRA adapter alone, not merged into the model; for checkpoints that write responses.
        push_to_hub: a model repository for it, "ORG/NAME".
        device: "auto", "cpu", "cuda" or "mps".
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_size: inputs a batch; chosen by default.
        stall_limit: seconds without progress after which a checkpoint becomes a failed row.
        layers: "spread" (the first and the middle hidden layer besides the last; the default), "last" (what the table
            of architectures names), "mean" over all hidden layers, or the number of one; each checkpoint's row is
            that of the best of several.
        query_prompt: what queries start with, for every checkpoint, "" for nothing; as each checkpoint says by default.
        document_prompt: what documents start with, likewise.
        resume: take rows that an earlier run with the same settings finished.
        cache: read features, label embeddings and rows from the cache, and store them there.
        streaming: read the dataset without downloading all of it.
        allow_pickle: unpickle weights in full, which can run code, where torch's loader of tensors refuses them.
        trust_remote_code: run code from checkpoint repositories.
        engine: where checkpoints run: "local" (this process), "ray" (a Ray cluster) or "jobs" (a Hugging Face Job).
        ray_address: of a running Ray cluster; by default RAY_ADDRESS, or one on this machine for this run.
        job: hardware of a Hugging Face Job, and the results dataset that its ranking comes back through.
        progress: True for lines and bars on stderr, False for none, or a receiver of events; by default the former
            where stderr is a terminal or a notebook.
        dry_run: return what would be downloaded and run, how long, and every problem; no checkpoint runs.
        role_columns: ``text_column``, ``image_column``, ``label_column``, …: a column for a role, as in `columns`.

    Returns:
        The ranking; a checkpoint that failed is a row with an error. Where fine-tuning fails, a warning and the last
        note say why, and no row has a `Row.fine_tuned`. With `dry_run` a `Preflight`, whose text says it all.

    Raises:
        EmmsError: the dataset, an encoder or an argument is not usable. No checkpoint has run then.

    Example:
        >>> import hf_emms
        >>> ranking = hf_emms.rank("demo_glosses", max_samples=200)  # doctest: +SKIP
        >>> ranking.best.checkpoint  # doctest: +SKIP
        'emms-demo/bert-distilled'
    """
    settings = settings_of(locals())
    with saved_models(checkpoints) as (ids, names):
        options = Options.of(**settings | {"checkpoints": ids})
        with reporting(progress) as receiver:
            if dry_run:
                if job is not None:
                    raise EmmsError("a dry run of a job is that of its command", "hf-emms rank --engine jobs --dry-run")
                return preflight(options, receiver).renamed(names)
            try:
                ranking = rank_with(options, receiver, job)
            except NotConfirmedError as error:
                warnings.warn(str(error), stacklevel=2)
                ranking = error.ranking
                return renamed(
                    msgspec.structs.replace(ranking, notes=(*ranking.notes, Note("not-fine-tuned", error.message))),
                    names,
                )
            if job is None and ranking.best is not None:
                push_best(options.training, receiver.noted)
            return renamed(ranking, names)


def rank_with(
    options: Options,
    progress: Progress,
    job: JobSettings | None,
    on_ranking: Callable[[Ranking], None] = lambda ranking: None,
) -> Ranking:
    """Return the ranking of `rank`, by options; the best fine-tuned model is not uploaded yet.

    `on_ranking` is called before the best checkpoints are fine-tuned, which may fail; not for a job.
    """
    ranking_job.check_job(options.engine, job)
    if options.engine == "local":
        prepare()
    if job is not None:
        spec = ranking_job.job_spec(options, job)
        return ranking_job.run(spec, job, progress, pushes_to=options.push_to_hub)[-1]
    if options.confirm is not None:
        check_settings(options)
    plan = make_plan(options, progress)
    if options.confirm is not None:
        check_head(plan.sample.task, options.training)  # before any checkpoint runs
    model_folder = model_folder_for(plan.options, plan.sample.repo.revision)
    progress.expect(len(plan.candidates), "checkpoints")
    if plan.estimators.need_training and plan.to_run:
        progress.noted(f"short runs and features: {costs_in_words(*plan_costs(plan))}")
    ranking = execute_plan(plan)
    on_ranking(ranking)
    if options.confirm is not None and ranking.best is not None:
        try:
            ranking = confirmed(ranking, plan.session, model_folder)
        except EmmsError as error:
            failure = NotConfirmedError("ranked, but not fine-tuned: " + error.problem, error.remedy)
            failure.ranking = ranking
            raise failure from error
    return ranking


def execute_plan(plan: RankingPlan) -> Ranking:
    """Run the checkpoints of a plan, and return the ranking. Each row is on disk before the next checkpoint starts."""
    labels = functools.cache(lambda: label_table(plan))
    rows = []
    for candidate in plan.candidates:
        if candidate.row is not None:
            plan.session.progress.started(candidate.id, 0)
            plan.session.progress.finished(candidate.row)
            rows.append(candidate.row)
    progress = plan.session.progress
    with (
        noted_while(progress, "ranking"),
        closing(plan.session.engine.rows([engine_input(plan, labels)])) as finished,
    ):
        for _, row in finished:
            store_row(row, plan)
            rows.append(row)
    return ranking_of(plan, labels(), rows)


def engine_input(plan: RankingPlan, labels: Callable[[], LabelTable]) -> EngineInput:
    options, session = plan.options, plan.session
    parts = options.features, options.scoring, options.running
    return EngineInput(plan.to_run, plan.sample, labels, *parts, session.cache, session.progress)


def store_row(row: Row, plan: RankingPlan) -> None:
    """Cache the row of a checkpoint that was scored on all rows of the sample."""
    if row.error is not None or row.n is not None:
        return
    spec, cache = plan.to_run[row.checkpoint], plan.session.cache
    cache.put_json(row_key(spec, plan.options, plan.sample, plan.encoders), msgspec.to_builtins(row))


def path_in_results(plan: RankingPlan) -> str:
    """Return the path of a plan's ranking in a results dataset, see `path_of`."""
    sample, revisions = plan.sample, _revisions(plan)
    return results_path(
        task=sample.task.id,
        dataset=(sample.repo.id, sample.repo.revision, sample.config, sample.split),
        columns=dict(sample.columns),
        sizes=(len(sample.codes), sample.n_read, len(sample.label_texts)),
        encoders=[(name, revisions.get(name, "")) for name in label_names(plan)],
        estimators=plan.options.estimators,
        settings=_recorded_settings(plan),
    )


def _recorded_settings(plan: RankingPlan) -> dict[str, Any]:
    sample, task = plan.sample, plan.sample.task
    of_task = {
        "label_form": sample.form if task.numbers or task.items else None,
        "sampled": "words" if task.counts_items else None,
        "corpus_size": (plan.options.corpus_size or 0) if task.input.is_collection else None,
    }
    return plan.options.recorded() | of_task


def _revisions(plan: RankingPlan) -> dict[str, str]:
    return {encoder.id: encoder.revision for encoder in plan.encoders}


def ranking_of(plan: RankingPlan, labels: LabelTable, finished: Iterable[Row]) -> Ranking:
    """Return the ranking of finished rows, which come in any order."""
    options, sample = plan.options, plan.sample
    facts = {candidate.id: candidate.repo.facts for candidate in plan.candidates if candidate.repo is not None}
    described = [
        _described(row, facts.get(row.checkpoint), plan.mean_ranks_elsewhere.get(checkpoint_key(row)))
        for row in finished
    ]
    rows = ranked(described, options.estimators[0])
    return Ranking(
        dataset=sample.dataset,
        dataset_id=sample.repo.id,
        dataset_revision=sample.repo.revision,
        config=sample.config,
        split=sample.split,
        columns=dict(sample.columns),
        unused_columns=sample.unused_columns,
        reading=sample.reading,
        task=sample.task.id,
        n=len(sample.codes),
        n_inputs=sample.n_read,
        n_labels=len(sample.label_texts),
        input_seconds=sample.task.input.seconds(sample.inputs),
        skipped=sample.skipped,
        available=sample.available,
        settings=_recorded_settings(plan),
        encoders=_encoders(plan, labels, rows),
        estimators=options.estimators,
        reason=_reason(plan.estimators[0], rows),
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=(*plan.notes, *_race_notes(options.race, rows)),
        rows=rows,
        baselines=plan.baselines,
    )


def _reason(estimator: Estimator, rows: Sequence[Row]) -> str:
    """Return why an estimator orders the rows, with the rows that it trained on where these were few."""
    reason = estimator.reason
    trained = [
        row.scores[estimator.name].details.get("training_rows", TRAINING_ROWS) for row in rows if row.error is None
    ]
    fewest = min(trained, default=TRAINING_ROWS)
    return f"{reason} Here it trained on {fewest}." if reason and fewest < TRAINING_ROWS else reason


def _described(row: Row, facts: HubFacts | None, mean_rank_elsewhere: float | None) -> Row:
    """Return the row with the Hub's facts about the checkpoint, and its mean rank on other datasets."""
    row = msgspec.structs.replace(row, mean_rank_elsewhere=mean_rank_elsewhere)
    if facts is None:
        return row
    return msgspec.structs.replace(row, downloads=facts.downloads, library=facts.library, license=facts.license)


def _race_notes(top: int | None, rows: tuple[Row, ...]) -> list[Note]:
    eliminated = [row.n for row in rows if row.n is not None]
    if top is None or not eliminated:
        return []
    sizes = " to ".join(f"{size:,}" for size in sorted({min(eliminated), max(eliminated)}))
    stopped = f"{len(eliminated)} of {pluralize(len(rows), 'checkpoint')}"
    return [Note("race", f"the race for the best {top} stopped {stopped} early, after {sizes} rows")]


def _encoders(plan: RankingPlan, labels: LabelTable, rows: tuple[Row, ...]) -> tuple[Encoder, ...]:
    names, revisions = label_names(plan), _revisions(plan)
    weights = [score.details["weights"] for row in rows if (score := emms_score(row.scores))]
    means = np.mean(weights, axis=0).tolist() if weights else [None] * len(names)
    return tuple(
        Encoder(name, revisions.get(name, ""), width, weight)
        for name, width, weight in zip(names, labels.widths[: len(names)], means, strict=True)
    )
