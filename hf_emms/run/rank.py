"""Turn a dataset and checkpoints into a ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from hf_emms.options import Options, settings_of
from hf_emms.options.calls import checked_call
from hf_emms.ranking import Ranking
from hf_emms.ranking.progress import Progress
from hf_emms.ranking.progress_bars import reporting
from hf_emms.run import ranking_job
from hf_emms.run.confirm import confirmed_or_not
from hf_emms.run.delivery import Finished, with_model
from hf_emms.run.execute import execute_plan
from hf_emms.run.executors import executor_of
from hf_emms.run.plan import RankingPlan, Session, make_plan
from hf_emms.run.ranking_job import JobSettings
from hf_emms.run.units import Executor, collect, submit
from hf_emms.run.worker import FOR_MODELS, FOR_READING, preload_libraries

if TYPE_CHECKING:
    from os import PathLike

    import datasets
    import pandas as pd  # type: ignore[import-untyped]

    from hf_emms.options import LabelForm, References, Sampling

    DatasetLike: TypeAlias = (
        str | PathLike[str] | datasets.Dataset | datasets.DatasetDict | pd.DataFrame | list[dict[str, Any]]
    )
    CheckpointLike: TypeAlias = str | PathLike[str]


@checked_call
def rank(
    dataset: DatasetLike,
    checkpoints: CheckpointLike | Iterable[CheckpointLike] | None = None,
    *,
    task: str | None = None,
    config: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    max_samples: int | None = 5000,
    corpus_size: int | None = 10_000,
    sampling: Sampling | None = None,
    references: References = "mean",
    label_template: str | None = None,
    label_form: LabelForm | None = None,
    label_separator: str | None = None,
    box_format: str | None = None,
    group_column: str | None = None,
    encoders: str | Iterable[str] | None = None,
    estimators: str | Iterable[str] | None = None,
    seed: int = 0,
    folds: int = 5,
    dimensions: bool = False,
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
    push_model_to: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int | None = None,
    stall_limit: int = 120,
    read_memory: str | None = None,
    layers: str | int | Iterable[str | int] | None = None,
    max_params: int | str | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    resume: bool = True,
    cache: bool = True,
    streaming: bool = False,
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    workers: int | None = None,
    gpus_per_checkpoint: float | str | None = None,
    part: str | None = None,
    delete_downloads: bool = False,
    engine: Literal["local", "ray"] | JobSettings = "local",
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    **role_columns: str | None,
) -> Ranking:
    """Rank checkpoints for a dataset without fine-tuning them.

    Args:
        dataset: A preset, a Hub dataset id, a folder or a file. Or in memory: a `datasets.Dataset` or `DatasetDict`, a
            pandas or polars DataFrame, an Arrow table, a dictionary of columns or of tables per split, or a list of
            dictionaries.
        checkpoints: Hub model ids (``ORG/NAME[@REVISION]``) and folders. By default the task's list.
        task: The Hub's task id. By default inferred from the columns.
        config: The dataset configuration.
        split: The dataset split.
        columns: Role → column, such as ``{"image": "img", "label": "fine_label"}``. By default inferred.
        max_samples: The maximum number of rows. None for all. All spans of a question count as one row, and so do all
            documents of a query.
        corpus_size: The maximum number of documents in the corpus, in addition to the relevant ones. None for all.
        sampling: "balanced" (the same number per class) or "proportional".
        references: How to use several texts per input (captions, answers, classes): the "mean" of their embeddings,
            "first", or "all" (one row per text).
        label_template: The template of label texts, with ``{}`` for the label.
        label_form: The label embeddings of boxes and values: "text", "numbers" or "both". By default by task. For
            answers "spans" of their contexts (the default if they are substrings) or "text". "flags" for lists
            with a 0 or 1 per class, "ids" for lists with the numbers of classes.
        label_separator: The character between several classes in a text, such as "|". By default a text is one class.
        box_format: "xywh", "xyxy" or "cxcywh".
        group_column: A dataset column with groups, such as speakers, patients or documents. All rows of a group are in
            the same fold, and in the same split of a fine-tuning.
        encoders: Sets ("base", "paper", "demo") or ids of label encoders.
        estimators: Their names. The first orders the rows.
        seed: The seed of the sample and the folds.
        folds: The number of folds of held-out estimators.
        dimensions: Also score searches with embeddings that are truncated to 256, 128 and 64 dimensions, as
            `truncate_dim` of sentence-transformers does.
        confirm: Fine-tune this many of the best checkpoints, see `hf_emms.confirm`. It explains the arguments from here
            to `push_model_to`.
        method: The weights to train.
        budget: "quick" for few rows and epochs.
        epochs: The maximum number of epochs per run.
        steps: The number of optimizer steps per run.
        learning_rates: The peak learning rates to try.
        seeds: The number of runs per checkpoint at its best learning rate.
        confirm_samples: The maximum number of rows for fine-tuning.
        time_limit: The time limit of fine-tuning.
        save_model: A folder for the best fine-tuned model.
        push_model_to: A model repository for the best fine-tuned model, "ORG/NAME".
        device: "auto", "cpu", "cuda" or "mps". Or a number or a `torch.device`, as in transformers.
        dtype: "auto", "float32", "bfloat16" or "float16".
        batch_size: The number of inputs per batch. By default chosen automatically.
        stall_limit: Seconds without progress after which a checkpoint becomes a failed row, and reading the dataset an
            error.
        read_memory: The maximum memory to read the dataset, such as "500MB" or "8GB". By default half of the free
            memory.
        layers: "spread" (the first, the middle and the last hidden layer, the default), "last" (the default pooling of
            the architecture), "mean" (over all hidden layers), or the number of a layer. If you name several, the row
            of a checkpoint shows its best layer.
        max_params: The maximum number of parameters of the task's default checkpoints, 100_000_000 or "100M".
        query_prompt: The prefix of queries for all checkpoints, "" for none. By default each checkpoint's own.
        document_prompt: The prefix of documents, likewise.
        resume: Reuse rows that an earlier run with the same settings finished.
        cache: Read features, label embeddings and rows from the cache, and store them.
        streaming: Stream the dataset instead of downloading it.
        allow_pickle: Unpickle weights that contain more than tensors. This can run code.
        trust_remote_code: Run code from checkpoint repositories.
        workers: The number of processes of this machine that run checkpoints at once. By default one per GPU.
        gpus_per_checkpoint: The GPUs of Ray per checkpoint. By default 1 if the cluster has GPUs.
        part: "I/N" for the I-th of N parts of the checkpoints, whose rankings ``hf-emms merge`` joins.
        delete_downloads: Delete each checkpoint from the Hub's cache when it is finished, if this run downloaded it.
        engine: Where checkpoints run: "local" (this machine), "ray" (a Ray cluster, or a local Ray) or
            `hf_emms.JobSettings` (a Hugging Face Job).
        executor: Where checkpoints run, instead of `engine`: a `concurrent.futures.Executor`, as of loky, dask,
            executorlib, Parsl and mpi4py, or an object with such a `submit`, as of submitit.
        progress: True for lines and bars on stderr, False for none, or a receiver of events. By default True if stderr
            is a terminal or a notebook.
        role_columns: ``text_column``, ``image_column``, ``label_column``, …: the column of a role, as in `columns`.

    Returns:
        The ranking. A checkpoint that failed is a row with an error. If a job or fine-tuning fails, or the best model
            cannot be saved or uploaded, a warning and the last note explain the reason.

    Raises:
        EmmsError: The dataset, an encoder or an argument is invalid. No checkpoint has run.

    Examples:
        >>> import hf_emms
        >>> ranking = hf_emms.rank("demo_glosses", max_samples=200)  # doctest: +SKIP
        >>> ranking.best.checkpoint  # doctest: +SKIP
        'emms-demo/bert-distilled'
    """
    options = Options.of(**settings_of(locals()), **role_columns)
    with reporting(progress) as receiver:
        if engine != "local" and engine != "ray":
            ranking, errors = ranking_job.run(options, engine, receiver)
            return with_model(Finished(ranking, errors=errors), options.training, receiver)
        finished = confirmed_or_not(*rank_with(options, receiver, engine, executor))
        return with_model(finished, options.training, receiver)


def rank_with(
    options: Options, progress: Progress, engine: str = "local", executor: Executor | None = None
) -> tuple[Ranking, Session]:
    """Return the ranking for options, without fine-tuning, and the session in which `confirmed` continues."""
    in_memory = not isinstance(options.sample.dataset, str)
    preload_libraries(*(() if in_memory else (FOR_READING,)), FOR_MODELS)
    with executor_of(options.running, engine, executor, in_memory=in_memory) as chosen:
        plan = make_plan(options, progress)
        return run_plan(plan, chosen), plan.session


def run_plan(plan: RankingPlan, executor: Executor | None, until: float | None = None) -> Ranking:
    """Return the ranking for a plan, whose checkpoints run in the worker process or on an executor."""
    if executor is None:
        return execute_plan(plan, until)
    return collect(submit(plan, executor), plan.session.progress, until)
