"""The answer: which checkpoint to fine-tune, with a link to its page and code to copy."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from markupsafe import Markup

from hf_emms.formatting import format_count
from hf_emms.options import to_flags
from hf_emms.ranking import Ranking, Row, is_commit
from hf_emms.ranking.advice import advice, advised_verb, baselines_in_words, recommendation
from hf_emms.ranking.columns import ScoreFormatter, measured_in_words
from hf_emms.ranking.expected_gap import gaps_in_words
from hf_emms.ranking.training_cost import cost_in_words
from hf_emms.ranking.verdict import Verdict, of_checkpoints, pick, preferences, verdict
from leaderboard import markup
from leaderboard.facts import Facts
from leaderboard.lines import Line, lines, matching, of_lines
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


# Of a page without a server.
_MOST_ANSWERS = 100
# Characters of an answer; what exceeds them folds.
MOST_CHARACTERS = 300
_SEPARATOR = 3


def answer(view: View, ranking: Ranking, snapshot: Snapshot) -> Markup:
    """Render the answer for the checkpoints that pass the filters."""
    every = lines(ranking, snapshot)
    passing = matching(every, view)
    return _rendered(view, ranking, passing, of_lines(ranking, passing), is_filtered=is_filtered(view))


def _rendered(view: View, ranking: Ranking, passing: Sequence[Line], left: Ranking, *, is_filtered: bool) -> Markup:
    decision, row = verdict(left), pick(left)
    line = next((line for line in passing if row is not None and line.row.checkpoint == row.checkpoint), None)
    more, whole = advice(left), recommendation(left)
    verb, facts = advised_verb(ranking), [] if row is None or line is None else facts_in_words(ranking, line)
    length = len(f"{verb} {row.checkpoint}: {decision.certainty}") if row is not None else 0
    shown, folded = _within(MOST_CHARACTERS - length, facts, doubts(decision))
    return markup.draw(
        "answer.html",
        row=row,
        place=None if row is None else ranking.rows.index(ranking.row(row.checkpoint)),
        verb=verb,
        pick=None if row is None else checkpoint_link(row.checkpoint, view),
        decision=decision,
        facts=shown[0],
        doubts=shown[1],
        details=[whole, *folded, *([f"{more}."] if more and more != whole else []), *gaps_in_words(left)],
        baselines=baselines_in_words(ranking),
        is_filtered=is_filtered,
        passing=len(passing),
        total=len(ranking.rows),
        clear=to_query(without_filters(view)),
    )


def _within(most: int, *groups: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """Divide texts into those that a number of characters allows, in groups, and the first that it does not and all
    that follow.
    """
    shown, folded = [], []
    for texts in groups:
        shown.append([])
        for text in texts:
            most -= len(text) + _SEPARATOR
            (folded if most < 0 or folded else shown[-1]).append(text)
    return shown, folded


def facts_in_words(ranking: Ranking, line: Line) -> list[str]:
    """Return the size and license of a checkpoint, its score, and what fine-tuning it costs."""
    row, estimator = line.row, ranking.estimators[0]
    score = "" if row.fine_tuned is None or row.fine_tuned.value is None else measured_in_words(row.fine_tuned)
    if not score and estimator in row.scores:
        shown = ScoreFormatter(ranking, estimator)
        score = f"{shown.title} {shown.text(row.scores[estimator])}"
    size = f"{format_count(row.parameters)} parameters" if row.parameters is not None else ""
    license = line.facts.license or "license unknown"
    return [text for text in (score, size, license, cost_in_words(ranking, row)) if text]


def doubts(decision: Verdict) -> list[str]:
    """Return what could change a verdict: the other checkpoints that could win, and the codes of all caveats."""
    rivals = decision.rivals
    others = f" and {len(rivals) - 1:,} more" if len(rivals) > 1 else ""
    codes = [note.code.replace("-", " ") for note in decision.caveats]
    return [*([f"{rivals[0]}{others} could also win"] if rivals else []), *codes]


def without_server(view: View, ranking: Ranking, snapshot: Snapshot) -> list[tuple[int, Markup]]:
    """Return the answers between which a page without a server chooses, with the places of their checkpoints.

    Each is the answer for a checkpoint and all that follow it in the order of preference: the answer if the filters
    leave this checkpoint first.
    """
    every = {line.row.checkpoint: (place, line) for place, line in enumerate(lines(ranking, snapshot))}
    names = [each.row.checkpoint for each in preferences(ranking)]
    answers = []
    for first, name in enumerate(names[:_MOST_ANSWERS]):
        left = of_checkpoints(ranking, names[first:])
        some = [every[other][1] for other in names[first:]]
        answers.append((every[name][0], _rendered(view, ranking, some, left, is_filtered=True)))
    return answers


def in_words(view: View, ranking: Ranking, snapshot: Snapshot) -> str:
    """Return the shown answer as a text, for previews."""
    passing = matching(lines(ranking, snapshot), view)
    text = recommendation(of_lines(ranking, passing)) if passing else "No checkpoint passes the filters."
    count = f" {len(passing):,} of {len(ranking.rows):,} checkpoints pass the filters." * is_filtered(view)
    return text + count


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
