"""The answer: which checkpoint to fine-tune, with a link to its page and code to copy."""

from __future__ import annotations

import shlex

from markupsafe import Markup

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
from leaderboard.markup import Link, Parts
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


def answer(view: View, ranking: Ranking, snapshot: Snapshot) -> Markup:
    """Render the answer for the checkpoints that pass the filters, and their number."""
    if not is_filtered(view):
        more = advice(ranking)
        hint = [f"{more}."] if more and more != recommendation(ranking) else []
        beside = [*hint, *caveats(ranking), *baselines_in_words(ranking)]
        return markup.draw("answer.html", sentence=_sentence(ranking, view), beside=beside, filtered=None)
    passing = matching(lines(ranking, snapshot), view)
    return markup.draw(
        "answer.html",
        sentence=_sentence(of_lines(ranking, passing), view) if passing else "",
        beside=(),
        filtered=(len(passing), len(ranking.rows)),
        clear=to_query(without_filters(view)),
    )


def code(view: View, ranking: Ranking, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return code that loads, fine-tunes and ranks the recommended checkpoint, each with a title; empty if it is not
    on the Hub.
    """
    passing = matching(lines(ranking, snapshot), view)
    row = pick(of_lines(ranking, passing))
    if row is None or not markup.is_id(row.checkpoint) or not is_commit(row.revision):
        return []
    id = row.checkpoint.partition("@")[0]
    load = _LOAD.get(snapshot.facts_of(row).library or "", _LOAD_WITH_TRANSFORMERS)
    dataset = ranking.dataset_id if markup.is_id(ranking.dataset_id) else "./my-dataset"
    start = shlex.join(["hf-emms", "rank", "--dataset", dataset, "--task", ranking.task])
    rows = (line.row for line in passing)
    others = [other.checkpoint for other in rows if other.rank is not None and markup.is_id(other.checkpoint)]
    listed = [f"--checkpoint {shlex.quote(name)}" for name in others[:_MAX_RANKED]]
    return [
        ("Load it", load.format(id=id, revision=row.revision)),
        ("Fine-tune it", f"{start} --checkpoint {shlex.quote(row.checkpoint)} --confirm 1"),
        ("Rank it and the next ones yourself", " \\\n  ".join([start, *listed])),
    ]


def _sentence(ranking: Ranking, view: View) -> Parts:
    row = pick(ranking)
    if row is None:
        return recommendation(ranking)
    if summary := finetuning_summary(ranking):
        return [*_named(row, view), f". {summary}"]
    estimator, judgment = ranking.estimators[0], verdict(ranking)
    shown = ScoreFormatter(ranking, estimator)
    start = ["Fine-tune ", *_named(row, view), f": {shown.sentence(row.scores[estimator])}"]
    others = [other for other in ranking.rows_of(judgment.first) if other is not row]
    if others:
        choice = "; it is the smallest" if row.parameters is not None and row is smallest_of([row, *others]) else ""
        return [*start, ", tied with ", *_names(others, view), f"{choice}."]
    if judgment.lead == "alone":
        return ["Only ", *_named(row, view), " has a score."]
    behind = comparable(ranking)[1]
    if judgment.lead == "race":
        return [*start, "; a race stopped ", *_names([behind], view), " and all others before it."]
    text = shown.text(behind.scores[estimator])
    return [*start, f", {judgment.lead} of ", *_names([behind], view), f" ({text})."]


def _named(row: Row, view: View) -> list[str | Link]:
    size = f" ({format_count(row.parameters)} parameters)" if row.parameters is not None else ""
    return [checkpoint_link(row.checkpoint, view), size]


def _names(rows: list[Row], view: View) -> list[str | Link]:
    links = [checkpoint_link(row.checkpoint, view) for row in rows[:_MAX_NAMED]]
    if more := len(rows) - len(links):
        return [links[0], ", ", links[1], f" and {more} more"]
    return [links[0], " and ", links[1]] if len(links) > 1 else [*links]
