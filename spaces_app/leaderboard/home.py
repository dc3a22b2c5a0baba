"""The home page: a row for each dataset with its best checkpoint, its lead, the fine-tuned outcome and the date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from markupsafe import Markup

from hf_emms.errors import MISSING
from hf_emms.ranking.verdict import Lead, Outcome, Verdict, verdict
from leaderboard import markup
from leaderboard.compare import checkpoint_link
from leaderboard.markup import Cell, Link
from leaderboard.selection import View, label, to_query
from leaderboard.store import Entry, Snapshot

_LEADS: dict[Lead, Callable[[Verdict], str]] = {
    "no score": lambda judgment: "no checkpoint has a score",
    "no head": lambda judgment: "no checkpoint can be fine-tuned for it",
    "nothing explained": lambda judgment: "no features predict these labels",
    "alone": lambda judgment: "the only one with a score",
    "shared": lambda judgment: f"tied with {len(judgment.first) - 1:,} more",
    "race": lambda judgment: "a race stopped the others",
    "ahead": lambda judgment: "ahead",
    "clearly ahead": lambda judgment: "clearly ahead",
}
_OUTCOMES: dict[Outcome | None, Callable[[Verdict], str]] = {
    None: lambda judgment: "not fine-tuned",
    "confirmed": lambda judgment: "confirmed",
    "measured": lambda judgment: "fine-tuned" + ", tied" * (len(judgment.near) > 1),
    "no better than the baseline": lambda judgment: "no better than the baseline",
}
_HEADS = (
    ("checkpoint", "Dataset"),
    ("text", "Fine-tune"),
    ("text", "Lead of the estimate"),
    ("text", "Fine-tuned"),
    ("number", "Checkpoints"),
    ("number", "Measured on"),
)


class Answer(NamedTuple):
    """A ranking and its verdict."""

    entry: Entry
    judgment: Verdict


def answers(snapshot: Snapshot) -> list[Answer]:
    """Return the verdict of each ranking, by task and dataset."""
    if "answers" not in snapshot.memo:
        snapshot.memo["answers"] = [Answer(entry, verdict(entry.ranking)) for entry in snapshot.entries.values()]
    shown: list[Answer] = snapshot.memo["answers"]
    return shown


def page(view: View, snapshot: Snapshot) -> Markup:
    """Render the datasets whose name, task or checkpoints contain all words of the search."""
    words = view.q.lower().split()
    matching = [answer for answer in answers(snapshot) if all(word in _searched(answer) for word in words)]
    by_task = {
        task: [_cells(answer, view, snapshot) for answer in of_task]
        for task, of_task in groupby(matching, key=lambda answer: answer.entry.ranking.task)
    }
    tables = {
        task: markup.plain_table(f"Datasets of {task}", _HEADS, rows, css="board plain home")
        for task, rows in by_task.items()
    }
    return markup.draw("home.html", count=len(matching), tables=tables)


def _searched(answer: Answer) -> str:
    ranking = answer.entry.ranking
    names = (ranking.dataset, ranking.dataset_id, ranking.task, ranking.config or "")
    return " ".join([*names, *(row.checkpoint for row in ranking.rows)]).lower()


def _cells(answer: Answer, view: View, snapshot: Snapshot) -> tuple[str | Cell | Link, ...]:
    ranking, best = answer.entry.ranking, answer.judgment.checkpoint
    there = replace(view, tab="rankings", q="", task=ranking.task, ranking=answer.entry.id)
    return (
        Link(label(answer.entry, snapshot), to_query(there), is_name=True),
        Cell(checkpoint_link(best, there) if best else MISSING, "pick"),
        _LEADS[answer.judgment.lead](answer.judgment),
        _OUTCOMES[answer.judgment.outcome](answer.judgment),
        f"{sum(row.rank is not None for row in ranking.rows):,}",
        ranking.created[:10],
    )
