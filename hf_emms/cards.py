"""A ranking as a section of a model card. Strings in, strings out."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms import ranking_views as views
from hf_emms.ranking import Ranking

if TYPE_CHECKING:
    import jinja2

TOP_ROWS = 5


def render_section(ranking: Ranking, checkpoint: str, *, top: int = TOP_ROWS) -> str:
    """The section about one checkpoint, between the markers that let it be found and replaced.

    Args:
        ranking: the ranking that holds it.
        checkpoint: its id in the ranking.
        top: rows of the small table of the best checkpoints.

    Returns:
        Markdown, ending with a line break.

    Raises:
        EmmsError: the ranking doesn't hold the checkpoint.
    """
    row = ranking.row(checkpoint)
    score = row.scores.get("emms")
    ranked = sum(other.rank is not None for other in ranking.rows)
    shown = min(top, ranked)
    first = [other.checkpoint for other in ranking.rows[:shown]]
    template = _environment().get_template("model_card_section.md.jinja")
    return template.render(
        ranking=ranking,
        row=row,
        ranked=ranked,
        r2=score.details.get("r2") if score else None,
        weights=score.details.get("weights") if score else None,
        top=shown,
        top_table=views.to_markdown(ranking, top=shown),
        marker=marker(ranking),
        command=rank_command(ranking, tuple(dict.fromkeys((checkpoint, *first)))),
    )


def marker(ranking: Ranking) -> str:
    """What tells sections of one card apart: the dataset, and a digest of what makes scores comparable."""
    compared = [ranking.dataset_id, ranking.config, ranking.split, ranking.task]
    digest = hashlib.sha256(json.dumps(compared).encode()).hexdigest()
    # Two hyphens would end the HTML comment that the marker stands in.
    name = re.sub(r"-{2,}", "-", re.sub(r"[^\w./-]", "-", ranking.dataset_id))
    return f"{name} {digest[:12]}"


def rank_command(ranking: Ranking, checkpoints: Sequence[str]) -> str:
    """The command that scores some checkpoints of a ranking again, at the same revisions."""
    dataset = pinned(ranking.dataset_id, ranking.dataset_revision, unpinned=ranking.dataset)
    words = ["hf-emms", "rank", "--dataset", dataset, "--split", ranking.split, "--task", ranking.task]
    for role, column in sorted(ranking.columns.items()):
        words += [f"--{role}-column", column]
    words += ["--config", ranking.config] if ranking.config else []
    words += ["--max-samples", str(ranking.max_samples or 0), "--seed", str(ranking.seed)]
    words += ["--folds", str(ranking.folds)]
    words += ["--sampling", ranking.sampling] if ranking.sampling else []
    words += ["--captions", ranking.captions] if ranking.captions not in (None, "all") else []
    words += ["--prompt", ranking.prompt] if ranking.prompt else []
    for encoder in ranking.encoders:
        words += ["--encoder", pinned(encoder.id, encoder.revision)]
    for estimator in ranking.estimators:
        words += ["--estimator", estimator]
    for checkpoint in checkpoints:
        words += ["--checkpoint", pinned(checkpoint, ranking.row(checkpoint).revision)]
    # On one line each, so that no value can end the code block.
    lines = " ".join(shlex.quote(_no_comment(views.one_line(word))) for word in words)
    return re.sub(r" (?=--(encoder|estimator|checkpoint) )", " \\\n  ", lines)


def pinned(id: str, revision: str | None, *, unpinned: str | None = None) -> str:
    """``ORG/NAME@SHA`` where the revision is a commit; else the id (or `unpinned`) as it is."""
    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        return f"{id.partition('@')[0]}@{revision}"
    return unpinned or id


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_template_folders()),
        undefined=jinja2.StrictUndefined,
        autoescape=False,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        md=lambda text: views.escaped(_no_comment(views.one_line(text))),
        code=_code,
        count="{:,}".format,
        rank=views.rank_of,
        score=views.with_error,
        number=views.number,
        size=views.size,
        title_of=views.title_of,
    )
    return environment


def _template_folders() -> list[Path]:
    """Inside the installed package; in a checkout they lie beside it."""
    package = Path(str(resources.files("hf_emms")))
    return [package / "templates", package.parent / "templates"]


def _code(text: Any) -> str:
    """Text that can end neither the code span that it stands in nor the section."""
    return _no_comment(views.one_line(text)).replace("`", "'")


def _no_comment(text: str) -> str:
    return text.replace("<!--", "<! --")
