"""Text from the Hub, as it may stand in a README: it can format nothing, link nowhere and call nobody.

A small chart in plain text: where each checkpoint's score lies, with its error.
Entries → Markdown, through the templates.
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

from hf_emms import views
from hf_emms.cards import entries as records
from hf_emms.cards import splice
from hf_emms.cards.entries import Entry, Place, Score
from hf_emms.errors import redacted
from hf_emms.formatting import format_count
from hf_emms.ranking import EMMS, Ranking
from hf_emms.views import number, one_line, title_of

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


def repo(id: str, kind: str, *, on_hub: bool) -> str:
    """A repository's name, as a link to its page where it is one of the Hub."""
    name = id.partition("@")[0]
    if not on_hub or not _HUB_ID.fullmatch(name):
        return code(id)
    return f"[{text(name)}](https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{name})"


def space(id: str) -> str:
    """A Space as a link."""
    return f"[{text(id)}](https://huggingface.co/spaces/{id})" if _HUB_ID.fullmatch(id) else code(id)


def _without_calls(line: str) -> str:
    for call, harmless in _CALLS:
        line = line.replace(call, harmless)
    return line


def _no_comment(line: str) -> str:
    return line.replace("<!--", "<! --")


_WIDTH = 36
_NAME = 40


def chart(places: Sequence[Place], own: Place | None = None) -> str:
    """One line a checkpoint: its rank, its name, a dot at its score and a bar of two standard errors around.

    The axis runs from the lowest to the highest value shown; scores have no zero that would mean something.

    Args:
        places: the lines, best first.
        own: the checkpoint that the card is about; marked, and added below where it is not among `places`.
    """
    shown = list(places)
    if own is not None and all(place.checkpoint != own.checkpoint for place in shown):
        shown.append(own)
    ends = [place.score.value + sign * _reach(place) for place in shown for sign in (-1, 1)]
    low, high = min(ends), max(ends)
    names = [_fitted(one_line(place.checkpoint)) for place in shown]
    ranks = [f"={place.rank}" if place.tied else str(place.rank) for place in shown]
    name_width, rank_width = max(map(_columns, names)), max(map(len, ranks))
    left, right = number(low), number(high)
    title = title_of(shown[0].score.estimator)
    margin = " " * (rank_width + 2 + name_width + 2)
    lines = [margin + left + title.center(max(_WIDTH - len(left) - len(right), 0)) + right]
    for place, name, rank in zip(shown, names, ranks, strict=True):
        mark = " ◀" if own is not None and place.checkpoint == own.checkpoint else ""
        padded = name + " " * (name_width - _columns(name))
        lines.append(f"{rank:>{rank_width}}  {padded}  {_line(place, low, high)}{mark}")
    return "\n".join(line.rstrip() for line in lines)


def _reach(place: Place) -> float:
    return 2 * (place.score.stderr or 0.0)


def _line(place: Place, low: float, high: float) -> str:
    scale = (_WIDTH - 1) / (high - low) if high > low else 0.0
    dot = round((place.score.value - low) * scale) if scale else _WIDTH // 2
    arm = round(_reach(place) * scale)
    cells = ["─" if abs(position - dot) <= arm else " " for position in range(_WIDTH)]
    cells[dot] = "●"
    return "".join(cells)


def _fitted(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME // 2 - 1]}…{name[-_NAME // 2 :]}"


def _columns(name: str) -> int:
    """How wide a name stands in a monospaced font."""
    if name.isascii():
        return len(name)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in name)


def render_section(ranking: Ranking, checkpoint: str, *, leaderboard: str | None = None) -> str:
    """The section of a model card that tells of one ranking only.

    Args:
        ranking: the ranking that holds the checkpoint.
        checkpoint: its id in the ranking.
        leaderboard: the Space (ORG/NAME) that shows the whole ranking.

    Returns:
        Markdown between the markers, ending with a line break.

    Raises:
        EmmsError: the ranking doesn't hold the checkpoint, or has no score for it.
    """
    return model_section([records.of_checkpoint(ranking, checkpoint, leaderboard=leaderboard)])


def render_dataset_section(ranking: Ranking, *, leaderboard: str | None = None) -> str:
    """The section of a dataset card that tells of one ranking only; see `render_section`."""
    return dataset_section([records.of_dataset(ranking, leaderboard=leaderboard)])


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
    controls = [text(views.title_of(name)) for name in estimators if name not in EMMS]
    body = rendered_template(template, entries=entries, estimators=estimators, controls=controls).strip("\n")
    data = redacted(splice.with_data(records.packed(tuple(entries), about)))
    return f"{splice.START}\n{data}\n\n{body}\n{splice.END}\n"


def _score_of(place: Place, estimator: str) -> Score | None:
    return next((score for score in place.scores if score.estimator == estimator), None)


def _score(score: Score | None, error: bool) -> str:
    if score is None:
        return views.MISSING
    if not error:
        return views.number(score.value)
    # Spaces that do not break: a narrow table cell keeps the number and its error together.
    return views.number(score.value) + (f"\u00a0±\u00a0{score.stderr:.4f}" if score.stderr is not None else "")


def _rank(place: Place) -> str:
    return f"={place.rank}" if place.tied else str(place.rank)


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
    environment.filters.update(
        md=text,
        html=html,
        code=code,
        block=block,
        repo=repo,
        count="{:,}".format,
        rank=_rank,
        score=_score,
        score_of=_score_of,
        number=views.number,
        size=format_count,
        title_of=views.title_of,
        chart=chart,
        leaderboard=space,
    )
    return environment


def _template_folders() -> list[Path]:
    """Inside the installed package; in a checkout they lie beside it."""
    package = Path(str(resources.files("hf_emms")))
    return [package / "templates", package.parent / "templates"]
