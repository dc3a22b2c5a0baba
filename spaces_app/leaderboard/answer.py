"""The answer: which checkpoint to fine-tune, with a link to its page and code to copy."""

from __future__ import annotations

import shlex

from hf_emms.errors import format_count
from hf_emms.ranking import Ranking, Row, is_commit
from hf_emms.ranking.advice import (
    advice,
    baselines_in_words,
    caveats,
    finetuning_summary,
    recommendation,
)
from hf_emms.ranking.columns import ScoreFormatter
from hf_emms.ranking.verdict import comparable, pick, smallest_of, verdict
from leaderboard import markup
from leaderboard.compare import checkpoint_link
from leaderboard.lines import lines, matching, of_lines
from leaderboard.markup import escape
from leaderboard.selection import View, is_filtered, to_query, without_filters
from leaderboard.store import Snapshot

_MAX_NAMED = 2
_MAX_RANKED = 5
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


def answer(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Render the answer for the checkpoints that pass the filters, and their number."""
    if not is_filtered(view):
        more = advice(ranking)
        hint = [f"{more}."] if more and more != recommendation(ranking) else []
        beside = [*hint, *caveats(ranking), *baselines_in_words(ranking)]
        return f'<p class="answer">{_sentence(ranking, view)}</p>' + "".join(
            f'<p class="small">{escape(sentence)}</p>' for sentence in beside
        )
    passing = matching(lines(ranking, snapshot), view)
    clear = markup.view_link(to_query(without_filters(view)), "clear filters")
    count = f"{len(passing):,} of {len(ranking.rows):,} checkpoints pass the filters ({clear})."
    if not passing:
        return f'<p class="answer">{count}</p>'
    return f'<p class="answer">{_sentence(of_lines(ranking, passing), view)}</p><p class="small">{count}</p>'


def code(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Render code that loads, fine-tunes and ranks the recommended checkpoint; empty if it is not on the Hub."""
    passing = matching(lines(ranking, snapshot), view)
    row = pick(of_lines(ranking, passing))
    if row is None or not markup.is_id(row.checkpoint) or not is_commit(row.revision):
        return ""
    id = row.checkpoint.partition("@")[0]
    load = _LOAD.get(snapshot.facts_of(row).library or "", _LOAD_WITH_TRANSFORMERS)
    dataset = ranking.dataset_id if markup.is_id(ranking.dataset_id) else "./my-dataset"
    start = shlex.join(["hf-emms", "rank", "--dataset", dataset, "--task", ranking.task])
    rows = (line.row for line in passing)
    others = [other.checkpoint for other in rows if other.rank is not None and markup.is_id(other.checkpoint)]
    listed = [f"--checkpoint {shlex.quote(name)}" for name in others[:_MAX_RANKED]]
    return (
        '<details class="small"><summary>Code</summary>'
        + markup.command_box(load.format(id=id, revision=row.revision), "Load it")
        + markup.command_box(f"{start} --checkpoint {shlex.quote(row.checkpoint)} --confirm 1", "Fine-tune it")
        + markup.command_box(" \\\n  ".join([start, *listed]), "Rank it and the next ones yourself")
        + "</details>"
    )


def _sentence(ranking: Ranking, view: View) -> str:
    row = pick(ranking)
    if row is None:
        return escape(recommendation(ranking))
    if summary := finetuning_summary(ranking):
        return f"{_named(row, view)}. {escape(summary)}"
    estimator, judgment = ranking.estimators[0], verdict(ranking)
    shown = ScoreFormatter(ranking, estimator)
    start = f"Fine-tune {_named(row, view)}: {escape(shown.sentence(row.scores[estimator]))}"
    others = [other for other in ranking.rows_of(judgment.first) if other is not row]
    if others:
        choice = "; it is the smallest" if row.parameters is not None and row is smallest_of([row, *others]) else ""
        return f"{start}, tied with {_names(others, view)}{choice}."
    if judgment.lead == "alone":
        return f"Only {_named(row, view)} has a score."
    behind = comparable(ranking)[1]
    if judgment.lead == "race":
        return f"{start}; a race stopped {_names([behind], view)} and all others before it."
    return f"{start}, {judgment.lead} of {_names([behind], view)} ({shown.text(behind.scores[estimator])})."


def _named(row: Row, view: View) -> str:
    size = f" ({format_count(row.parameters)} parameters)" if row.parameters is not None else ""
    return checkpoint_link(row.checkpoint, view) + size


def _names(rows: list[Row], view: View) -> str:
    names = [checkpoint_link(row.checkpoint, view) for row in rows[:_MAX_NAMED]]
    more = len(rows) - len(names)
    return f"{', '.join(names)} and {more} more" if more else " and ".join(names)
