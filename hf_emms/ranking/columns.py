"""Define the columns of a ranking's tables, each as an entry of `COLUMNS`, and format single values."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hf_emms.errors import EmmsError
from hf_emms.formatting import MISSING, format_bytes, format_count
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.ranking.records import DIMENSIONS, EMMS, Explained, FineTuned, RankingData, Row, explained
from hf_emms.scoring import Score
from hf_emms.scoring.estimators import Estimator, ScoringInputs
from hf_emms.scoring.quantity import SCORE, Quantity, quantity_of_metric
from hf_emms.texts import printable

# "text": terminal, notebooks and Markdown. "file": CSV and DataFrames. "results": Parquet files of a
# results dataset. "page": the leaderboard. "dimensions": truncated embeddings, below "text".
Table = Literal["text", "file", "results", "dataset card", "page", "dimensions"]
# Return the value of a column in a row, and the text of its cell.
Value = Callable[[RankingData, Row], Any]
Cell = Callable[[RankingData, Row], str]

# Titles of R²: of the first EMMS estimator, and of `emms` next to `emms_knn`.
EXPLAINED, RIDGE = "explained", "ridge"
# A limit of tokens that no text reaches.
_NO_LIMIT = 900_000
# Importance of the columns that every terminal shows.
ALWAYS_SHOWN = math.inf


def estimator_named(name: str) -> Estimator:
    """Return an estimator. If its package is missing, return one with the name alone, to show other people's
    rankings.
    """
    try:
        return ESTIMATORS[name]
    except (KeyError, EmmsError):
        return Estimator(name, "its package is not installed", _not_installed)


def _not_installed(inputs: ScoringInputs) -> Score:
    raise EmmsError("package-missing", "the package of this estimator is not installed")


def title_of(estimator: str) -> str:
    return estimator_named(estimator).title


def single_line(value: Any) -> str:
    """Return a value as a single line of text. Control characters are escaped."""
    return "" if value is None else printable(" ".join(str(value).split()))


def format_rank(row: Row) -> str:
    """Return the rank of a row as text: "2", or "=2" for a shared rank."""
    if row.rank is None:
        return MISSING
    return f"={row.rank}" if row.tied else str(row.rank)


def format_number(value: float | None) -> str:
    """Return a score with four decimals, or with four digits if it is large."""
    if value is None:
        return MISSING
    return f"{value:z.4f}" if abs(value) < 100 else f"{value:.4g}"


def published_in_words(ranking: RankingData) -> str:
    """Return what the values of the column "published" are, and their source; empty without the column."""
    table = ranking.published_table
    if table is None:
        return ""
    is_known = any(row.published_trained_on for row in ranking.rows)
    trained_on = "; in parentheses: how many of its tasks the checkpoint states as training data" * is_known
    return f"{table.title}{', lower is better' * table.lower_is_better}, {table.source}{trained_on}"


EXPLAINED_VARIANCE = Quantity(
    "of the variance",
    help=(
        "R²: the share of the label embeddings' variance that the features explain on held-out rows, from 0 (nothing) "
        "to 1. It depends on the dataset, sample, seed and label encoders. Compare it within this table only."
    ),
)


class ScoreFormatter:
    """Format the scores of an estimator for people: R² if every row has it, else the score.

    Attributes:
        explains: Whether the formatter shows R².
        quantity: The unit, direction and help of the shown number.
        title: The title of the column.
        is_informative: Whether any row shows a number other than 0.
    """

    def __init__(self, ranking: RankingData, estimator: str) -> None:
        scores = [row.scores[estimator] for row in ranking.rows if estimator in row.scores]
        shares = [share for score in scores if (share := explained(score))]
        self.explains = estimator in EMMS and bool(scores) and len(shares) == len(scores)
        self.title = explained_title(estimator, ranking.estimators) if self.explains else title_of(estimator)
        self.quantity = EXPLAINED_VARIANCE if self.explains else estimator_named(estimator).quantity
        # All scores of a ranking have the same number of decimals, and no standard error is shown as 0.
        errors = [error for score in scores if (error := self._written(score).stderr)]
        self._decimals = self.quantity.decimals_for(min(errors, default=None))
        self.is_informative = any(float(self._rounded(self._written(score).value)) for score in scores)

    def number(self, score: Score) -> Explained:
        """Return R² or the stored score with its standard error; higher is better."""
        share = explained(score) if self.explains else None
        return share or Explained(score.value, score.stderr)

    def _written(self, score: Score) -> Explained:
        number = self.number(score)
        error = None if number.stderr is None else self.quantity.error(number.value, number.stderr)
        return Explained(self.quantity.value(number.value), error)

    def format(self, stored: float | None) -> str:
        """Format R² or a stored score."""
        return MISSING if stored is None else self._rounded(self.quantity.value(stored))

    def _rounded(self, value: float) -> str:
        return format_number(value) if self.quantity == SCORE else f"{value:z.{self._decimals}f}"

    def text(self, score: Score | None, *, with_error: bool = True) -> str:
        """Format a score with its standard error: "2.37 ± 0.04"."""
        if score is None:
            return MISSING
        written = self._written(score)
        if written.stderr is None or not with_error:
            return self._rounded(written.value)
        return f"{self._rounded(written.value)} ± {self._rounded(written.stderr)}"

    def difference(self, first: Score, second: Score) -> str:
        """Format how far two scores are apart, without a sign."""
        return self._rounded(abs(self._written(first).value - self._written(second).value))

    def sentence(self, score: Score) -> str:
        """Return a description of a score: "Short run 2.37 ± 0.04 bits per byte (lower is better)"."""
        return f"{self.title} {self.text(score)}{self.quantity.in_words}"

    @property
    def heading(self) -> str:
        """The title with the unit, and an arrow if lower is better: "Short run, bits per byte ↓"."""
        unit = "" if self.explains or not self.quantity.unit else f", {self.quantity.unit}"
        return f"{self.title}{unit} {self.quantity.arrow}".strip()


def explained_title(estimator: str, estimators: Sequence[str]) -> str:
    """Return the title of an estimator's R²: "explained" for the first EMMS estimator, "ridge" for `emms` as the
    second.
    """
    if estimator == next(name for name in estimators if name in EMMS):
        return EXPLAINED
    return RIDGE if estimator == "emms" else title_of(estimator)


def format_finetuned(result: FineTuned | None) -> str:
    """Format a fine-tuned score with its spread, or "failed" without a score."""
    if result is None or result.value is None:
        return MISSING if result is None else "failed"
    spread = result.spread
    quantity = quantity_of_metric(result.metric)
    error = "" if spread is None else f" ± {quantity.error(result.value, spread):.{quantity.decimals}f}"
    return format_measured(result.metric, result.value) + error


def format_measured(metric: str, stored: float | None) -> str:
    """Format a score of a metric: accuracy .912 is "91.2", 1 - WER of .912 is "8.8"."""
    quantity = quantity_of_metric(metric)
    return MISSING if stored is None else f"{quantity.value(stored):z.{quantity.decimals}f}"


def metric_title(metric: str) -> str:
    """Return the usual name of a metric: "word error rate" for the stored "1 - WER"."""
    return quantity_of_metric(metric).name or metric


def measured_in_words(result: FineTuned) -> str:
    """Return a description of a fine-tuned score: "accuracy 91.2", "word error rate 8.8% (lower is better)"."""
    quantity = quantity_of_metric(result.metric)
    return f"{metric_title(result.metric)} {format_measured(result.metric, result.value)}{quantity.in_words}"


@dataclass(frozen=True)
class TableColumn:
    """A column of the tables.

    Attributes:
        name: The name in files and in addresses of the leaderboard. If `read` is None, also the attribute of `Row`.
        tables: The tables with this column.
        read: Returns the unrounded value of a row. None without a value.
        format: Formats the value. By default a text on one line.
        type: The type of the value.
        title: The title for people. By default the name.
        titles: Other titles for some tables.
        optional: Whether tables of a ranking omit the column if no row has a value.
        applies: Whether such a table of a ranking has the column.
        cell: Returns the text for people, if it is not the formatted value.
        importance: A narrow terminal omits the least important columns first.
    """

    name: str
    tables: tuple[Table, ...]
    read: Value | None = None
    format: Callable[[Any], str] | None = None
    type: type[bool | int | float | str] = str
    title: str | None = None
    titles: Mapping[Table, str] = field(default_factory=dict)
    optional: bool = False
    applies: Callable[[RankingData, Table], bool] = lambda ranking, table: True
    cell: Cell | None = None
    importance: float = 0

    def value(self, ranking: RankingData, row: Row) -> Any:
        return self.read(ranking, row) if self.read else getattr(row, self.name)

    def text(self, ranking: RankingData, row: Row) -> str:
        if self.cell is not None:
            return self.cell(ranking, row)
        value = self.value(ranking, row)
        return MISSING if value in (None, "") else self.format(value) if self.format else single_line(value)

    def title_in(self, table: Table) -> str:
        return self.titles.get(table, self.title or self.name)

    def is_in(self, ranking: RankingData, table: Table) -> bool:
        """Return whether a table of a ranking has the column."""
        if table not in self.tables or not self.applies(ranking, table):
            return False
        return not self.optional or any(self.value(ranking, row) is not None for row in ranking.rows)


def _of_fine_tuned(name: str) -> Value:
    return lambda ranking, row: getattr(row.fine_tuned, name) if row.fine_tuned else None


def _seconds(ranking: RankingData, row: Row) -> float | None:
    """Return the time of features and scores. Loading is not part of it: the first checkpoint imports libraries."""
    return None if row.error is not None else row.seconds.forward + row.seconds.scoring


def _minutes(ranking: RankingData, row: Row) -> float | None:
    seconds = _seconds(ranking, row)
    return seconds / 60 if seconds else None


def runs_models(ranking: RankingData) -> bool:
    """Return whether an estimator of the ranking ran the checkpoints themselves."""
    return any("model" in estimator_named(name).needs for name in ranking.estimators)


def summaries_of_runs(estimators: Sequence[str]) -> list[str]:
    """Return title and summary of each estimator that runs the checkpoint itself."""
    named = map(estimator_named, estimators)
    return [f"{estimator.title}: {estimator.summary}" for estimator in named if "model" in estimator.needs]


def _embeds_documents(ranking: RankingData) -> bool:
    """Return whether the checkpoints embed a corpus."""
    named = [estimator_named(name) for name in ranking.estimators]
    return any("search" in each.needs for each in named) and not any(each.reranks for each in named)


def _has_width(ranking: RankingData, table: Table) -> bool:
    return table != "text" or not all(estimator_named(name).reranks for name in ranking.estimators)


def _bytes_per_million(ranking: RankingData, row: Row) -> int | None:
    return _million_embeddings(row.width) if row.width is not None and _embeds_documents(ranking) else None


def _million_embeddings(width: int) -> int:
    """Return the size of a million embeddings in 32-bit numbers, in bytes."""
    return 4_000_000 * width


def inputs_per_second(ranking: RankingData, row: Row) -> float | None:
    """Return the speed of a checkpoint without loading; None if it was not measured, as for features from the cache."""
    seconds = row.seconds.forward
    # A row from the cache may have been scored with features from the cache.
    is_measured = row.error is None and seconds > 0 and (row.cached == "none" or row.machine is not None)
    return ranking.n_inputs / seconds if is_measured else None


def _hours_per_million(ranking: RankingData, row: Row) -> float | None:
    """Return the hours for a million documents or, if the task has none, inputs."""
    speed = row.documents_per_second or inputs_per_second(ranking, row)
    return 1_000_000 / 3600 / speed if speed else None


def _published_text(ranking: RankingData, row: Row) -> str:
    """Return the published value, with the number of tasks trained on in parentheses: "56.7 (11)"."""
    if row.published is None:
        return MISSING
    return f"{row.published:.1f}" + (f" ({row.published_trained_on})" if row.published_trained_on else "")


def _truncated(width: int) -> TableColumn:
    """Return the column of the scores at a number of dimensions."""

    def value(ranking: RankingData, row: Row) -> float | None:
        return row.dimensions.get(str(width))

    return TableColumn(
        f"score_{width}",
        ("dimensions", "file"),
        value,
        type=float,
        title=f"at {width} ({format_bytes(_million_embeddings(width))})",
        optional=True,
        cell=lambda ranking, row: ScoreFormatter(ranking, ranking.estimators[0]).format(value(ranking, row)),
    )


def _format_tokens(count: int) -> str:
    """Return the maximum number of tokens; "any" without a limit."""
    return "any" if count >= _NO_LIMIT else f"{count:,}"


def _format_hours(hours: float) -> str:
    return f"{hours:,.2g}" if hours < 10 else f"{hours:,.0f}"


_EVERY: tuple[Table, ...] = ("text", "file", "results", "dataset card", "page")
_FILES: tuple[Table, ...] = ("file", "results")
_SEARCHED: tuple[Table, ...] = ("text", "file", "page")
_SHOWN: tuple[Table, ...] = ("text", "dataset card")
_TENTHS = "{:.1f}".format

# The first columns; the scores of the ranking's estimators follow, then `COLUMNS`.
IDENTITY: tuple[TableColumn, ...] = (
    TableColumn("rank", _EVERY, type=int, cell=lambda ranking, row: format_rank(row), importance=ALWAYS_SHOWN),
    TableColumn("tied", _FILES, type=bool),
    TableColumn("checkpoint", (*_EVERY, "dimensions"), importance=ALWAYS_SHOWN),
)
COLUMNS: tuple[TableColumn, ...] = (
    TableColumn("minutes", _SHOWN, _minutes, _TENTHS, applies=lambda ranking, _: runs_models(ranking), importance=1),
    TableColumn("published", (*_SHOWN, "file", "page"), type=float, optional=True, cell=_published_text),
    TableColumn("published_trained_on", ("file",), type=int, optional=True),
    TableColumn("score", ("page",), lambda ranking, row: row.score, format_number, float),
    TableColumn(
        "fine_tuned",
        _EVERY,
        _of_fine_tuned("value"),
        type=float,
        title="fine-tuned",
        applies=lambda ranking, table: any(row.fine_tuned is not None for row in ranking.rows),
        cell=lambda ranking, row: format_finetuned(row.fine_tuned),
        importance=2,
    ),
    TableColumn("fine_tuned_spread", _FILES, _of_fine_tuned("spread"), type=float, optional=True),
    TableColumn("fine_tuned_metric", _FILES, _of_fine_tuned("metric"), optional=True),
    TableColumn("layer", ("text", "file"), optional=True),
    TableColumn("parameters", _EVERY, None, format_count, int, "params", {"dataset card": "parameters"}, importance=1),
    TableColumn("license", ("text", "file"), optional=True, importance=1),
    TableColumn("width", ("text", "file", "results", "page", "dimensions"), type=int, applies=_has_width),
    TableColumn(
        "bytes_per_million",
        (*_SEARCHED, "dimensions"),
        _bytes_per_million,
        format_bytes,
        int,
        "a million",
        {"page": "bytes of a million embeddings"},
        optional=True,
    ),
    TableColumn(
        "documents_per_second",
        _SEARCHED,
        format="{:,.0f}".format,
        type=float,
        title="docs/s",
        titles={"page": "documents/s"},
        optional=True,
    ),
    TableColumn(
        "hours_per_million",
        _SEARCHED,
        _hours_per_million,
        _format_hours,
        float,
        "h/million",
        {"page": "hours per million"},
        applies=lambda ranking, table: table != "text" or _embeds_documents(ranking),
    ),
    *map(_truncated, DIMENSIONS),
    TableColumn(
        "longest_input",
        _SEARCHED,
        format=_format_tokens,
        type=int,
        title="tokens",
        titles={"page": "longest input"},
        optional=True,
    ),
    TableColumn(
        "seconds",
        ("text", "page"),
        _seconds,
        _TENTHS,
        float,
        applies=lambda ranking, table: table != "text" or not runs_models(ranking),
    ),
    TableColumn("architecture", ("file", "results", "page")),
    TableColumn("pooling", _FILES),
    TableColumn("seconds_features", _FILES, lambda ranking, row: row.seconds.forward, type=float),
    TableColumn("seconds_scoring", _FILES, lambda ranking, row: row.seconds.scoring, type=float),
    TableColumn("machine", ("file",)),
    TableColumn("memory", ("file",), type=int),
    TableColumn("cached", ("file",)),
    TableColumn("error", _FILES),
    TableColumn("revision", ("file", "results", "page")),
)

# Columns of files that come before the scores.
_FIRST_IN_FILES = ("rank", "tied", "checkpoint", "revision")


def columns_of(ranking: RankingData, table: Table) -> list[TableColumn]:
    """Return the columns of a table of a ranking, in order."""
    if table == "file":
        with_stderr = {name for row in ranking.rows for name, score in row.scores.items() if score.stderr is not None}
        scores = score_columns(ranking.estimators, with_stderr)
    else:
        scores = _shown_scores(ranking)
    columns = [column for column in (*IDENTITY, *scores, *COLUMNS) if column.is_in(ranking, table)]
    if table == "file":
        places = {name: place for place, name in enumerate(_FIRST_IN_FILES)}
        columns.sort(key=lambda column: places.get(column.name, len(places)))
    return columns


def score_columns(estimators: Sequence[str], with_stderr: Collection[str]) -> list[TableColumn]:
    """Return the columns of estimators in files: scores, R² of EMMS, and their standard errors."""
    columns = []
    for name in estimators:
        values = {name: _of_score(name, "value"), f"{name}_stderr": _of_score(name, "stderr")}
        if name in EMMS:
            title = explained_title(name, estimators)
            r2 = title if title in (EXPLAINED, RIDGE) else f"{name}_r2"
            values |= {r2: _of_r2(name, "value"), f"{r2}_stderr": _of_r2(name, "stderr")}
        columns += [
            TableColumn(column, ("file",), read, type=float)
            for column, read in values.items()
            if name in with_stderr or not column.endswith("_stderr")
        ]
    return columns


def _shown_scores(ranking: RankingData) -> list[TableColumn]:
    """Return the score columns of tables for people. The first has its standard error."""
    columns = []
    for name in ranking.estimators:
        first, shown = name == ranking.estimators[0], ScoreFormatter(ranking, name)
        if first or shown.is_informative:
            columns.append(
                TableColumn(
                    name,
                    (*_SHOWN, "dimensions") if first else ("text",),
                    title=f"{shown.title} {shown.quantity.arrow}".rstrip(),
                    cell=_score_text(name, shown, with_error=first),
                    importance=ALWAYS_SHOWN if first else 0,
                )
            )
    return columns


def _score_text(name: str, shown: ScoreFormatter, *, with_error: bool) -> Cell:
    return lambda ranking, row: shown.text(row.scores.get(name), with_error=with_error)


def _of_score(name: str, field: str) -> Value:
    return lambda ranking, row: getattr(row.scores[name], field) if name in row.scores else None


def _of_r2(name: str, field: str) -> Value:
    return lambda ranking, row: getattr(explained(row.scores.get(name)), field, None)
