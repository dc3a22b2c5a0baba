"""Format a ranking as text: unrounded values for programs, a rounded table for people."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Iterable, Sequence
from typing import Any

from hf_emms.formatting import format_duration, pluralize
from hf_emms.ranking.columns import (
    ALWAYS_SHOWN,
    ScoreFormatter,
    Table,
    columns_of,
    published_in_words,
    single_line,
)
from hf_emms.ranking.records import FunnelStage, RankingData, Row
from hf_emms.ranking.verdict import Verdict, verdict

# Missing parts, and checkpoints of each, that a text names.
_MAX_PARTS, _MAX_NAMES = 8, 5


def flat_records(ranking: RankingData) -> list[dict[str, Any]]:
    """Return each row as a flat dictionary with unrounded numbers, and the verdict. All rows have the same keys."""
    columns, decision = columns_of(ranking, "file"), verdict(ranking)
    return [
        {column.name: column.value(ranking, row) for column in columns} | verdict_cells(decision, row.checkpoint)
        for row in ranking.shown_rows
    ]


def verdict_cells(decision: Verdict, checkpoint: str) -> dict[str, Any]:
    """Return whether a checkpoint is the recommended one; if it is, with the certainty and the codes of the caveats."""
    is_pick = checkpoint == decision.checkpoint
    return {
        "pick": is_pick,
        "certainty": decision.certainty if is_pick else None,
        "caveats": " ".join(note.code for note in decision.caveats) if is_pick else None,
    }


def to_csv(ranking: RankingData) -> str:
    """Return the ranking as comma-separated values with a header line."""
    rows = flat_records(ranking)
    return csv_text([[*rows[0]], *([*row.values()] for row in rows)])


def csv_text(lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def to_markdown(ranking: RankingData) -> str:
    """Return the rounded table as Markdown, followed by failed rows and `remarks`."""
    table, *others = tables(ranking)
    lines = markdown_table(*table, left=("checkpoint",))
    failed = [f"- {escaped(name)}: {escaped(error)}" for name, error in failures(ranking)]
    lines += ["", "Failed:", "", *failed] if failed else []
    for other in others:
        lines += ["", *markdown_table(*other, left=("checkpoint",))]
    for remark in remarks(ranking):
        lines += ["", escaped(remark)]
    return "\n".join(lines) + "\n"


def to_html(ranking: RankingData) -> str:
    """Return the rounded table as HTML, followed by failed rows and `remarks`."""
    import pandas as pd  # type: ignore[import-untyped]

    table, *others = (pd.DataFrame(rows, columns=header).to_html(index=False) for header, rows in tables(ranking))
    lines = [table]
    lines += [f"<p>failed: {html.escape(f'{name}: {error}')}</p>" for name, error in failures(ranking)]
    lines += others
    lines += [f"<p>{html.escape(remark)}</p>" for remark in remarks(ranking)]
    return "\n".join(lines)


def to_text(ranking: RankingData) -> str:
    """Return the rounded table as aligned text, followed by failed rows and `remarks`."""
    table, *others = tables(ranking)
    lines = aligned(*table, left=("checkpoint",))
    lines += [f"failed: {name}: {error}" for name, error in failures(ranking)]
    for other in others:
        lines += ["", *aligned(*other, left=("checkpoint",))]
    return "\n".join([*lines, *remarks(ranking)]) + "\n"


def remarks(ranking: RankingData) -> list[str]:
    """Return the lines below every table: units, why the first estimator orders it, and the unused columns."""
    published = f"published: {published_in_words(ranking)}" if ranking.published_table is not None else ""
    others = (published, single_line(ranking.reason), unused_text(ranking.unused_columns), missing_text(ranking))
    return [*units(ranking), *filter(None, others)]


def units(ranking: RankingData) -> list[str]:
    """Return one line per unit with its estimators: "Short run, Zero-shot: bits per byte (lower is better)"."""
    titles: dict[str, list[str]] = {}
    for estimator in ranking.estimators:
        shown = ScoreFormatter(ranking, estimator)
        if shown.quantity.unit and not shown.explains:
            titles.setdefault(shown.quantity.in_words.strip(), []).append(shown.title)
    return [f"{', '.join(names)}: {unit}" for unit, names in titles.items()]


def unused_text(columns: Sequence[str]) -> str:
    """Return a line with the unused columns; empty if all columns were used."""
    return f"not used: {single_line(', '.join(columns))}" if columns else ""


def missing_text(ranking: RankingData) -> str:
    """Return a line with the missing parts and their checkpoints; empty for a whole ranking."""
    parts = [
        f"part {part.name} ({', '.join(part.checkpoints[:_MAX_NAMES])}{', …' * (len(part.checkpoints) > _MAX_NAMES)})"
        for part in ranking.missing_parts[:_MAX_PARTS]
    ]
    more = len(ranking.missing_parts) - len(parts)
    parts += [f"and {pluralize(more, 'more part')}"] if more else []
    missing = pluralize(len(ranking.missing_checkpoints), "checkpoint")
    return single_line(f"not complete: {missing} of other parts missing: {', '.join(parts)}") if parts else ""


def aligned(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str]) -> list[str]:
    """Return the lines of a plain table. Columns in `left` are aligned to the left, other columns to the right."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if title in left else cell.rjust(width)
            for title, cell, width in zip(header, line, widths, strict=True)
        ).rstrip()
        for line in [header, ["-" * width for width in widths], *rows]
    ]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str]) -> list[str]:
    """Return the lines of a Markdown table. Columns in `left` are aligned to the left, others to the right."""
    rule = [":---" if title in left else "---:" for title in header]
    return ["| " + " | ".join(line) + " |" for line in [header, rule, *[[*map(escaped, row)] for row in rows]]]


def tables(ranking: RankingData) -> list[tuple[list[str], list[list[str]]]]:
    """Return header and cells of the rounded table and, if the ranking has it, of the table of truncated embeddings.

    The first score has its standard error; shared ranks have "=".
    """
    shown: dict[Table, Sequence[Row]] = {"text": ranking.shown_rows}
    if any(row.dimensions for row in ranking.rows):
        shown["dimensions"] = [row for row in ranking.rows if row.error is None]
    made = []
    for table, rows in shown.items():
        columns = columns_of(ranking, table)
        header = [column.title_in(table) for column in columns]
        made.append((header, [[column.text(ranking, row) for column in columns] for row in rows]))
    return made


def dispensable_titles(ranking: RankingData) -> list[str]:
    """Return the titles of the columns that a narrow terminal omits, in the order of omission."""
    columns = [column for column in reversed(columns_of(ranking, "text")) if column.importance < ALWAYS_SHOWN]
    columns.sort(key=lambda column: column.importance)
    return [column.title_in("text") for column in columns]


def settings_text(ranking: RankingData) -> str:
    """Return the settings that have a value on one line: "max_samples 5000, seed 0"."""
    shown = (
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in ranking.settings.items()
        if value is not None and value != []
    )
    return single_line(", ".join(shown))


def funnel_lines(stages: Iterable[FunnelStage]) -> list[str]:
    """Return a line per stage: how many checkpoints it had and kept, how long it took, and why others were left out."""
    lines = []
    for stage in stages:
        rows = f" on {pluralize(stage.rows, 'row')}" if stage.rows is not None else ""
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in stage.left_out.items())
        line = f"{stage.name}: {pluralize(stage.entered, 'checkpoint')}{rows} in {format_duration(stage.seconds)}, "
        lines.append(f"{line}{stage.kept:,} kept" + f"; left out: {reasons}" * bool(reasons))
    return lines


def failures(ranking: RankingData) -> list[tuple[str, str]]:
    """Return checkpoint and error of each row that failed or whose fine-tuning failed."""
    failed = [(row.checkpoint, row.error) for row in ranking.rows if row.error is not None]
    failed += [
        (row.checkpoint, f"fine-tuning: {row.fine_tuned.error}")
        for row in ranking.rows
        if row.fine_tuned is not None and row.fine_tuned.error is not None
    ]
    return [(single_line(name), single_line(error)) for name, error in failed]


def escaped(text: str) -> str:
    """Return a text escaped for a cell of a Markdown table."""
    for char in "\\|`*_<>[]":
        text = text.replace(char, "\\" + char)
    return text
