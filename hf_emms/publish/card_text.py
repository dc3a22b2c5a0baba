"""Entries → Markdown, through the templates.

Text from the Hub is escaped for each place in a README: it can format nothing, link nowhere and mention nobody.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hf_emms import hub
from hf_emms.errors import EmmsError, install_command, redacted, use
from hf_emms.formatting import MISSING, format_count
from hf_emms.publish import readme
from hf_emms.publish.card_entries import Entry, checkpoint_entry, dataset_entry, pack
from hf_emms.ranking import EMMS, Explained, Ranking, Row, check_ranking, is_commit
from hf_emms.ranking.columns import (
    COLUMNS,
    IDENTITY,
    ShownScores,
    TableColumn,
    columns_of,
    format_finetuned,
    format_rank,
    score_columns,
    single_line,
    summaries_of_runs,
    title_of,
)

if TYPE_CHECKING:
    import jinja2

CardKind = Literal["model", "dataset"]

# A word joiner: invisible, and what keeps "@name" from being a mention and "www." from being a link.
_JOINER = "&#8288;"
_PUNCTUATION = re.compile(r"([\\|`*_<>\[\]~$#!&])")
_CALLS = (("@", f"@{_JOINER}"), ("://", f":{_JOINER}//"), ("www.", f"www{_JOINER}."))
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
# Columns of the chart: of its axis, and of a checkpoint's name at most.
_AXIS_WIDTH = 36
_NAME_WIDTH = 40


def card(ranking: Ranking, checkpoint: str | None = None, *, leaderboard: str | None = None) -> str:
    """Return the section of a model card, from marker to marker; without a checkpoint, of the dataset's card.

    Args:
        ranking: what it shows.
        checkpoint: of the ranking.
        leaderboard: the Space (ORG/NAME) that shows the whole ranking.

    Raises:
        EmmsError: the ranking doesn't hold the checkpoint, or has no score for it.
    """
    check_ranking(ranking)
    if leaderboard is not None and not isinstance(leaderboard, str):
        raise EmmsError(f"leaderboard is {leaderboard!r:.80}; it must be a Space", use("leaderboard", "ORG/NAME"))
    if checkpoint is None:
        return card_section("dataset", [dataset_entry(ranking, leaderboard=leaderboard)])
    return card_section("model", [checkpoint_entry(ranking, checkpoint, leaderboard=leaderboard)])


def card_section(about: CardKind, entries: Sequence[Entry]) -> str:
    """Return the section of a card, with all entries."""
    estimators = tuple(dict.fromkeys(name for entry in entries for name in entry.estimators))
    first = {entry.estimators[0] for entry in entries}
    controls = [markdown_text(title_of(name)) for name in estimators if name not in {*EMMS, *first}]
    if any(entry.ranking.has_elsewhere for entry in entries):
        controls.append("elsewhere (mean rank on other datasets, in per cent of the checkpoints there; low is good)")
    columns = _model_card_columns(entries, estimators)
    estimated = any(not entry.ranking.reason for entry in entries)
    template = f"{about}_card_section.md.jinja"
    body = rendered_template(template, entries=entries, controls=controls, columns=columns, estimated=estimated).strip(
        "\n"
    )
    data = redacted(readme.data_comment(pack(entries, about)))
    return f"{readme.START}\n{data}\n\n{body}\n\n{readme.END}\n"


def rendered_template(name: str, **values: Any) -> str:
    """Return a template filled with values; values from outside pass its filters."""
    return redacted(_environment().get_template(name).render(values))


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    # Inside the installed package; in a checkout they are next to it.
    package = Path(str(resources.files("hf_emms")))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([package / "templates", package.parent / "templates"]),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        auto_reload=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["install"] = install_command()
    environment.filters.update(
        md=markdown_text,
        html=lambda value: _without_calls(html.escape(single_line(value))),
        code=_code_span,
        block=_code_block,
        repo=_repo_link,
        is_commit=is_commit,
        space=_space_link,
        count="{:,}".format,
        rank=format_rank,
        spread=format_finetuned,
        title=_title,
        cell=_cell,
        dataset_card_columns=_dataset_card_columns,
        summaries_of_runs=summaries_of_runs,
        size=format_count,
        chart=_chart,
    )
    return environment


def markdown_text(value: Any) -> str:
    """Return a value escaped for a line of Markdown or a cell of a table."""
    return _without_calls(_PUNCTUATION.sub(r"\\\1", single_line(value)))


def _code_span(value: Any) -> str:
    """Return a code span, safe in a table, that no backticks in the text can end."""
    line = _no_comment(single_line(value)).replace("|", "\N{BROKEN BAR}")
    fence = "`" * (_longest_backticks(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _code_block(value: str, language: str = "") -> str:
    """Return a fenced code block that nothing in the text can end."""
    lines = "\n".join(_no_comment(line) for line in value.splitlines())
    fence = "`" * max(3, _longest_backticks(lines) + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def _longest_backticks(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _repo_link(id: str, kind: hub.Kind, *, on_hub: bool) -> str:
    name = id.partition("@")[0]
    if not on_hub or not _HUB_ID.fullmatch(name):
        return _code_span(id)
    return f"[{markdown_text(name)}]({hub.page(name, kind)})"


def _space_link(id: str) -> str:
    return f"[{markdown_text(id)}]({hub.page(id, 'space')})" if _HUB_ID.fullmatch(id) else _code_span(id)


def _without_calls(line: str) -> str:
    for call, harmless in _CALLS:
        line = line.replace(call, harmless)
    return line


def _no_comment(line: str) -> str:
    return line.replace("<!--", "<! --")


def _title(column: TableColumn, about: CardKind) -> str:
    return markdown_text(column.title_in("model card" if about == "model" else "dataset card"))


def _cell(column: TableColumn, ranking: Ranking, row: Row) -> str:
    """Return the text of a cell with spaces that do not break, which keep a number and its error together."""
    text = column.text(ranking, row) if column.applies(ranking, "model card") else MISSING
    return markdown_text(text).replace(" ", "\u00a0")


def _model_card_columns(entries: Sequence[Entry], estimators: Sequence[str]) -> list[TableColumn]:
    """Return the columns that follow the rank; each entry is a row of the table, its checkpoint's."""
    rankings = [entry.ranking for entry in entries]
    shown = [msgspec.structs.replace(entry.ranking, rows=(entry.row,)) for entry in entries if entry.row]
    return [
        column
        for columns, tables in ((score_columns(estimators), rankings), (COLUMNS, shown))
        for column in columns
        if "model card" in column.tables and any(column.applies(ranking, "model card") for ranking in tables)
    ]


def _dataset_card_columns(entry: Entry) -> list[TableColumn]:
    ranking = msgspec.structs.replace(entry.ranking, estimators=entry.estimators)
    return [column for column in columns_of(ranking, "dataset card") if column not in IDENTITY]


def _chart(entry: Entry) -> str:
    """Return a chart in text: a line a checkpoint, with a dot at its first score and a bar of two standard errors.

    The axis runs from the lowest to the highest value shown. The card's checkpoint is marked.
    """
    rows, estimator = entry.ranking.rows, entry.ranking.estimators[0]
    shown = ShownScores(entry.ranking, estimator)
    scores = [shown.number(row.scores[estimator]) for row in rows]
    ends = [score.value + sign * _error_reach(score) for score in scores for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    names = [_shortened(single_line(row.checkpoint)) for row in rows]
    ranks = [format_rank(row) for row in rows]
    name_width, rank_width = max(map(_display_width, names)), max(map(len, ranks))
    left, right = shown.format(low), shown.format(high)
    margin = " " * (rank_width + 2 + name_width + 2)
    lines = [margin + left + shown.title.center(max(_AXIS_WIDTH - len(left) - len(right), 0)) + right]
    for row, score, name, rank in zip(rows, scores, names, ranks, strict=True):
        mark = " ◀" if row.checkpoint == entry.checkpoint else ""
        padded = name + " " * (name_width - _display_width(name))
        lines.append(f"{rank:>{rank_width}}  {padded}  {_chart_line(score, low, high)}{mark}")
    return "\n".join(line.rstrip() for line in lines)


def _error_reach(score: Explained) -> float:
    return 2 * (score.stderr or 0.0)


def _chart_line(score: Explained, low: float, high: float) -> str:
    scale = (_AXIS_WIDTH - 1) / (high - low) if high > low else 0.0
    dot = round((score.value - low) * scale) if scale else _AXIS_WIDTH // 2
    arm = round(_error_reach(score) * scale)
    cells = ["─" if abs(position - dot) <= arm else " " for position in range(_AXIS_WIDTH)]
    cells[dot] = "●"
    return "".join(cells)


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH // 2 - 1]}…{name[-_NAME_WIDTH // 2 :]}"


def _display_width(name: str) -> int:
    """Return the width of a name in a monospaced font."""
    if name.isascii():
        return len(name)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in name)
