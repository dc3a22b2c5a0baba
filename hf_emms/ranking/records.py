"""Define the records of a ranking, and order its rows.

Every table, card and page is made from these records. The leaderboard Space contains this module, so it may import only
msgspec and numpy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.ranking.reading import Reading
from hf_emms.scoring import SMALLEST_GAP, Score

# Estimators that report R² and the weights of label embeddings, in order of preference.
EMMS = ("emms_knn", "emms")

# The numbers of dimensions to which the embeddings of a search are truncated.
DIMENSIONS = (256, 128, 64)

# Numbers of a file. Larger ones are mistakes, and would break tables.
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
Size = Annotated[int, msgspec.Meta(ge=1, le=10**15)]
Amount = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

# A difference counts when it exceeds this many standard errors of the paired fold differences.
TIE_WIDTH = 2.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
# Suffix of the id of label embeddings that are numbers.
_NUMBERS = " (numbers)"


class Seconds(msgspec.Struct, frozen=True):
    """The wall time of a row in seconds.

    Attributes:
        features: Time to compute the features, including loading.
        scoring: Time of all estimators.
        loading: Time to load the checkpoint.
    """

    features: Amount = 0.0
    scoring: Amount = 0.0
    loading: Amount = 0.0

    @property
    def forward(self) -> float:
        """Seconds to read the inputs and run the forward passes, without loading."""
        return max(0.0, self.features - self.loading)


class BaselineScore(msgspec.Struct, frozen=True):
    """The score of predictions that need no checkpoint, on the same test rows as the fine-tuned score.

    Attributes:
        name: How the baseline predicts, such as "the same class for all rows".
        value: The score by which checkpoints are compared.
        stderr: The standard error over groups of test rows.
        gain_stderr: The standard error of the difference between the fine-tuned score and this score.
    """

    name: str
    value: float
    stderr: float
    gain_stderr: float


class TrainingRun(msgspec.Struct, frozen=True):
    """One fine-tuning run of a checkpoint.

    Attributes:
        learning_rate: The peak learning rate.
        seed: The seed of the new head and of the order of examples.
        validation: The validation score, by which runs are chosen. None if the run failed.
        scores: Metric → score on the test rows.
        stderr: The standard error of the first score, over groups of test rows.
        steps: The number of optimizer steps.
        curve: The validation score at each evaluation.
        loss: The mean loss on the test rows. None if the head has no loss.
        has_diverged: Whether the loss rose or became NaN.
        has_learned: Whether the validation score is significantly above the baseline. True without a baseline.
        baseline: The baseline on the test rows. None if it is unknown.
        is_untrained: Whether training did not help, so that the scores belong to the original weights.
        discarded_scores: If training did not help, metric → score of the trained weights on the test rows.
        saved_scores: If the saved model predicts test rows differently, metric → its score.
        unfinished: "after 56 of 100,000 steps" if the time limit ended the run, else None.
    """

    learning_rate: float
    seed: int
    validation: float | None = None
    scores: dict[str, float] = {}
    stderr: float | None = None
    steps: int = 0
    batch_size: int = 0
    seconds: float = 0.0
    curve: tuple[float, ...] = ()
    loss: float | None = None
    notes: tuple[Note, ...] = ()
    error: str | None = None
    has_diverged: bool = False
    has_learned: bool = True
    baseline: BaselineScore | None = None
    is_untrained: bool = False
    discarded_scores: dict[str, float] = {}
    saved_scores: dict[str, float] = {}
    unfinished: str | None = None


class FineTuned(msgspec.Struct, frozen=True):
    """The fine-tuned scores of a checkpoint. Scores are shares (0.912 is 91.2 points); higher is better.

    Attributes:
        metric: The metric by which checkpoints are compared.
        value: Its test score, the mean over seeds at the chosen learning rate. None if all runs failed.
        spread: The standard deviation between seeds. With one seed, the standard error over groups of test rows.
        validation: Its validation score, the mean over seeds. The best checkpoint is chosen by it.
        scores: Metric → test score, the mean over seeds.
        learning_rate: The learning rate with the best validation score.
        runs: All runs, including failed ones.
        recipe: Setting → value, to repeat the fine-tuning.
        rows: Split ("train", "validation", "test") → a description of the source of its rows.
        stderr: The standard error of `value`, over groups of test rows and over seeds. If it is None, use `spread`.
        baseline: The baseline on the same rows. None if it is unknown.
        error: The reason for a missing value, on one line.
    """

    metric: str
    value: float | None = None
    spread: Amount | None = None
    validation: float | None = None
    scores: dict[str, float] = {}
    learning_rate: float | None = None
    runs: tuple[TrainingRun, ...] = ()
    recipe: dict[str, Any] = {}
    rows: dict[str, str] = {}
    stderr: Amount | None = None
    baseline: BaselineScore | None = None
    error: str | None = None

    @property
    def is_untrained(self) -> bool:
        """Whether training did not help, so that `value` belongs to the original weights."""
        runs = self._chosen_runs()
        return bool(runs) and all(run.is_untrained for run in runs)

    @property
    def learning_curve(self) -> tuple[float, ...]:
        """The validation score at each evaluation of the first run at the chosen learning rate; empty without runs."""
        return next((run.curve for run in self._chosen_runs()), ())

    @property
    def discarded_value(self) -> float | None:
        """The mean test score of trained weights that were discarded, at the chosen learning rate; None without any."""
        scores = [run.discarded_scores[self.metric] for run in self._chosen_runs() if run.discarded_scores]
        return float(np.mean(scores)) if scores else None

    def _chosen_runs(self) -> list[TrainingRun]:
        return [run for run in self.runs if run.learning_rate == self.learning_rate and run.error is None]


class PublicTable(msgspec.Struct, frozen=True):
    """A published table with a value per checkpoint.

    Attributes:
        title: What the value is, with its unit.
        source: The repository that publishes the results, and its commit.
        license: Of the results.
        tasks: Hub task ids that the table is a control for.
        lower_is_better: Whether a lower value is better, as for word error rates.
    """

    title: str
    source: str
    license: str
    tasks: tuple[str, ...]
    lower_is_better: bool = False


class Row(msgspec.Struct, frozen=True):
    """A checkpoint's row of a ranking.

    Attributes:
        checkpoint: ``ORG/NAME[@REVISION]`` or a folder, as the user named it.
        revision: A commit, or "local-" and a content hash. None if the checkpoint was not found.
        rank: 1 is best, see `ranked`. None for a failed row.
        tied: Whether another row has the same rank.
        scores: Estimator → score, without the estimators that failed for this checkpoint.
        parameters: The number of parameters of the model that ran.
        width: D1, the number of features.
        architecture: The model class that ran.
        pooling: A description of how hidden states became features.
        seconds: The time to compute the row.
        machine: The GPU, or the processor and its threads, that computed the features. None if the cache had them.
        memory: The most bytes of GPU memory that the features needed. None on a CPU, and if the cache had them.
        cached: What this run took from the cache.
        error: The reason for a missing score, on one line.
        no_head: Why the task cannot fine-tune the checkpoint. None if it can.
        unknown_tokens: The share of unknown tokens in the inputs. None without texts.
        truncated_texts: The share of truncated inputs. None without texts.
        layer: The layer of the features. None unless the user named layers.
        layers: Layer → estimator → score, if the user named layers.
        downloads, library, license: Facts from the Hub. None if it is unknown.
        fine_tuned: The fine-tuned scores. None if the checkpoint was not fine-tuned.
        published: A control that does not affect the order: the published value of the checkpoint in the ranking's
            `published_table`, which does not depend on the dataset. None if the table lacks the checkpoint.
        published_trained_on: The number of the table's tasks that the checkpoint states as training data. None if it is
            unknown.
        documents_per_second: The speed of embedding the corpus. None for other tasks.
        longest_input: The maximum number of tokens per document. None for other tasks.
        dimensions: Number of dimensions ("256") → score by the first estimator, for embeddings that are truncated to
            their first columns. Only with the setting `dimensions`, and at most `width`.
    """

    checkpoint: str
    revision: str | None = None
    rank: int | None = None
    tied: bool = False
    scores: dict[str, Score] = {}
    parameters: Size | None = None
    width: Size | None = None
    architecture: str | None = None
    pooling: str | None = None
    seconds: Seconds = Seconds()
    machine: str | None = None
    memory: Count | None = None
    cached: Literal["none", "features", "row"] = "none"
    notes: tuple[Note, ...] = ()
    error: str | None = None
    no_head: str | None = None
    unknown_tokens: Share | None = None
    truncated_texts: Share | None = None
    layer: str | None = None
    layers: dict[str, dict[str, float]] = {}
    downloads: Count | None = None
    library: str | None = None
    license: str | None = None
    fine_tuned: FineTuned | None = None
    published: float | None = None
    published_trained_on: Count | None = None
    documents_per_second: Amount | None = None
    longest_input: Size | None = None
    dimensions: dict[str, float] = {}

    def __hash__(self) -> int:
        return hash((self.checkpoint, self.revision, self.rank))

    def __repr__(self) -> str:
        outcome = f"score={self.score!r}" if self.error is None else f"error={self.error!r}"
        return f"Row(checkpoint={self.checkpoint!r}, rank={self.rank}, {outcome})"

    @property
    def score(self) -> float | None:
        """The score by the estimator that orders the rows; None for a failed row."""
        return next((score.value for score in self.scores.values()), None)

    @property
    def explained(self) -> float | None:
        """R² of EMMS on held-out rows: 0 is nothing, 1 is everything; None without an EMMS score."""
        r2 = explained(next((self.scores[name] for name in self.scores if name in EMMS), None))
        return r2.value if r2 else None


class Encoder(msgspec.Struct, frozen=True):
    """Label embeddings, and the encoder or numbers that they come from.

    Attributes:
        id: The encoder, or the name of the numbers.
        revision: The revision of the encoder. Empty for numbers.
        width: The number of dimensions.
        weight: The mean weight in the EMMS scores of the rows.
    """

    id: str
    revision: str
    width: Size | None = None
    weight: float | None = None

    @property
    def numbers(self) -> str | None:
        """The name of the numbers, such as "box"; None if an encoder made the embeddings."""
        return None if self.revision else self.id.removesuffix(_NUMBERS)


class FunnelStage(msgspec.Struct, frozen=True):
    """A stage of the search that led to a ranking, see `hf_emms.recommend`.

    Attributes:
        name: "list", "prior", "first pass", "second pass" or "confirm".
        entered: The number of checkpoints at its start.
        kept: The number of checkpoints that the next stage gets.
        seconds: How long it took, or is expected to take.
        rows: The number of rows of its sample. None if it has no sample.
        left_out: Reason → the number of checkpoints that it left out.
    """

    name: str
    entered: Count
    kept: Count
    seconds: Amount
    rows: Size | None = None
    left_out: dict[str, Count] = {}


class Part(msgspec.Struct, frozen=True):
    """A part of the checkpoints of a ranking: its name "I/N", and the checkpoints that it was asked to rank."""

    name: str
    checkpoints: tuple[str, ...]


class RankingData(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoints of a ranking in order, with the settings and revisions that reproduce the order.

    Scores compare checkpoints on this dataset, sample and label set. Scores of different rankings are not comparable.

    Attributes:
        dataset: The dataset as the user named it.
        dataset_id: The repository or folder of the dataset.
        dataset_revision: A commit, or "local-" and a content hash. Empty for a dataset in memory.
        columns: Role → column ("image" → "img").
        unused_columns: Columns of the dataset that were not read.
        task: The Hub's task id.
        n: N, the number of scored rows.
        n_inputs: The number of distinct inputs.
        n_labels: The number of distinct label texts.
        largest_group: The share of the rows in the largest group of rows that stay in one fold. None if it is unknown.
        input_seconds: The total duration of the inputs. None if the inputs have no duration.
        skipped: The number of rows that could not be decoded.
        available: The maximum number of rows that the split has for a sample. None if it is unknown.
        settings: Name → value of the settings, see `Options.recorded`. `label_form` is the form that was used. None if
            labels can only be texts. `sampled` is "words" if `max_samples` counts the words of sentences.
        estimators: Their names. The first orders the rows.
        reason: Why the first estimator is not EMMS, in a sentence.
        created: UTC time in ISO 8601.
        notes: What the user may want to know or change.
        rows: The ranked rows, then the failed rows.
        reading: How the dataset was read.
        baselines: Rows without a checkpoint and without a rank, such as BM25. Only tables show them.
        funnel: The stages of `hf_emms.recommend`; empty for other rankings.
        published_table: The public table of `Row.published`. None if no table contains two of the checkpoints.
        parts: The parts whose rows are in the ranking, as long as others are missing.
        missing_parts: The other parts of the same checkpoints; empty for a whole ranking.
    """

    schema_version: Literal[1] = 1
    dataset: str
    dataset_id: str
    dataset_revision: str
    config: str | None = None
    split: str
    columns: dict[str, str]
    unused_columns: tuple[str, ...] = ()
    reading: Reading | None = None
    task: str
    n: Size
    n_inputs: Size
    n_labels: Count
    largest_group: Share | None = None
    input_seconds: float | None = None
    skipped: Count = 0
    available: Count | None = None
    settings: dict[str, Any] = {}
    encoders: tuple[Encoder, ...]
    estimators: tuple[str, ...]
    reason: str = ""
    versions: dict[str, str]
    created: str
    notes: tuple[Note, ...] = ()
    rows: tuple[Row, ...]
    baselines: tuple[Row, ...] = ()
    funnel: tuple[FunnelStage, ...] = ()
    published_table: PublicTable | None = None
    parts: tuple[Part, ...] = ()
    missing_parts: tuple[Part, ...] = ()

    @property
    def missing_checkpoints(self) -> list[str]:
        """The checkpoints of missing parts that have no row."""
        names = dict.fromkeys(name for part in self.missing_parts for name in part.checkpoints)
        ranked_names = {row.checkpoint for row in self.rows}
        return [name for name in names if name not in ranked_names]

    @property
    def shown_rows(self) -> tuple[Row, ...]:
        """The rows and the baselines, ordered by the first estimator."""
        rows = list(self.rows)
        for baseline in self.baselines:
            behind = (
                place
                for place, row in enumerate(rows)
                if row.score is None or (baseline.score is not None and row.score < baseline.score)
            )
            rows.insert(next(behind, len(rows)), baseline)
        return tuple(rows)

    @property
    def fine_tuned(self) -> list[Row]:
        """The fine-tuned rows, ordered by validation score."""
        validations = [(row.fine_tuned.validation, row) for row in self.rows if row.fine_tuned is not None]
        scored = [(validation, row) for validation, row in validations if validation is not None]
        return [row for _, row in sorted(scored, key=lambda pair: -pair[0])]

    def rows_of(self, checkpoints: Collection[str]) -> list[Row]:
        """Return the rows of these checkpoints, in the order of the ranking."""
        names = set(checkpoints)
        return [row for row in self.rows if row.checkpoint in names]

    def rows_called(self, checkpoint: str) -> list[Row]:
        """Return the rows of a checkpoint by its name, or those with this last part of it."""
        exact = [row for row in self.rows if row.checkpoint == checkpoint]
        return exact or [row for row in self.rows if checkpoint in _short_names(row.checkpoint)]

    def row(self, checkpoint: str) -> Row:
        """Return the row of a checkpoint, by its name or by the last part of it.

        Raises:
            EmmsError: No checkpoint, or more than one, has this name.
        """
        rows = self.rows_called(checkpoint)
        if len(rows) == 1:
            return rows[0]
        names = ", ".join(row.checkpoint for row in rows or self.rows)
        problem = "several checkpoints are called" if rows else "the ranking has no checkpoint"
        raise EmmsError("unknown-row", f"{problem} {checkpoint!r}", f"it has: {names}")


def _short_names(checkpoint: str) -> tuple[str, str]:
    """Return the last part of a checkpoint's name, with its revision and without."""
    name = checkpoint.rstrip("/").rpartition("/")[2]
    return name, name.partition("@")[0]


def emms_score(scores: Mapping[str, Score]) -> Score | None:
    """Return the EMMS score, preferably of `emms_knn`; None without an EMMS score."""
    return next((scores[name] for name in EMMS if name in scores), None)


def check_ranking(value: object) -> None:
    """Raise an EmmsError unless a value is a ranking."""
    if not isinstance(value, RankingData):
        raise EmmsError(
            "wrong-type", f"ranking is {value!r:.80}; it must be what hf_emms.rank returns", 'Ranking.load("FILE")'
        )


class Explained(NamedTuple):
    """R² on held-out rows (0: the features explain nothing, 1: everything) and its standard error over folds."""

    value: float
    stderr: float | None


def explained(score: Score | None) -> Explained | None:
    """Return R² of an EMMS score with its standard error; None if the score has no R².

    The score is minus the loss and R² is 1 − loss / null loss. Both have the same relative error of the loss.
    """
    r2 = score.details.get("r2") if score else None
    if score is None or r2 is None:
        return None
    scale = (1.0 - r2) / -score.value if score.value < 0 else 0.0
    return Explained(float(r2), None if score.stderr is None else scale * score.stderr)


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a commit on the Hub, not the content hash of a folder."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def plain(value: Any) -> Any:
    """Convert a value so that JSON can store it. NaN and infinities become None."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def ranked(rows: Sequence[Row], estimator: str) -> tuple[Row, ...]:
    """Order rows by an estimator. Rows tie if their difference is within the noise of the folds.

    Two rows differ if the difference of their scores exceeds twice the standard error of the paired differences over
    folds, and the smallest gap of their scores if they have one. All checkpoints have the same folds. The first band
    contains the best row and the rows that do not differ from it. The best of the remaining rows leads the next band,
    and so on. The rank of a row is 1 + the number of rows in earlier bands ("1, 1, 3"). Without folds and a smallest
    gap only equal scores tie.

    Failed rows come last and have no rank.
    """
    failed = [msgspec.structs.replace(row, rank=None, tied=False) for row in rows if row.error is not None]
    scored = [row for row in rows if row.error is None]
    scored.sort(key=lambda row: (-row.scores[estimator].value, row.checkpoint))
    ranks: list[int] = []
    leader = 0
    for position, row in enumerate(scored):
        if is_ahead(scored[leader].scores[estimator], row.scores[estimator]):
            leader = position
        ranks.append(1 + leader)
    placed = [
        msgspec.structs.replace(row, rank=rank, tied=ranks.count(rank) > 1)
        for row, rank in zip(scored, ranks, strict=True)
    ]
    return (*placed, *sorted(failed, key=lambda row: row.checkpoint))


def gain_and_stderr(first: Score, second: Score) -> tuple[float, float]:
    """Return the difference of two scores, and the standard error of the paired differences over folds.

    The standard error is 0 if the scores have no folds in common.
    """
    gain = first.value - second.value
    if len(first.folds) < 2 or len(first.folds) != len(second.folds):
        return gain, 0.0
    paired = np.subtract(first.folds, second.folds)
    return gain, float(paired.std(ddof=1) / math.sqrt(len(paired)))


def is_ahead(first: Score, second: Score) -> bool:
    """Return whether a score exceeds another one by more than the noise of the folds, and by its smallest gap."""
    gain, stderr = gain_and_stderr(first, second)
    return gain > TIE_WIDTH * stderr and gain >= first.details.get(SMALLEST_GAP, 0.0)
