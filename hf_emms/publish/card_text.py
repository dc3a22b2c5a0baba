"""Entries → Markdown, through the templates: a block of the section for each, which an update keeps or replaces whole.

Text from the Hub is escaped for each place in a README: it can format nothing, link nowhere and mention nobody.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hf_emms import hub
from hf_emms.errors import MISSING, EmmsError, format_count, install_command, redacted, setting_ref
from hf_emms.publish import readme
from hf_emms.publish.card_entries import Entry, checkpoint_entry, dataset_entry, entries_of
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

# Of the section: 1 and 2 had all that it shows in the data comment, and a single table.
LAYOUT_VERSION = 3
ENTRY = "<!-- hf-emms:entry {} -->"
_ENTRY_MARKER = re.compile(r"^<!-- hf-emms:entry ([0-9a-f]{16}) -->[ \t]*$", re.MULTILINE)
_HEADINGS: dict[CardKind, str] = {"model": "## Transferability", "dataset": "## Checkpoints to start from"}
_MAX_DATA = 1000

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
        return card_section("dataset", [block_of("dataset", dataset_entry(ranking, leaderboard=leaderboard))])
    entry = checkpoint_entry(ranking, checkpoint, leaderboard=leaderboard)
    return card_section("model", [block_of("model", entry)])


@dataclass(frozen=True)
class Block:
    """The Markdown of an entry.

    Attributes:
        key: of the entry.
        text: from behind its marker to the next.
        leaderboard: the Space (ORG/NAME) that it links to.
    """

    key: str
    text: str
    leaderboard: str | None = None


def block_of(about: CardKind, entry: Entry) -> Block:
    """Return the block of an entry."""
    columns = _columns(about, entry)
    controls = [title_of(name) for name in entry.estimators[1:] if name not in EMMS]
    if entry.ranking.has_mean_rank_elsewhere:
        controls.append("mean rank elsewhere (on other datasets, in per cent of the checkpoints there; low is good)")
    text = rendered_template(
        f"{about}_card_entry.md.jinja", entry=entry, columns=columns, controls=controls, sentence=sentence_of(entry)
    )
    return Block(entry.key, text.strip("\n"), entry.leaderboard)


def card_section(about: CardKind, blocks: Sequence[Block]) -> str:
    """Return the section of a card, from marker to marker; its data, in at most 1,000 characters, come last."""
    parts = [_HEADINGS[about], *(f"{ENTRY.format(block.key)}\n{block.text}" for block in blocks)]
    plain = [{"key": block.key} | ({"leaderboard": block.leaderboard} if block.leaderboard else {}) for block in blocks]
    data = _comment(about, plain)
    for entry in plain:
        if len(data) > _MAX_DATA:
            entry.pop("leaderboard", None)
            data = _comment(about, plain)
    body = "\n\n".join([*parts, redacted(data)])
    return f"{readme.START}\n{body}\n{readme.END}\n"


def _comment(about: CardKind, plain: Sequence[Mapping[str, str]]) -> str:
    return readme.data_comment({"version": LAYOUT_VERSION, "about": about, "entries": plain})


class _Head(msgspec.Struct):
    version: int
    about: str
    entries: list[Any]


def blocks_in(content: bytes, about: CardKind) -> list[Block]:
    """Return the blocks of a README's section; none without a section. Sections of earlier layouts are drawn anew.

    Raises:
        EmmsError: written by a newer version, for another kind of card, or damaged.
    """
    data = readme.section_data(content)
    if data is None:
        return []
    again = "remove the section between the markers; it is written anew then"
    try:
        head = msgspec.convert(data, _Head)
        if head.version > LAYOUT_VERSION:
            raise EmmsError(
                f"the card's section was written by a newer hf_emms (layout {head.version}; this one knows "
                f"{LAYOUT_VERSION})",
                "install a newer hf-emms",
            )
        if head.about != about:
            raise EmmsError(f"the section of this {about} card was written for a {head.about} card", again)
        if head.version < LAYOUT_VERSION:
            return [block_of(about, entry) for entry in entries_of(head.entries, about)]
        leaderboards = {entry["key"]: entry.get("leaderboard") for entry in head.entries}
        texts = _texts_in(content)
        if list(texts) != list(leaderboards):
            raise msgspec.ValidationError("its entries are not those that its data name")
        return [Block(key, text, leaderboards[key]) for key, text in texts.items()]
    except (msgspec.ValidationError, LookupError, TypeError, AttributeError) as error:
        raise EmmsError(f"the data of the card's section is damaged: {error}", again) from error


def _texts_in(content: bytes) -> dict[str, str]:
    """Return key → text of the blocks of a README's section."""
    text = content.decode().replace("\r\n", "\n")
    start, end = text.index(readme.START), text.index(readme.END)
    _, *pieces = _ENTRY_MARKER.split(text[start : text.rindex(readme.DATA_START, start, end)])
    keys, blocks = pieces[::2], pieces[1::2]
    if len(set(keys)) < len(keys):
        raise msgspec.ValidationError("an entry stands twice")
    return {key: block.strip("\n") for key, block in zip(keys, blocks, strict=True)}


def with_block(blocks: Sequence[Block], about: CardKind, entry: Entry) -> list[Block]:
    """Return the blocks with that of an entry, which replaces its predecessor or follows the others."""
    before = next((block for block in blocks if block.key == entry.key), None)
    if before is None:
        return [*blocks, block_of(about, entry)]
    # A leaderboard that was named stays until another is named.
    entry = msgspec.structs.replace(entry, leaderboard=entry.leaderboard or before.leaderboard)
    return [block_of(about, entry) if block is before else block for block in blocks]


def sentence_of(entry: Entry) -> str:
    """Return in a sentence of Markdown what a checkpoint is good for, or which checkpoint a dataset asks for."""
    ranking, row = entry.ranking, entry.row
    aim = f"{_repo_link(ranking.dataset_id, 'dataset', on_hub=is_commit(ranking.dataset_revision))}"
    aim += f" ({markdown_text(ranking.task)})"
    lead = entry.judgement.lead if entry.judgement else None
    if lead in ("nothing explained", "no head") and not any(other.fine_tuned for other in ranking.rows):
        reason = "can be fine-tuned" if lead == "no head" else "has features that predict the labels"
        return f"None of {entry.ranked} checkpoints {reason} for {aim}."
    if entry.judgement and entry.judgement.outcome == "no better than the baseline":
        return f"Fine-tuning taught no checkpoint more than the baseline for {aim}.{_measured(entry)}"
    shared = entry.first or sum(other.rank == 1 for other in entry.top)
    if row is None:
        best = _linked(entry.top[0])
        if shared > 1:
            return f"Of {entry.ranked} checkpoints {best} is one of {shared} that share the first rank for {aim}."
        return f"Of {entry.ranked} checkpoints {best} is the best to fine-tune for {aim}{_ahead(entry)}."
    if row.rank == 1 and row.tied:
        return (
            f"Of {entry.ranked} checkpoints one of the {shared} best to fine-tune for {aim}, which are not told apart."
            + _measured(entry)
        )
    if row.rank == 1:
        return f"Of {entry.ranked} checkpoints the best to fine-tune for {aim}{_ahead(entry)}.{_measured(entry)}"
    place = f"{format_rank(row).lstrip('=')} of {entry.ranked} checkpoints"
    return f"Rank {place} to fine-tune for {aim}; the best is {_linked(entry.top[0])}.{_measured(entry)}"


def _ahead(entry: Entry) -> str:
    lead = entry.judgement.lead if entry.judgement else ""
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
    rows, estimator = entry.ranking.rows, entry.ranking.estimators[0]
    shown = ScoreFormatter(entry.ranking, estimator)
    scores = [shown.number(row.scores[estimator]) for row in rows]
    ends = [score.value + sign * _error_reach(score) for score in scores for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    names = [_shortened(single_line(row.checkpoint)) for row in rows]
    ranks = [format_rank(row) for row in rows]
    name_width, rank_width = max(map(_display_width, names)), max(map(len, ranks))
    left, right = shown.format(low), shown.format(high)
    margin = " " * (rank_width + 2 + name_width + 2)
    lines = [margin + left + shown.title.center(_AXIS_WIDTH - len(left) - len(right)) + right]
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
