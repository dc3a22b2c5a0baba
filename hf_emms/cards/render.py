"""Entries → Markdown, through the templates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms import ranking_views as views
from hf_emms import splice
from hf_emms.cards import entries as records
from hf_emms.cards import escape
from hf_emms.cards.chart import chart
from hf_emms.cards.entries import Entry, Place, Score
from hf_emms.errors import redacted
from hf_emms.ranking import EMMS, Ranking

if TYPE_CHECKING:
    import jinja2


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
    controls = [escape.text(views.title_of(name)) for name in estimators if name not in EMMS]
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
        md=escape.text,
        html=escape.html,
        code=escape.code,
        block=escape.block,
        repo=escape.repo,
        count="{:,}".format,
        rank=_rank,
        score=_score,
        score_of=_score_of,
        number=views.number,
        size=views.size,
        title_of=views.title_of,
        chart=chart,
        leaderboard=escape.space,
    )
    return environment


def _template_folders() -> list[Path]:
    """Inside the installed package; in a checkout they lie beside it."""
    package = Path(str(resources.files("hf_emms")))
    return [package / "templates", package.parent / "templates"]
