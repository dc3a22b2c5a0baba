"""The form above a view: pickers, a search, filters with numbers of checkpoints, and columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from leaderboard.lines import lines
from leaderboard.selection import SIZES, TRAINED, View, label
from leaderboard.store import Snapshot

_MAX_BOXES = 15


def form(view: View, snapshot: Snapshot) -> dict[str, Any]:
    """Return the choices of the form; each filter shows how many checkpoints it alone lets pass."""
    kept = ("tab", "sort", "columns", *(("task", "ranking") if view.tab == "home" else ()))
    hidden = {name: value for name in kept if (value := getattr(view, name)) not in ("", getattr(View(), name))}
    if view.tab == "home":
        return {"hidden": hidden}
    counts = Counter(entry.ranking.task for entry in snapshot.entries.values())
    has_dataset = view.tab == "rankings"
    rankings = {entry.id: label(entry, snapshot) for entry in snapshot.of_task(view.task)}
    return {
        "hidden": hidden,
        "tasks": {task: f"{task} ({counts[task]:,})" for task in snapshot.tasks},
        "rankings": rankings if has_dataset else None,
        **_filters(view, snapshot, has_dataset=has_dataset),
    }


def _filters(view: View, snapshot: Snapshot, *, has_dataset: bool) -> dict[str, Any]:
    entry = snapshot.entries.get(view.ranking)
    entries = ([entry] if entry else []) if has_dataset else snapshot.of_task(view.task)
    all_lines = [line for entry in entries for line in lines(entry.ranking, snapshot)]

    some = list({line.row.checkpoint: line for line in all_lines}.values())
    parameters = [line.row.parameters for line in some if line.row.parameters is not None]
    counts = {size: sum(count <= limit for count in parameters) for size, limit in SIZES.items()}
    unseen = sum(not line.seen for line in some)
    trained = {name: text + (f" ({unseen:,})" if name else "") for name, text in TRAINED.items()}
    return {
        "sizes": {"": "any"} | {size: f"{size} ({count:,})" for size, count in counts.items()},
        "trained": {} if view.tab == "across" else trained,
        "facts": {
            "license": _boxes(view.license, (line.facts.license for line in some)),
            "language": _boxes(view.language, (code for line in some for code in line.facts.languages)),
            "library": _boxes(view.library, (line.facts.library for line in some)),
        },
    }


def _boxes(chosen: tuple[str, ...], values: Iterable[str | None]) -> dict[str, int]:
    """Return the most frequent values and the chosen ones, with their numbers of checkpoints."""
    every = Counter(value for value in values if value)
    counts = {value: every[value] for value in chosen} | dict(every.most_common(_MAX_BOXES))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
