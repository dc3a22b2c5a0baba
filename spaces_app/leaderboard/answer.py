"""The answer: which checkpoint to fine-tune, with a link to its page and code to copy."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from hf_emms.options import to_flags
from hf_emms.ranking import Ranking, Row, is_commit
from hf_emms.ranking.advice import advice, advised_verb, baselines_in_words, recommendation
from hf_emms.ranking.columns import ScoreFormatter
from hf_emms.ranking.expected_gap import gaps_in_words
from hf_emms.ranking.verdict import pick, preferences
from leaderboard import markup, values
from leaderboard.facts import Facts
from leaderboard.lines import lines, matching, of_lines
from leaderboard.markup import Parts
from leaderboard.selection import View, checkpoint_link, is_filtered, to_query, without_filters
from leaderboard.store import Snapshot

_LOAD = {
    "timm": 'import timm\n\nmodel = timm.create_model("hf-hub:{id}", pretrained=True)',
    "sentence-transformers": (
        "from sentence_transformers import SentenceTransformer\n\n"
        'model = SentenceTransformer("{id}", revision="{revision}")'
    ),
}
_LOAD_WITH_TRANSFORMERS = (
    'from transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("{id}", revision="{revision}")'
)


def answer(view: View, ranking: Ranking, snapshot: Snapshot) -> Markup:
    """Render the answer for all checkpoints and the one for those that pass the filters; the view shows one of them."""
    more = advice(ranking)
    hint = [f"{more}."] if more and more != recommendation(ranking) else []
    return markup.draw(
        "answer.html",
        sentence=sentence(ranking, view),
        verb=advised_verb(ranking),
        beside=[*hint, *gaps_in_words(ranking), *baselines_in_words(ranking)],
        is_filtered=is_filtered(view),
        clear=to_query(without_filters(view)),
        total=len(ranking.rows),
        **(_of_filtered(view, ranking, snapshot) if is_filtered(view) else _UNFILTERED),
    )


def sentence(ranking: Ranking, view: View) -> Parts:
    """Return the recommendation, with a link to the page of the checkpoint to fine-tune."""
    text, row = recommendation(ranking), pick(ranking)
    if row is None:
        return text
    # Another checkpoint's name may begin with this one.
    parts = re.split(rf"(?<![\w./-]){re.escape(row.checkpoint)}(?![\w/@-]|\.\w)", text, maxsplit=1)
    return [parts[0], checkpoint_link(row.checkpoint, view), *parts[1:]]


def in_words(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Return the shown answer as a text, for previews."""
    if not is_filtered(view):
        return recommendation(ranking)
    found = _of_filtered(view, ranking, snapshot)
    start = f"{advised_verb(ranking)} {found['pick'].text}{found['said']}. " if found["pick"] else ""
    return f"{start}{found['passing']:,} of {len(ranking.rows):,} checkpoints pass the filters."


_UNFILTERED: dict[str, Any] = {"pick": None, "said": "", "tied": 0, "passing": 0}


def _of_filtered(view: View, ranking: Ranking, snapshot: Snapshot) -> dict[str, Any]:
    """Return what the answer for the checkpoints that pass the filters says; page.js fills in the same."""
    passing = matching(lines(ranking, snapshot), view)
    left = of_lines(ranking, passing)
    row = pick(left)
    if row is None:
        return _UNFILTERED | {"passing": len(passing)}
    preferred, estimator = next(each for each in preferences(left) if each.row is row), ranking.estimators[0]
    return {
        "pick": checkpoint_link(row.checkpoint, view),
        "said": values.said(estimator, preferred, ScoreFormatter(ranking, estimator)),
        "tied": 0 if preferred.is_measured else sum(other.rank == row.rank for other in left.rows) - 1,
        "passing": len(passing),
    }


def code(ranking: Ranking, row: Row, facts: Facts) -> list[tuple[str, str]]:
    """Return code that loads and fine-tunes a checkpoint, each with a title; empty if it is not on the Hub."""
    if not markup.is_id(row.checkpoint) or not is_commit(row.revision):
        return []
    load = _LOAD.get(facts.library or "", _LOAD_WITH_TRANSFORMERS)
    fine_tune = (f"Fine-tune it on {ranking.dataset}", f"{command(ranking, [row.checkpoint])} --confirm 1")
    return [
        ("Load it", load.format(id=row.checkpoint.partition("@")[0], revision=row.revision)),
        *([fine_tune] if advised_verb(ranking) == "Fine-tune" else []),
    ]


def command(ranking: Ranking, checkpoints: Sequence[str]) -> str:
    """Return the command that ranks checkpoints on the dataset of a ranking."""
    settings = {
        "dataset": ranking.dataset_id if markup.is_id(ranking.dataset_id) else "./my-dataset",
        **{name: getattr(ranking, name) or None for name in ("config", "split", "task")},
        "columns": ranking.columns,
    }
    words = ["hf-emms", "rank"]
    for flag, value in to_flags(settings):
        words += [flag] if value is None else [flag, value]
    listed = [f"--checkpoint {shlex.quote(name)}" for name in checkpoints if markup.is_id(name)]
    return (" \\\n  " if len(listed) > 1 else " ").join([shlex.join(words), *listed])
