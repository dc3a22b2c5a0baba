"""The records of a ranking and their order: plain, schema-versioned data that every table, card and page is made from.

The leaderboard Space is published with it and the other modules in `publish.space`, which need msgspec and numpy alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.ranking.reading import Reading
from hf_emms.scoring import Score

# Estimators that report an R² and weights of the F-labels, the better first.
EMMS = ("emms_knn", "emms")

# A number of rows, parameters, …: what 64 bits hold.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]

# A difference counts when it exceeds this many standard errors of the paired fold differences.
TIE_WIDTH = 2.0

_COMMIT = re.compile(r"[0-9a-f]{40}")
# Suffix of the id of an F-label that no encoder made.
_NUMBERS = " (numbers)"


class Seconds(msgspec.Struct, frozen=True):
    """Wall time in seconds: for the features, for all estimators, and for loading, which is a part of the first."""

    features: float = 0.0
    scoring: float = 0.0
    loading: float = 0.0

    @property
    def forward(self) -> float:
        """The seconds of the forward passes alone, with reading the inputs."""
        return max(0.0, self.features - self.loading)


class BaselineScore(msgspec.Struct, frozen=True):
    """The score of predictions that need no checkpoint, on the test rows of a fine-tuning.

    Attributes:
        name: of the predictions, in words: "the same class for all rows".
        value: the score by which checkpoints are compared.
        stderr: its standard error over groups of test rows.
        gain_stderr: the standard error of the difference between the fine-tuned score and this, on the same rows.
    """

    name: str
    value: float
    stderr: float
    gain_stderr: float


class TrainingRun(msgspec.Struct, frozen=True):
    """The record of a fine-tuning of a checkpoint.

    Attributes:
        learning_rate: at its peak.
        seed: of the new head's weights and the order of rows.
        validation: the score by which runs are chosen; None where the run failed.
        scores: metric → score on the test rows; `stderr` of the first of them is over groups of test rows.
        steps: of the optimizer, until it ended.
        curve: the validation score at each evaluation, in order.
        loss: mean loss of the test rows, finer than a share of right answers; None where there is no such loss.
        has_diverged: whether the loss rose, or was no number.
        has_learnt: whether the validation score is above the baseline by more than its noise; True without a baseline.
        baseline: what needs no checkpoint on the test rows; None where that is unknown.
        is_untrained: whether training did not help, so that the scores are of the checkpoint as it was.
        unfinished: "after 56 of 100,000 steps" where the time limit ended the run, else None.
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
    notes: tuple[Note | str, ...] = ()
    error: str | None = None
    has_diverged: bool = False
    has_learnt: bool = True
    baseline: BaselineScore | None = None
    is_untrained: bool = False
    unfinished: str | None = None


class FineTuned(msgspec.Struct, frozen=True):
    """The measurements of fine-tuning a checkpoint. Scores are shares (0.912 is 91.2 points); higher is better.

    Attributes:
        metric: name of the score by which checkpoints are compared.
        value: that score on the test rows, the mean over seeds at the chosen learning rate; None where all runs failed.
        spread: standard deviation between seeds; with a single seed, the standard error over groups of test rows.
        validation: the score on the validation rows, likewise; the best checkpoint is chosen by it.
        scores: metric → score on the test rows, likewise.
        learning_rate: the rate with the best score on validation rows.
        runs: every run, failed ones too.
        recipe: setting → value, to run it again.
        rows: part ("train", "validation", "test") → where its rows are from, in words.
        stderr: the standard error of `value`, over groups of test rows and over seeds; where a file does not say,
            `spread` stands for it.
        baseline: what needs no checkpoint on the same rows; None where that is unknown.
        error: why there is no value, in a line.
    """

    metric: str
    value: float | None = None
    spread: float | None = None
    validation: float | None = None
    scores: dict[str, float] = {}
    learning_rate: float | None = None
    runs: tuple[TrainingRun, ...] = ()
    recipe: dict[str, Any] = {}
    rows: dict[str, str] = {}
    stderr: float | None = None
    baseline: BaselineScore | None = None
    error: str | None = None

    @property
    def is_untrained(self) -> bool:
        """Return whether `value` is of the checkpoint as it was, since training did not help."""
        runs = [run for run in self.runs if run.learning_rate == self.learning_rate and run.error is None]
        return bool(runs) and all(run.is_untrained for run in runs)


class Row(msgspec.Struct, frozen=True):
    """A checkpoint's row of a ranking.

    Attributes:
        checkpoint: ``ORG/NAME[@REVISION]`` or a folder, as the user named it.
        revision: commit sha, or "local-" and a content hash; None when it could not be resolved.
        rank: 1 is best, see `ranked`; None for a failed row.
        tied: whether another row has the same rank.
        n: rows that it was scored on, where a race stopped it before it had seen all; None for all rows.
        scores: estimator name → score; an estimator that could not score this checkpoint is missing.
        parameters: of the model that was run.
        width: D1, the number of features.
        architecture: the class that was run.
        pooling: how states became the feature row, in words.
        seconds: what the row cost when it was computed.
        cached: which results this run took from the cache.
        error: why there is no score, in a line.
        no_head: why the task cannot fine-tune the checkpoint, in a line; None where it can.
        unknown_tokens: the share of the inputs' tokens that its tokenizer does not know; None where it read no texts.
        cut_texts: the share of the inputs whose text was cut at the most tokens that it reads, likewise.
        layer: the layer that gave the features; None where no layer was asked for.
        layers: layer → estimator → score, of every layer that was asked for; `scores` has those of `layer` in full.
        downloads, library, license: of the checkpoint on the Hub, where the writer of the file knew them.
        fine_tuned: the scores after fine-tuning; None where it was not fine-tuned.
        mean_rank_elsewhere: a control that orders nothing: the mean rank on other datasets, as a share of the
            checkpoints there (.05 is among the best tenth); None if no ranking of another dataset has the checkpoint.
        documents_per_second: how fast it embedded documents that are searched; None for other tasks.
        longest_input: the most tokens that it reads of them.
    """

    checkpoint: str
    revision: str | None = None
    rank: int | None = None
    tied: bool = False
    n: Count | None = None
    scores: dict[str, Score] = {}
    parameters: Count | None = None
    width: Count | None = None
    architecture: str | None = None
    pooling: str | None = None
    seconds: Seconds = Seconds()
    cached: Literal["none", "features", "row"] = "none"
    notes: tuple[Note | str, ...] = ()
    error: str | None = None
    no_head: str | None = None
    unknown_tokens: Share | None = None
    cut_texts: Share | None = None
    layer: str | None = None
    layers: dict[str, dict[str, float]] = {}
    downloads: Count | None = None
    library: str | None = None
    license: str | None = None
    fine_tuned: FineTuned | None = None
    mean_rank_elsewhere: Share | None = None
    documents_per_second: float | None = None
    longest_input: Count | None = None

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
        """R² of held-out rows by EMMS: 0 explains nothing, 1 everything; None where EMMS did not score it."""
        r2 = explained(next((self.scores[name] for name in self.scores if name in EMMS), None))
        return r2.value if r2 else None


class Encoder(msgspec.Struct, frozen=True):
    """An F-label: its encoder, or, without a revision, the name of the numbers that the labels are.

    `weight` is its mean weight in the EMMS scores of the rows.
    """

    id: str
    revision: str
    width: Count | None = None
    weight: float | None = None

    @property
    def numbers(self) -> str | None:
        """The name of the numbers ("box") where no encoder made the F-label."""
        return None if self.revision else self.id.removesuffix(_NUMBERS)


class RankingData(msgspec.Struct, frozen=True, kw_only=True):
    """Checkpoints in order, with all settings and revisions that give the same order again; `Ranking` has the verbs.

    A score shows which checkpoint suits *this* dataset, sample and label set better; scores of two rankings
    cannot be compared.

    Attributes:
        dataset: as the user named it; `dataset_id` is the repository or folder behind that name.
        dataset_revision: commit sha, or "local-" and a content hash; empty for a dataset in memory.
        columns: role → column ("image" → "img").
        unused_columns: columns of the dataset that were not read.
        task: the Hub's task id.
        n: N, the number of rows scored; `n_inputs` and `n_labels` are the distinct inputs and label texts among them.
        input_seconds: how long the inputs last in all; None where they do not last, as texts.
        skipped: rows that could not be decoded.
        available: the most rows that the split has for a sample; None where the count is unknown.
        settings: name → value of the settings that were used, see `Options.recorded`; `label_form` is the form that
            was used, None where labels can only be texts; `sampled` is "words" where `max_samples` counts the
            words of sentences.
        estimators: names; the first orders the rows.
        reason: why it does, in a sentence, where it is not EMMS.
        created: UTC time in ISO 8601.
        notes: inferences and omissions, in words.
        rows: ranked rows, failed ones last.
        reading: how the dataset was read.
        baselines: rows without a checkpoint, and without a rank, such as that of BM25. Tables show them among the rows;
            nothing else counts them.
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
    n: Count
    n_inputs: Count
    n_labels: Count
    input_seconds: float | None = None
    skipped: Count = 0
    available: Count | None = None
    settings: dict[str, Any] = {}
    encoders: tuple[Encoder, ...]
    estimators: tuple[str, ...]
    reason: str = ""
    versions: dict[str, str]
    created: str
    notes: tuple[Note | str, ...] = ()
    rows: tuple[Row, ...]
    baselines: tuple[Row, ...] = ()

    @property
    def shown_rows(self) -> tuple[Row, ...]:
        """The rows with the baselines among them, by the estimator that orders the rows."""
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
    def best(self) -> Row | None:
        """The best row: by the validation score where checkpoints were fine-tuned, else by rank; None if all failed."""
        measured = self.fine_tuned
        return measured[0] if measured else next((row for row in self.rows if row.error is None), None)

    @property
    def fine_tuned(self) -> list[Row]:
        """The fine-tuned rows in order of their validation scores, the best first."""
        validations = [(row.fine_tuned.validation, row) for row in self.rows if row.fine_tuned is not None]
        scored = [(validation, row) for validation, row in validations if validation is not None]
        return [row for _, row in sorted(scored, key=lambda pair: -pair[0])]

    @property
    def has_mean_rank_elsewhere(self) -> bool:
        return any(row.mean_rank_elsewhere is not None for row in self.rows)

    def rows_of(self, checkpoints: Collection[str]) -> list[Row]:
        """Return the rows of these checkpoints, in the order of the ranking."""
        names = set(checkpoints)
        return [row for row in self.rows if row.checkpoint in names]

    def row(self, checkpoint: str) -> Row:
        """Return the row of a checkpoint, by its name, or by the last part of it if no other checkpoint shares that.

        Raises:
            EmmsError: the ranking doesn't hold it, or holds several of this last part.
        """
        exact = [row for row in self.rows if row.checkpoint == checkpoint]
        rows = exact or [row for row in self.rows if checkpoint in _short_names(row.checkpoint)]
        if len(rows) == 1:
            return rows[0]
        names = ", ".join(row.checkpoint for row in rows or self.rows)
        problem = "several checkpoints are called" if rows else "the ranking has no checkpoint"
        raise EmmsError(f"{problem} {checkpoint!r}", f"it has: {names}")


def _short_names(checkpoint: str) -> tuple[str, str]:
    """Return the last part of a checkpoint's name with its revision, and without."""
    name = checkpoint.rstrip("/").rpartition("/")[2]
    return name, name.partition("@")[0]


def emms_score(scores: Mapping[str, Score]) -> Score | None:
    """Return the EMMS score, preferably with neighbours; None where a row has neither."""
    return next((scores[name] for name in EMMS if name in scores), None)


def check_ranking(value: object) -> None:
    """Raise an EmmsError unless a value is a ranking."""
    if not isinstance(value, RankingData):
        raise EmmsError(f"ranking is {value!r:.80}; it must be what hf_emms.rank returns", 'Ranking.load("FILE")')


class Explained(NamedTuple):
    """R² on held-out rows (0: the features explain nothing, 1: everything), and its standard error over folds."""

    value: float
    stderr: float | None


def explained(score: Score | None) -> Explained | None:
    """Return R² of an EMMS score with its standard error; None where the score has no R².

    The score is minus the loss, and R² is 1 − loss / null loss, so both have the same relative error of the loss.
    """
    r2 = score.details.get("r2") if score else None
    if score is None or r2 is None:
        return None
    scale = (1.0 - r2) / -score.value if score.value < 0 else 0.0
    return Explained(float(r2), None if score.stderr is None else scale * score.stderr)


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a commit of the Hub, and not the content hash of a folder."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numpy scalars and arrays unpacked, NaN and infinities as None."""
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
    """Return rows in the order of an estimator; ranks are shared where differences are within the noise of the folds.

    Ranks come in bands: the first holds the best row and all that cannot be told from it, their difference being at
    most twice the standard error of the paired differences over folds (every checkpoint has the same folds). The best
    of the other rows leads the next band, and so on. A row's rank is 1 + the number of rows in the bands above
    ("1, 1, 3"). Without folds only equal values tie. Rows that a race stopped come after those that saw all rows, the
    latest stopped first: scores of different samples don't compare. Rows without a score come last, without a rank.
    """
    failed = [msgspec.structs.replace(row, rank=None, tied=False) for row in rows if row.error is not None]
    scored = sorted((row for row in rows if row.error is None), key=_stopped_last)
    placed: list[Row] = []
    for _, together in groupby(scored, key=_stopped_last):
        placed += _placed(list(together), estimator, len(placed))
    return (*placed, *sorted(failed, key=lambda row: row.checkpoint))


def _stopped_last(row: Row) -> float:
    return -math.inf if row.n is None else -row.n


def _placed(rows: list[Row], estimator: str, above: int) -> list[Row]:
    """Return rows that were scored on the same sample with their ranks, which start behind `above` other rows."""
    rows.sort(key=lambda row: (-row.scores[estimator].value, row.checkpoint))
    ranks: list[int] = []
    leader = 0
    for position, row in enumerate(rows):
        gain, stderr = gain_and_stderr(rows[leader].scores[estimator], row.scores[estimator])
        if gain > TIE_WIDTH * stderr:
            leader = position
        ranks.append(above + 1 + leader)
    return [
        msgspec.structs.replace(row, rank=rank, tied=ranks.count(rank) > 1)
        for row, rank in zip(rows, ranks, strict=True)
    ]


def gain_and_stderr(first: Score, second: Score) -> tuple[float, float]:
    """Return the difference of two scores, and the standard error of the paired differences over folds.

    Without folds in common the standard error is 0.
    """
    gain = first.value - second.value
    if len(first.folds) < 2 or len(first.folds) != len(second.folds):
        return gain, 0.0
    paired = np.subtract(first.folds, second.folds)
    return gain, float(paired.std(ddof=1) / math.sqrt(len(paired)))
