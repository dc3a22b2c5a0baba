"""The home page: a row for each dataset with its best checkpoint, its lead, the fine-tuned outcome and the date."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from hf_emms.errors import MISSING, pluralize
from hf_emms.ranking.verdict import Lead, Outcome, Verdict, verdict
from leaderboard import markup
from leaderboard.compare import checkpoint_link
from leaderboard.markup import escape
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
    ("checkpoint", "Fine-tune"),
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


def page(view: View, snapshot: Snapshot) -> str:
    """Render the datasets whose name, task or checkpoints contain all words of the search."""
    words = view.q.lower().split()
    matching = [answer for answer in answers(snapshot) if all(word in _searched(answer) for word in words)]
    if not matching:
        return '<p class="empty">No dataset, task or checkpoint contains these words.</p>'
    tables = "".join(
        f"<h2>{escape(task)}</h2>{_table(task, list(of_task), view, snapshot)}"
        for task, of_task in groupby(matching, key=lambda answer: answer.entry.ranking.task)
    )
    counted = pluralize(len(matching), "dataset")
    return f'<p class="small" id="emms-count">{counted}. Choose one to see all its checkpoints.</p>{tables}'


def _searched(answer: Answer) -> str:
    ranking = answer.entry.ranking
    names = (ranking.dataset, ranking.dataset_id, ranking.task, ranking.config or "")
    return " ".join([*names, *(row.checkpoint for row in ranking.rows)]).lower()


def _table(task: str, of_task: list[Answer], view: View, snapshot: Snapshot) -> str:
    head = "".join(f'<th scope="col" class="{css}">{title}</th>' for css, title in _HEADS)
    rows = "".join(f"<tr>{''.join(_cells(answer, view, snapshot))}</tr>" for answer in of_task)
    return markup.boxed_table(f"Datasets of {escape(task)}", head, rows, "board plain home")


def _cells(answer: Answer, view: View, snapshot: Snapshot) -> Iterator[str]:
    ranking = answer.entry.ranking
    there = replace(view, tab="rankings", q="", task=ranking.task, ranking=answer.entry.id)
    name = f'<span class="name">{markup.breakable(label(answer.entry, snapshot))}</span>'
    best = answer.judgment.checkpoint
    lead, outcome = _LEADS[answer.judgment.lead](answer.judgment), _OUTCOMES[answer.judgment.outcome](answer.judgment)
    yield f'<th scope="row" class="checkpoint">{markup.view_link(to_query(there), name)}</th>'
    yield f'<td class="checkpoint">{checkpoint_link(best, there) if best else MISSING}</td>'
    yield f'<td class="text">{escape(lead)}</td><td class="text">{escape(outcome)}</td>'
    yield f'<td class="number">{sum(row.rank is not None for row in ranking.rows):,}</td>'
    yield f'<td class="number">{escape(ranking.created[:10])}</td>'
