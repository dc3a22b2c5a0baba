"""Entries → Markdown, through the templates: a block of the section per entry, which an update replaces as a whole.

Text from the Hub is escaped for each place in a README: it can format nothing, link nowhere and mention nobody.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hf_emms import hub
from hf_emms.errors import MISSING, EmmsError, format_count, install_command, redacted, setting_ref
from hf_emms.publish.card_entries import Entry, checkpoint_entry, dataset_entry
from hf_emms.publish.readme import END, START, section_text
from hf_emms.ranking import EMMS, Explained, FineTuned, Ranking, Row, check_ranking, is_commit
from hf_emms.ranking.advice import baselines_in_words
from hf_emms.ranking.columns import (
    COLUMNS,
    IDENTITY,
    ScoreFormatter,
    TableColumn,
    columns_of,
    format_finetuned,
    format_measured,
    format_rank,
    measured_in_words,
    metric_title,
    score_columns,
    single_line,
    summaries_of_runs,
    title_of,
)
from hf_emms.ranking.verdict import is_above_baseline

if TYPE_CHECKING:
    import jinja2

CardKind = Literal["model", "dataset"]

_ENTRY = "<!-- hf-emms:entry {} -->"
_ENTRY_MARKER = re.compile(r"^<!-- hf-emms:entry ([0-9a-f]{16}) -->[ \t]*$", re.MULTILINE)
_HEADINGS: dict[CardKind, str] = {"model": "## Transferability", "dataset": "## Checkpoints to start from"}

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
        raise EmmsError(
            f"leaderboard is {leaderboard!r:.80}; it must be a Space", setting_ref("leaderboard", "ORG/NAME")
        )
    if checkpoint is None:
        entry = dataset_entry(ranking, leaderboard=leaderboard)
        return card_section("dataset", {entry.key: block_of("dataset", entry)})
    entry = checkpoint_entry(ranking, checkpoint, leaderboard=leaderboard)
    return card_section("model", {entry.key: block_of("model", entry)})


def block_of(about: CardKind, entry: Entry) -> str:
    """Return the Markdown of an entry, without its marker."""
    columns = _columns(about, entry)
    controls = [title_of(name) for name in entry.estimators[1:] if name not in EMMS]
    if entry.ranking.has_mean_rank_elsewhere:
        controls.append("mean rank elsewhere (on other datasets, in per cent of the checkpoints there; low is good)")
    return rendered_template(
        f"{about}_card_entry.md.jinja", entry=entry, columns=columns, controls=controls, sentence=sentence_of(entry)
    ).strip("\n")


def card_section(about: CardKind, blocks: Mapping[str, str]) -> str:
    """Return the section of a card, from marker to marker, with the blocks by the keys of their entries."""
    parts = [_HEADINGS[about], *(f"{_ENTRY.format(key)}\n{text}" for key, text in blocks.items())]
    body = "\n\n".join(parts)
    # The empty line ends an HTML block, such as </div>, that is above the section.
    return f"{START}\n\n{body}\n{END}\n"


def blocks_in(content: bytes) -> dict[str, str]:
    """Return the blocks of a README's section by the keys of their entries."""
    _, *pieces = _ENTRY_MARKER.split(section_text(content))
    return {key: text.strip("\n") for key, text in zip(pieces[::2], pieces[1::2], strict=True)}


def sentence_of(entry: Entry) -> str:
    """Return in a sentence of Markdown what a checkpoint is good for, or which checkpoint a dataset asks for."""
    ranking, row = entry.ranking, entry.row
    aim = f"{_repo_link(ranking.dataset_id, 'dataset', on_hub=is_commit(ranking.dataset_revision))}"
    aim += f" ({markdown_text(ranking.task)})"
    lead = entry.judgement.lead
    if lead in ("nothing explained", "no head") and not any(other.fine_tuned for other in ranking.rows):
        reason = "can be fine-tuned" if lead == "no head" else "has features that predict the labels"
        return f"None of {entry.ranked} checkpoints {reason} for {aim}."
    if entry.judgement.outcome == "no better than the baseline":
        return f"Fine-tuning taught no checkpoint more than the baseline for {aim}.{_measured(entry)}"
    if row is None:
        best = _linked(entry.top[0])
        if entry.first > 1:
            return f"Of {entry.ranked} checkpoints {best} is one of {entry.first} that share the first rank for {aim}."
        return f"Of {entry.ranked} checkpoints {best} is the best to fine-tune for {aim}{_ahead(entry)}."
    if row.rank == 1 and row.tied:
        return (
            f"Of {entry.ranked} checkpoints one of the {entry.first} best to fine-tune for {aim}, "
            f"which are not told apart.{_measured(entry)}"
        )
    if row.rank == 1:
        return f"Of {entry.ranked} checkpoints the best to fine-tune for {aim}{_ahead(entry)}.{_measured(entry)}"
    place = f"{format_rank(row).lstrip('=')} of {entry.ranked} checkpoints"
    return f"Rank {place} to fine-tune for {aim}; the best is {_linked(entry.top[0])}.{_measured(entry)}"


def _ahead(entry: Entry) -> str:
    lead = entry.judgement.lead
    return f", {lead} of the second" if lead in ("ahead", "clearly ahead") else ""


def _linked(row: Row) -> str:
    return _repo_link(row.checkpoint, "model", on_hub=is_commit(row.revision))


def _measured(entry: Entry) -> str:
    """Return what fine-tuning measured of the card's checkpoint, as a further sentence; empty where it was not."""
    result = entry.row.fine_tuned if entry.row else None
    if result is None or result.value is None:
        return ""
    suffix = _baseline(result) if is_above_baseline(result) is False else ""
    return f" Fine-tuned, it has {markdown_text(measured_in_words(result))} on test rows{suffix}."


def _baseline(result: FineTuned) -> str:
    """Return how a fine-tuned score compares with the baseline, in Markdown; empty without a baseline."""
    if result.baseline is None:
        return ""
    scored = markdown_text(f"{result.baseline.name}: {format_measured(result.metric, result.baseline.value)}")
    return f", {'' if is_above_baseline(result) else 'no '}better than the baseline ({scored})"


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
        measured=lambda result: f"{metric_title(result.metric)} {format_finetuned(result)}",
        baseline=_baseline,
        title=_title,
        cell=_cell,
        how_to_read=_how_to_read,
        summaries_of_runs=summaries_of_runs,
        baselines=baselines_in_words,
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
    return f"[{markdown_text(name)}]({hub.repo_url(name, kind)})"


def _space_link(id: str) -> str:
    return f"[{markdown_text(id)}]({hub.repo_url(id, 'space')})" if _HUB_ID.fullmatch(id) else _code_span(id)


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


def _columns(about: CardKind, entry: Entry) -> list[TableColumn]:
    """Return the columns that follow the rank and the checkpoint; a model's card has the row of its checkpoint only."""
    ranking = msgspec.structs.replace(entry.ranking, estimators=entry.estimators)
    if about == "dataset":
        return [column for column in columns_of(ranking, "dataset card") if column not in IDENTITY]
    shown = msgspec.structs.replace(ranking, rows=(entry.row,)) if entry.row else ranking
    return [
        column
        for columns, of_rows in ((score_columns(entry.estimators, (), ranking), ranking), (COLUMNS, shown))
        for column in columns
        if "model card" in column.tables and column.applies(of_rows, "model card")
    ]


def _how_to_read(entry: Entry) -> str:
    """Return what the numbers of the first column are."""
    shown = ScoreFormatter(entry.ranking, entry.ranking.estimators[0])
    direction = "" if shown.explains else f" ({shown.quantity.direction})"
    return f"{shown.title}{direction}: {shown.quantity.help}".rstrip(": ")


def _chart(entry: Entry) -> str:
    """Return a chart in text: a line a checkpoint, with a dot at its first score and a bar of two standard errors.

    The axis runs from the lowest to the highest value shown. The card's checkpoint is marked.
    """
    from rich.cells import cell_len, set_cell_size

    rows, estimator = entry.ranking.rows, entry.ranking.estimators[0]
    shown = ScoreFormatter(entry.ranking, estimator)
    scores = [shown.number(row.scores[estimator]) for row in rows]
    ends = [score.value + sign * _error_reach(score) for score in scores for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    names = [_shortened(single_line(row.checkpoint)) for row in rows]
    ranks = [format_rank(row) for row in rows]
    name_width, rank_width = max(map(cell_len, names)), max(map(len, ranks))
    left, right = shown.format(low), shown.format(high)
    margin = " " * (rank_width + 2 + name_width + 2)
    lines = [margin + left + shown.title.center(_AXIS_WIDTH - len(left) - len(right)) + right]
    for row, score, name, rank in zip(rows, scores, names, ranks, strict=True):
        mark = " ◀" if row.checkpoint == entry.checkpoint else ""
        lines.append(f"{rank:>{rank_width}}  {set_cell_size(name, name_width)}  {_chart_line(score, low, high)}{mark}")
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
