"""Render entries as Markdown. An entry is a line of a model card's table, or a block of a dataset card.

Text from the Hub is escaped: it cannot format, link or mention anything in a README.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hf_emms import hub
from hf_emms.errors import EmmsError, one_line
from hf_emms.formatting import MISSING, pluralize
from hf_emms.publish import wheel
from hf_emms.publish.card_entries import Entry, checkpoint_entry, dataset_entry
from hf_emms.publish.readme import END, START, section_text
from hf_emms.ranking import FineTuned, Ranking, Row, is_commit
from hf_emms.ranking.advice import advised_verb, baselines_in_words, caveats_in_words, certainty_in_words
from hf_emms.ranking.columns import (
    IDENTITY,
    ScoreFormatter,
    TableColumn,
    columns_of,
    format_finetuned,
    format_measured,
    format_rank,
    metric_title,
    published_in_words,
    single_line,
    summaries_of_runs,
)
from hf_emms.ranking.expected_gap import CALIBRATIONS, gap_in_words
from hf_emms.ranking.text import missing_text
from hf_emms.ranking.verdict import pick, verdict
from hf_emms.texts import install_command, redacted

if TYPE_CHECKING:
    import jinja2

CardKind = Literal["model", "dataset"]

# Entries with their keys, as the templates write them. An update replaces the entry with the same key.
_ENTRIES: dict[CardKind, re.Pattern[str]] = {
    "model": re.compile(r"^\| .*<!-- hf-emms:entry ([0-9a-f]{16}) --> \|", re.MULTILINE),
    "dataset": re.compile(
        r"^<!-- hf-emms:entry ([0-9a-f]{16}) -->.*?(?=^<!-- hf-emms:entry|\Z)", re.MULTILINE | re.DOTALL
    ),
}

# A word joiner is invisible. It prevents "@name" from being a mention and "www." from being a link.
_JOINER = "&#8288;"
_PUNCTUATION = re.compile(r"([\\|`*_<>\[\]~$#!&])")
_CALLS = (("@", f"@{_JOINER}"), ("://", f":{_JOINER}//"), ("www.", f"www{_JOINER}."))
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


def card(ranking: Ranking, checkpoint: str | None = None) -> str:
    """Return the section of `Ranking.card`."""
    if checkpoint is None:
        return card_section("dataset", [dataset_entry(ranking)], ranking.dataset_id)
    entry = checkpoint_entry(ranking, checkpoint)
    return card_section("model", [entry], ranking.row(checkpoint).checkpoint)


def card_section(
    about: CardKind, entries: Iterable[Entry], repo_id: str, readme: bytes = b"", results: str | None = None
) -> str:
    """Return the section of a README with entries. Its other entries stay.

    Args:
        about: Kind of the README's repository.
        entries: The entries to add or replace.
        repo_id: The repository.
        readme: Its README.
        results: The results dataset from which readers install hf-emms.
    """
    texts = {match[1]: match[0].strip() for match in _ENTRIES[about].finditer(section_text(readme))}
    for entry in entries:
        texts[entry.key] = _text_of(about, entry, wheel.install_from_hub(results))
    body = rendered_template(
        f"{about}_card_section.md.jinja",
        entries=texts.values(),
        repo_id=repo_id,
        project=wheel.project_url(results),
        budget=CALIBRATIONS["quick"].budget,
    )
    # The empty line ends an HTML block above the section, such as </div>.
    return f"{START}\n\n{body.strip()}\n{END}\n"


def _text_of(about: CardKind, entry: Entry, install: str) -> str:
    return rendered_template(f"{about}_card_entry.md.jinja", entry=entry, install=install).strip("\n")


def _sentence(entry: Entry) -> str:
    """Return the first sentence of a dataset card's entry: the best checkpoint."""
    ranking, judgment = entry.ranking, entry.verdict
    on_hub = is_commit(ranking.dataset_revision)
    aim = f"{_repo_link(ranking.dataset_id, 'dataset', on_hub=on_hub)} ({markdown_text(ranking.task)})"
    if reason := _no_rank(entry):
        return f"None of {entry.ranked} checkpoints {reason} for {aim}."
    if judgment.outcome == "no better than the baseline":
        return f"After fine-tuning, no checkpoint is better than the baseline for {aim}."
    best = pick(ranking) or entry.top[0]
    link = _repo_link(best.checkpoint, "model", on_hub=is_commit(best.revision))
    if best.fine_tuned is not None and judgment.outcome is not None:
        near, others = len(judgment.near), len(ranking.fine_tuned) - 1
        place = (
            f", {f'one of the {near} best' if near > 1 else 'the best'} of {others + 1} checkpoints" if others else ""
        )
        return f"After fine-tuning for {aim}, {link} has {markdown_text(_with_baseline(best.fine_tuned))}{place}."
    checkpoints = f"of {entry.ranked} checkpoints to {advised_verb(ranking).lower()} for {aim}"
    if judgment.certainty == "tie":
        return f"{link} is one of the {len(judgment.first)} best {checkpoints}. They are tied."
    return f"{link} is the first {checkpoints}."


def _no_rank(entry: Entry) -> str:
    """Return why the ranks of an entry have no meaning. Empty if they have one."""
    if entry.verdict.outcome is not None:
        return ""
    reasons = {"nothing explained": "has features that predict the labels", "no head": "can be fine-tuned"}
    return reasons.get(entry.verdict.certainty, "")


def _explanation(ranking: Ranking) -> str:
    """Return the certainty of the first checkpoint and all caveats in sentences."""
    certainty = certainty_in_words(ranking)
    return " ".join([f"{certainty}."] * bool(certainty) + caveats_in_words(verdict(ranking)))


def _certainty(entry: Entry) -> str:
    """Return the certainty and the codes of the caveats if a model card's checkpoint is the recommended one."""
    decision = entry.verdict
    if entry.row is None or entry.row.checkpoint != decision.checkpoint:
        return ""
    return ", ".join(["", decision.certainty, *(note.code.replace("-", " ") for note in decision.caveats)])


def _with_baseline(result: FineTuned) -> str:
    """Return a fine-tuned score with its error and the baseline's score: "accuracy 91.2 ± 0.4 (baseline: 33.3)"."""
    text = f"{metric_title(result.metric)} {format_finetuned(result)}"
    if result.baseline is None:
        return text
    return f"{text} (baseline: {format_measured(result.metric, result.baseline.value)})"


def rendered_template(name: str, **values: Any) -> str:
    """Render a template. Its filters escape text from outside.

    Raises:
        EmmsError: The template is missing, or lacks a value.
    """
    import jinja2

    try:
        return redacted(_environment().get_template(name).render(values))
    except jinja2.TemplateError as error:
        problem = f"the card cannot be rendered: {one_line(error)}"
        raise EmmsError("card-not-rendered", problem, install_command()) from error


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
        code=_code_span,
        block=_code_block,
        repo=_repo_link,
        is_commit=is_commit,
        discussions=_discussions,
        count="{:,}".format,
        rank=format_rank,
        with_baseline=_with_baseline,
        sentence=_sentence,
        no_rank=_no_rank,
        explanation=_explanation,
        certainty=_certainty,
        score=_score,
        stake=gap_in_words,
        size_and_date=_size_and_date,
        columns=_columns,
        cell=_cell,
        how_to_read=_how_to_read,
        summaries_of_runs=summaries_of_runs,
        baselines=baselines_in_words,
        published=published_in_words,
        missing=missing_text,
    )
    return environment


def markdown_text(value: Any) -> str:
    """Escape a value for a line of Markdown or a table cell."""
    return _without_calls(_PUNCTUATION.sub(r"\\\1", single_line(value)))


def _code_span(value: Any) -> str:
    """Return a code span that backticks in the text cannot end, and that is safe in a table."""
    line = _no_comment(single_line(value)).replace("|", "\N{BROKEN BAR}")
    fence = "`" * (_longest_backticks(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _code_block(value: str, language: str = "") -> str:
    """Return a fenced code block that the text cannot end."""
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


def _discussions(id: str) -> str:
    """Return the address of a model's discussions; empty for a folder."""
    name = id.partition("@")[0]
    return f"{hub.repo_url(name, 'model')}/discussions" if _HUB_ID.fullmatch(name) else ""


def _without_calls(line: str) -> str:
    for call, harmless in _CALLS:
        line = line.replace(call, harmless)
    return line


def _no_comment(line: str) -> str:
    return line.replace("<!--", "<! --")


def _cell(column: TableColumn, ranking: Ranking, row: Row) -> str:
    """Return the text of a table cell that keeps a number and its error on one line."""
    return markdown_text(column.text(ranking, row)).replace(" ", "\u00a0")


def _columns(entry: Entry) -> list[TableColumn]:
    """Return the columns of a dataset card after rank and checkpoint."""
    ranking = msgspec.structs.replace(entry.ranking, estimators=entry.estimators)
    return [column for column in columns_of(ranking, "dataset card") if column not in IDENTITY]


def _score(entry: Entry) -> str:
    """Return the estimate of a model card's checkpoint with its unit."""
    estimator = entry.ranking.estimators[0]
    return ScoreFormatter(entry.ranking, estimator).sentence(entry.row.scores[estimator]) if entry.row else MISSING


def _size_and_date(ranking: Ranking) -> str:
    return f"{pluralize(ranking.n, 'row')}, {ranking.created[:10]}"


def _how_to_read(entry: Entry) -> str:
    """Explain the numbers of the first column."""
    shown = ScoreFormatter(entry.ranking, entry.ranking.estimators[0])
    direction = "" if shown.explains else f" ({shown.quantity.direction})"
    return f"{shown.title}{direction}: {shown.quantity.help}".rstrip(": ")
