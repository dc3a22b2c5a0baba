"""The columns of a ranking's tables, each defined once.

The text table, CSV, Parquet, cards and the leaderboard iterate over them: a new column is one more entry of `COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from hf_emms.formatting import MISSING, format_count
from hf_emms.ranking.formats import (
    format_finetuned,
    format_number,
    format_percent,
    format_rank,
    format_score,
    format_text,
    title_of,
)
from hf_emms.ranking.records import EMMS, RankingData, Row, emms_score

# "text" is the table of the terminal, of notebooks and of Markdown; "file" CSV, TSV, Parquet and DataFrames; "results"
# the Parquet files of a results dataset; "page" the leaderboard.
Table = Literal["text", "file", "results", "model card", "dataset card", "page"]
Value = Callable[[RankingData, Row], Any]


@dataclass(frozen=True)
class TableColumn:
    """A column of the tables.

    Attributes:
        name: in files and in the leaderboard's addresses.
        title: for people.
        value: of a row, unrounded; None where it has none.
        tables: those that have the column.
        format: the value for people.
        type: of the value.
        applies: whether such a table of a ranking has the column.
        formatted: what `format` gets where that is more than the value.
        titles: of tables that call it by another title.
    """

    name: str
    title: str
    value: Value
    tables: tuple[Table, ...]
    format: Callable[[Any], str] = format_text
    type: type[bool | int | float | str] = str
    applies: Callable[[RankingData, Table], bool] = lambda ranking, table: True
    formatted: Value | None = None
    titles: Mapping[Table, str] = field(default_factory=dict)

    def text(self, ranking: RankingData, row: Row) -> str:
        """A row's value for people."""
        return self.format((self.formatted or self.value)(ranking, row))

    def title_in(self, table: Table) -> str:
        """The column's title in a table."""
        return self.titles.get(table, self.title)


def _attribute(name: str) -> Value:
    return lambda ranking, row: getattr(row, name)


def _of_fine_tuned(name: str) -> Value:
    return lambda ranking, row: getattr(row.fine_tuned, name) if row.fine_tuned else None


def _r2(ranking: RankingData, row: Row) -> float | None:
    score = emms_score(row.scores)
    return score.details.get("r2") if score else None


def _rows_seen(ranking: RankingData, row: Row) -> int | None:
    return None if row.error is not None else row.n or ranking.n


def _seconds(ranking: RankingData, row: Row) -> float | None:
    return None if row.error is not None else row.seconds.features + row.seconds.scoring


def _has_fine_tuning(ranking: RankingData, table: Table) -> bool:
    return any(row.fine_tuned is not None for row in ranking.rows)


def _has_layers(ranking: RankingData, table: Table) -> bool:
    return bool(ranking.settings.get("layers"))


def _has_elsewhere(ranking: RankingData, table: Table) -> bool:
    return ranking.has_elsewhere


def _shows_rows_seen(ranking: RankingData, table: Table) -> bool:
    """People see it where rows may differ; of merged rankings, the latest may be no race."""
    return table != "text" or ranking.settings.get("race") is not None or any(row.n is not None for row in ranking.rows)


def _format_size(count: int | None) -> str:
    return MISSING if count is None else f"{count:,}"


def _format_seconds(seconds: float | None) -> str:
    return MISSING if seconds is None else f"{seconds:.1f}"


# Which row it is; the scores of the ranking's estimators follow, then `COLUMNS`.
IDENTITY: tuple[TableColumn, ...] = (
    TableColumn(
        "rank",
        "rank",
        _attribute("rank"),
        ("text", "file", "results", "dataset card", "page"),
        format_rank,
        int,
        formatted=lambda ranking, row: row,
    ),
    TableColumn("tied", "tied", _attribute("tied"), ("file", "results"), str, bool),
    TableColumn(
        "checkpoint",
        "checkpoint",
        _attribute("checkpoint"),
        ("text", "file", "results", "dataset card", "page"),
    ),
)
COLUMNS: tuple[TableColumn, ...] = (
    TableColumn(
        "elsewhere",
        "elsewhere",
        _attribute("elsewhere"),
        ("text", "file", "model card", "dataset card", "page"),
        format_percent,
        float,
        applies=_has_elsewhere,
    ),
    TableColumn("r2", "R²", _r2, ("model card", "page"), format_number, float),
    TableColumn(
        "fine_tuned",
        "fine-tuned",
        _of_fine_tuned("value"),
        ("text", "file", "results", "page"),
        format_finetuned,
        float,
        applies=_has_fine_tuning,
        formatted=_attribute("fine_tuned"),
    ),
    TableColumn(
        "fine_tuned_spread",
        "spread",
        _of_fine_tuned("spread"),
        ("file", "results"),
        type=float,
        applies=_has_fine_tuning,
    ),
    TableColumn("fine_tuned_metric", "metric", _of_fine_tuned("metric"), ("file", "results"), applies=_has_fine_tuning),
    TableColumn("layer", "layer", _attribute("layer"), ("text", "file"), applies=_has_layers),
    TableColumn(
        "n",
        "rows",
        _rows_seen,
        ("text", "file", "model card", "page"),
        _format_size,
        int,
        applies=_shows_rows_seen,
        titles={"page": "Samples"},
    ),
    TableColumn(
        "parameters",
        "params",
        _attribute("parameters"),
        ("text", "file", "results", "dataset card", "page"),
        format_count,
        int,
        titles={"dataset card": "parameters"},
    ),
    TableColumn("width", "width", _attribute("width"), ("text", "file", "results", "page"), type=int),
    TableColumn("seconds", "seconds", _seconds, ("text", "page"), _format_seconds, float),
    TableColumn("architecture", "architecture", _attribute("architecture"), ("file", "results", "page")),
    TableColumn("pooling", "pooling", _attribute("pooling"), ("file", "results")),
    TableColumn(
        "seconds_features",
        "seconds of features",
        lambda ranking, row: row.seconds.features,
        ("file", "results"),
        _format_seconds,
        float,
    ),
    TableColumn(
        "seconds_scoring",
        "seconds of scoring",
        lambda ranking, row: row.seconds.scoring,
        ("file", "results"),
        _format_seconds,
        float,
    ),
    TableColumn("cached", "cached", _attribute("cached"), ("file",)),
    TableColumn("error", "error", _attribute("error"), ("file", "results")),
    TableColumn("revision", "revision", _attribute("revision"), ("file", "results", "page")),
)

# Columns of files that come before the scores.
_FIRST_IN_FILES = ("rank", "tied", "checkpoint", "revision", "n")


def columns_of(ranking: RankingData, table: Table) -> list[TableColumn]:
    """The columns of a ranking's table, in their order."""
    with_stderr = {name for row in ranking.rows for name, score in row.scores.items() if score.stderr is not None}
    every = (*IDENTITY, *score_columns(ranking.estimators, with_stderr), *COLUMNS)
    columns = [column for column in every if table in column.tables and column.applies(ranking, table)]
    if table == "file":
        first = [column for column in columns if column.name in _FIRST_IN_FILES]
        first.sort(key=lambda column: _FIRST_IN_FILES.index(column.name))
        columns = [*first, *(column for column in columns if column not in first)]
    return columns


def score_columns(estimators: Sequence[str], with_stderr: Collection[str] = ()) -> list[TableColumn]:
    """The columns of estimators: the scores, the first with its error in words; standard errors and R² of their own."""
    explaining = next((name for name in EMMS if name in estimators), None)
    columns = []
    for place, name in enumerate(estimators):
        columns.append(_score_column(name, with_error=place == 0))
        if name in with_stderr:
            columns.append(
                TableColumn(f"{name}_stderr", "±", _of_score(name, "stderr"), ("file",), format_number, float)
            )
        if name in EMMS:
            tables: tuple[Table, ...] = ("file", "text") if name == explaining else ("file",)
            columns.append(TableColumn(f"{name}_r2", "R²", _r2_of(name), tables, format_number, float))
    return columns


def _score_column(name: str, *, with_error: bool) -> TableColumn:
    return TableColumn(
        name,
        title_of(name),
        _of_score(name, "value"),
        ("text", "file", "model card", "dataset card"),
        format_score if with_error else format_number,
        float,
        formatted=(lambda ranking, row: row.scores.get(name)) if with_error else None,
    )


def _of_score(name: str, field: str) -> Value:
    return lambda ranking, row: getattr(row.scores[name], field) if name in row.scores else None


def _r2_of(name: str) -> Value:
    return lambda ranking, row: row.scores[name].details.get("r2") if name in row.scores else None


def flat_records(ranking: RankingData) -> list[dict[str, Any]]:
    """One flat dictionary a row, every one with the same keys, numbers unrounded."""
    columns = columns_of(ranking, "file")
    return [{column.name: column.value(ranking, row) for column in columns} for row in ranking.rows]
