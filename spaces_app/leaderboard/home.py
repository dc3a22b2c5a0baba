"""The home page: a row for each dataset with the checkpoint to fine-tune, what it costs and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markupsafe import Markup

from hf_emms.formatting import MISSING, format_count
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.columns import ScoreFormatter, measured_in_words
from hf_emms.ranking.expected_gap import ExpectedGap, at_stake
from hf_emms.ranking.verdict import Verdict, verdict
from leaderboard import markup
from leaderboard.lines import alternatives, places
from leaderboard.markup import Link
from leaderboard.selection import View, checkpoint_link, label, to_query
from leaderboard.store import Entry, Snapshot

_MOST_NAMED = 5
_STAKE = "points of accuracy by which the second checkpoint is expected to trail the first after fine-tuning"


class Answer(NamedTuple):
    """A ranking, its verdict, the points at stake, and the words by which a search finds it."""

    entry: Entry
    judgment: Verdict
    stake: ExpectedGap | None
    text: str


def answers(snapshot: Snapshot) -> list[Answer]:
    """Return the answer of each ranking, by task and dataset."""
    if "answers" not in snapshot.memo:
        snapshot.memo["answers"] = [
            Answer(entry, verdict(entry.ranking), at_stake(entry.ranking), _searched(entry.ranking))
            for entry in snapshot.entries.values()
        ]
    shown: list[Answer] = snapshot.memo["answers"]
    return shown


def page(view: View, snapshot: Snapshot) -> Markup:
    """Render the datasets; the search hides those without its words in their own texts or names of checkpoints."""
    every, found = answers(snapshot), alternatives(view.q)
    rows, task, passing = [], None, 0
    for answer in every:
        ranking = answer.entry.ranking
        is_found = not found or any(all(_has(answer, word) for word in words) for words in found)
        passing += is_found
        starts = is_found and task is not None and task != ranking.task
        task = ranking.task if is_found else task
        rows.append((_shown(answer, view, snapshot), "band" if starts else "", not is_found))
    return markup.draw(
        "home.html",
        rows=rows,
        stake=_STAKE if any(answer.stake for answer in every) else "",
        data=_values(every),
        passing=passing,
        total=len(every),
        names=[checkpoint_link(name, View()) for name in _named(places(snapshot), found)],
    )


def _named(checkpoints: Iterable[str], found: Sequence[Sequence[str]]) -> list[str]:
    """Return the checkpoints that a search names, shortest name first; page.js does the same."""
    some = [name for name in checkpoints if any(all(word in name.lower() for word in words) for words in found)]
    return sorted(some, key=lambda name: (len(name), name))[:_MOST_NAMED]


@cache
def _words() -> dict[str, Any]:
    return yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"))


def task_name(task: str) -> str:
    """Return the plain name of a task, or else its id."""
    return task_names().get(task, task)


def task_names() -> dict[str, str]:
    """Return the ids of the tasks of hf_emms with their plain names, without an import of their code."""
    return _words()["tasks"]


def _searched(ranking: Ranking) -> str:
    """Return the texts of a ranking in lower case, with words of the same meaning."""
    names = (ranking.dataset, ranking.dataset_id, ranking.task, ranking.config or "", task_name(ranking.task))
    text = " ".join(names).lower()
    alike = [word for words in _words()["synonyms"] if any(word in text for word in words) for word in words]
    return " ".join([text, *alike])


def _has(answer: Answer, word: str) -> bool:
    return word in answer.text or any(word in row.checkpoint.lower() for row in answer.entry.ranking.rows)


def _values(every: list[Answer]) -> dict[str, Any]:
    """Return the texts that the browser searches, and checkpoint → places of its datasets."""
    datasets: dict[str, list[int]] = {}
    for place, answer in enumerate(every):
        for row in answer.entry.ranking.rows:
            datasets.setdefault(row.checkpoint, []).append(place)
    return {
        "orders": {"rank": [*range(len(every))]},
        "bands": [answer.entry.ranking.task for answer in every],
        "sizes": {},
        "parameters": [],
        "texts": [answer.text for answer in every],
        "checkpoints": datasets,
    }


def _shown(answer: Answer, view: View, snapshot: Snapshot) -> dict[str, Any]:
    """Return what a row shows of an answer."""
    ranking, best = answer.entry.ranking, answer.judgment.checkpoint
    there = replace(view, tab="rankings", q="", task=ranking.task, ranking=answer.entry.id)
    row = ranking.row(best) if best else None
    return {
        "dataset": (Link(label(answer.entry, snapshot), to_query(there), is_name=True), task_name(ranking.task)),
        "pick": (checkpoint_link(row.checkpoint, there), _score(ranking, row)) if row else MISSING,
        "sure": (answer.judgment.certainty, ", ".join(note.code.replace("-", " ") for note in answer.judgment.caveats)),
        "size": format_count(row.parameters) if row else MISSING,
        "license": (snapshot.facts_of(row).license if row else None) or MISSING,
        "stake": f"{answer.stake.points:.1f}" if answer.stake else MISSING,
        "count": f"{sum(row.rank is not None for row in ranking.rows):,}",
    }


def _score(ranking: Ranking, row: Row) -> str:
    if row.fine_tuned is not None and row.fine_tuned.value is not None:
        return measured_in_words(row.fine_tuned)
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    return f"{shown.title} {shown.text(row.scores[ranking.estimators[0]])}"
