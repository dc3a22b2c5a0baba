"""Entries → Markdown, through the templates.

Text from the Hub is escaped for each place in a README: it can format nothing, link nowhere and mention nobody.
"""

from __future__ import annotations

import html as _html
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms import hub
from hf_emms.errors import redacted
from hf_emms.formatting import format_count
from hf_emms.publish.cards import splice
from hf_emms.publish.cards.entries import Entry, of_checkpoint, of_dataset, packed
from hf_emms.publish.wheel import INSTALL
from hf_emms.ranking.records import EMMS, Ranking, Score, is_commit
from hf_emms.ranking.text import number, one_line, percent, rank_of, title_of, with_error, with_spread

if TYPE_CHECKING:
    import jinja2


# A word joiner: invisible, and what keeps "@name" from being a mention and "www." from being a link.
_JOINER = "&#8288;"
_PUNCTUATION = re.compile(r"([\\|`*_<>\[\]~$#!&])")
_CALLS = (("@", f"@{_JOINER}"), ("://", f":{_JOINER}//"), ("www.", f"www{_JOINER}."))
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)


def text(value: Any) -> str:
    """For a line of Markdown or a cell of a table."""
    escaped = _PUNCTUATION.sub(r"\\\1", one_line(value))
    return _without_calls(escaped)


def html(value: Any) -> str:
    """For the inside of an HTML element."""
    return _without_calls(_html.escape(one_line(value)))


def code(value: Any) -> str:
    """A code span that ends where it should, whatever backticks the text has; safe in a table."""
    line = _no_comment(one_line(value)).replace("|", "\N{BROKEN BAR}")
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def block(value: str, language: str = "") -> str:
    """A fenced code block that nothing in the text can end."""
    lines = "\n".join(_no_comment(line) for line in value.splitlines())
    longest = max((len(run) for run in re.findall("`+", lines)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{lines}\n{fence}"


def repo(id: str, kind: hub.Kind, *, on_hub: bool) -> str:
    """A repository's name, as a link to its page where it is one of the Hub."""
    name = id.partition("@")[0]
    if not on_hub or not _HUB_ID.fullmatch(name):
        return code(id)
    return f"[{text(name)}]({hub.page(name, kind)})"


def space(id: str) -> str:
    """A Space as a link."""
    return f"[{text(id)}]({hub.page(id, 'space')})" if _HUB_ID.fullmatch(id) else code(id)


def _without_calls(line: str) -> str:
    for call, harmless in _CALLS:
        line = line.replace(call, harmless)
    return line


def _no_comment(line: str) -> str:
    return line.replace("<!--", "<! --")


_WIDTH = 36
_NAME = 40


def chart(entry: Entry) -> str:
    """One line a checkpoint: its rank, its name, a dot at its first score and a bar of two standard errors around it.

    The axis runs from the lowest to the highest value shown; scores have no zero that would mean something. The card's
    checkpoint is marked.
    """
    rows, estimator = entry.ranking.rows, entry.ranking.estimators[0]
    scores = [row.scores[estimator] for row in rows]
    ends = [score.value + sign * _reach(score) for score in scores for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    names = [_fitted(one_line(row.checkpoint)) for row in rows]
    ranks = [rank_of(row) for row in rows]
    name_width, rank_width = max(map(_columns, names)), max(map(len, ranks))
    left, right = number(low), number(high)
    margin = " " * (rank_width + 2 + name_width + 2)
    lines = [margin + left + title_of(estimator).center(max(_WIDTH - len(left) - len(right), 0)) + right]
    for row, score, name, rank in zip(rows, scores, names, ranks, strict=True):
        mark = " ◀" if row.checkpoint == entry.checkpoint else ""
        padded = name + " " * (name_width - _columns(name))
        lines.append(f"{rank:>{rank_width}}  {padded}  {_line(score, low, high)}{mark}")
    return "\n".join(line.rstrip() for line in lines)


def _reach(score: Score) -> float:
    return 2 * (score.stderr or 0.0)


def _line(score: Score, low: float, high: float) -> str:
    scale = (_WIDTH - 1) / (high - low) if high > low else 0.0
    dot = round((score.value - low) * scale) if scale else _WIDTH // 2
    arm = round(_reach(score) * scale)
    cells = ["─" if abs(position - dot) <= arm else " " for position in range(_WIDTH)]
    cells[dot] = "●"
    return "".join(cells)


def _fitted(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME // 2 - 1]}…{name[-_NAME // 2 :]}"


def _columns(name: str) -> int:
    """The width of a name in a monospaced font."""
    if name.isascii():
        return len(name)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in name)


def render_section(ranking: Ranking, checkpoint: str, *, leaderboard: str | None = None) -> str:
    """The section of a model card with one ranking only.

    Args:
        ranking: the ranking that holds the checkpoint.
        checkpoint: its id in the ranking.
        leaderboard: the Space (ORG/NAME) that shows the whole ranking.

    Returns:
        Markdown between the markers, ending with a line break.

    Raises:
        EmmsError: the ranking doesn't hold the checkpoint, or has no score for it.
    """
    return model_section([of_checkpoint(ranking, checkpoint, leaderboard=leaderboard)])


def render_dataset_section(ranking: Ranking, *, leaderboard: str | None = None) -> str:
    """The section of a dataset card with one ranking only; see `render_section`."""
    return dataset_section([of_dataset(ranking, leaderboard=leaderboard)])


def model_section(entries: Sequence[Entry]) -> str:
    """The section of a model card: one table with a row for each dataset, and the details of each."""
    return _section("model_card_section.md.jinja", "model", entries)


def dataset_section(entries: Sequence[Entry]) -> str:
    """The section of a dataset card: the best checkpoints for each config, split and task."""
    return _section("dataset_card_section.md.jinja", "dataset", entries)


def rendered_template(name: str, **values: Any) -> str:
    """One of our templates with its values; what comes from outside passes its filters."""
    return redacted(_environment().get_template(name).render(values))


def _section(template: str, about: str, entries: Sequence[Entry]) -> str:
    estimators = tuple(dict.fromkeys(name for entry in entries for name in entry.estimators))
    controls = [text(title_of(name)) for name in estimators if name not in EMMS]
    if any(entry.ranking.has_elsewhere for entry in entries):
        controls.append("elsewhere (mean rank on other datasets, in per cent of the checkpoints there; low is good)")
    body = rendered_template(template, entries=entries, estimators=estimators, controls=controls).strip("\n")
    data = redacted(splice.with_data(packed(tuple(entries), about)))
    return f"{splice.START}\n{data}\n\n{body}\n\n{splice.END}\n"


def _score(score: Score | None, error: bool) -> str:
    """Spaces that do not break: a narrow table cell keeps the number and its error together."""
    return with_error(score).replace(" ", "\u00a0") if error or score is None else number(score.value)


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_template_folders()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        auto_reload=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["install"] = INSTALL
    environment.filters.update(
        md=text,
        html=html,
        code=code,
        block=block,
        repo=repo,
        is_commit=is_commit,
        space=space,
        count="{:,}".format,
        rank=rank_of,
        spread=with_spread,
        percent=percent,
        score=_score,
        number=number,
        size=format_count,
        title_of=title_of,
        chart=chart,
    )
    return environment


def _template_folders() -> list[Path]:
    """Inside the installed package; in a checkout they are next to it."""
    package = Path(str(resources.files("hf_emms")))
    return [package / "templates", package.parent / "templates"]
