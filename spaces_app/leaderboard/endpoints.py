"""The leaderboard for programs: each method is an endpoint of the API and a tool for agents (MCP)."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.advice import advice, recommendation
from hf_emms.ranking.columns import ScoreFormatter
from hf_emms.ranking.expected_gap import at_stake, gaps_in_words
from hf_emms.ranking.verdict import verdict
from leaderboard import lines, selection, submit
from leaderboard.selection import View
from leaderboard.store import Entry, Snapshot, Store

ENDPOINTS = (
    "list_rankings",
    "get_ranking",
    "compare_datasets",
    "validate_ranking",
)
_MOST = 1000


class Endpoints:
    """The endpoints of a store. Unknown names raise a ValueError that lists the known names."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def list_rankings(self, task: str = "", limit: int = 50, offset: int = 0) -> list[dict[str, Any]]:
        """List the published rankings: dataset, task, number of examples and the checkpoint to fine-tune.

        Args:
            task: The Hub's task id, such as "image-classification"; empty for all tasks.
            limit: Maximum number of rankings.
            offset: Number of rankings to skip.

        Returns:
            Per ranking: id (for get_ranking), task, dataset, split, n, checkpoints, best (the checkpoint to fine-tune;
            null if no score is above the baseline), certainty ("confirmed", "probable", "best estimate", "tie",
            "nothing explained", "no head" or "no score"), caveats (their codes) and created.
        """
        listed = []
        for entry in self._store.snapshot.entries.values():
            ranking = entry.ranking
            if task in ("", ranking.task):
                judgment = verdict(ranking)
                listed.append(
                    {
                        "id": entry.id,
                        "task": ranking.task,
                        "dataset": ranking.dataset,
                        "dataset_id": ranking.dataset_id,
                        "split": ranking.split,
                        "n": ranking.n,
                        "seed": ranking.settings.get("seed"),
                        "checkpoints": len(ranking.rows),
                        "best": judgment.checkpoint,
                        "certainty": judgment.certainty,
                        "caveats": [note.code for note in judgment.caveats],
                        "created": ranking.created,
                    }
                )
        return listed[max(0, offset) :][: _within_limits(limit)]

    def get_ranking(
        self,
        ranking: str,
        search: str = "",
        max_parameters: float = 0,
        license: str = "",
        library: str = "",
        unseen: bool = False,
        sort: str = "rank",
        limit: int = 20,
        offset: int = 0,
    ) -> dict[str, Any]:
        """Return the checkpoints of a ranking with their scores, best first. Higher scores are better. Do not compare
        scores of different rankings. Tied checkpoints differ by less than the noise.

        Args:
            ranking: The id of a ranking, from list_rankings.
            search: Words that a checkpoint's name must contain; "resnet | vit" for either.
            max_parameters: Maximum number of parameters, such as 100000000; 0 for no limit.
            license: Only checkpoints with this license, such as "apache-2.0"; empty for any.
            library: Only checkpoints of this library, such as "transformers"; empty for any.
            unseen: Skip checkpoints whose cards list the dataset as training data.
            sort: Rank, checkpoint, an estimator of the ranking (such as emms_knn or short_run), parameters,
                downloads or seconds; "-" in front: largest first.
            limit: Maximum number of rows.
            offset: Number of rows to skip.

        Returns:
            answer: a sentence that names the checkpoint to fine-tune, of those that match. advice: whether more
            examples would resolve the ties. verdict: checkpoint, certainty that it is the best after fine-tuning,
            rivals that could also win, reason (why this is unknown), outcome of fine-tuning ("confirmed", "measured",
            "no better than the baseline") and caveats (code and text). measure: title, unit and direction of the first
            estimator for display; in the rows, higher scores are always better. expected_gap: sentences about the
            points of accuracy by which the others trail the first after fine-tuning; points_at_stake: by how many the
            second trails it (null if this is unknown). Also dataset, task, split, n, seed, the number of matching rows,
            and the rows: pick marks the checkpoint to fine-tune, points_behind (with the ends of its 80 % interval) is
            the expected gap to the first of all, learning_curve the validation scores while the checkpoint was
            fine-tuned, hours_per_million the hours for a million documents or inputs on `machine`.
        """
        entry, snapshot = self._known_ranking(ranking)
        choices = selection.sorts(entry.ranking)
        if sort.removeprefix("-") not in choices:
            raise ValueError(f"cannot sort by {sort!r}; choose from {', '.join(choices)}")
        limits = View(q=search, license=_one(license), library=_one(library), trained="unseen" if unseen else "")
        passing = lines.matching(lines.lines(entry.ranking, snapshot), limits, max_parameters)
        ordered = lines.sorted_lines(passing, sort)[max(0, offset) :][: _within_limits(limit)]
        head = {
            name: getattr(entry.ranking, name) for name in ("dataset", "dataset_id", "task", "split", "n", "settings")
        }
        left = lines.of_lines(entry.ranking, passing)
        head["answer"] = recommendation(left)
        head["advice"] = advice(left)
        decision = verdict(left)
        head["verdict"] = msgspec.to_builtins(decision)
        head["measure"] = _measure(entry.ranking)
        head["expected_gap"] = gaps_in_words(left)
        head["points_at_stake"] = stake.points if (stake := at_stake(left)) else None
        head["seed"] = entry.ranking.settings.get("seed")
        rows = [
            lines.record(line, entry.ranking, decision) | {"learning_curve": _learning_curve(line.row)}
            for line in ordered
        ]
        return {**head, "matching": len(passing), "rows": rows}

    def compare_datasets(self, task: str, limit: int = 20, offset: int = 0) -> dict[str, Any]:
        """Compare checkpoints over all rankings of a task: the share of wins of each, and its rank in each ranking.

        Args:
            task: The Hub's task id, such as "image-classification".
            limit: Maximum number of checkpoints.
            offset: Number of checkpoints to skip.

        Returns:
            The number of rankings and of checkpoints. Per checkpoint, largest share of wins first: wins (the mean
            share of the other checkpoints of a ranking that it beats, 0 to 1), its 95 % interval, the number of
            rankings that rank it, and ranking id → rank (null if it failed).
        """
        snapshot = self._known_task(task)
        won = snapshot.wins[task]
        entries = snapshot.of_task(task)
        names = list(won)[max(0, offset) :][: _within_limits(limit)]
        ranks: dict[str, dict[str, int | None]] = {name: {} for name in names}
        for entry in entries:
            for row in entry.ranking.rows:
                if row.checkpoint in ranks:
                    ranks[row.checkpoint][entry.id] = row.rank
        return {
            "rankings": len(entries),
            "matching": len(won),
            "checkpoints": [
                {
                    "checkpoint": name,
                    **won[name].as_data(),
                    "ranked_in": won[name].rankings,
                    "ranks": ranks[name],
                }
                for name in names
            ],
        }

    def validate_ranking(self, ranking_json: str) -> dict[str, Any]:
        """Check whether a ranking file could be submitted, without submitting it.

        Args:
            ranking_json: The content of the file that `hf-emms rank --output ranking.json` writes.

        Returns:
            valid, problem (an error message; null if valid) and remarks.
        """
        try:
            result = submit.checked(ranking_json)
        except submit.SubmissionError as error:
            return {"valid": False, "problem": str(error), "remarks": []}
        return {"valid": True, "problem": None, "remarks": list(result.remarks)}

    def _known_ranking(self, ranking: str) -> tuple[Entry, Snapshot]:
        snapshot = self._store.snapshot
        entry = snapshot.entries.get(ranking)
        if entry is None:
            raise ValueError(f"unknown ranking {ranking!r}; list_rankings lists the ids")
        return entry, snapshot

    def _known_task(self, task: str) -> Snapshot:
        snapshot = self._store.snapshot
        if task not in snapshot.tasks:
            raise ValueError(f"no rankings for the task {task!r}; known tasks: {', '.join(snapshot.tasks)}")
        return snapshot


def as_json(outputs: Any, root_url: str) -> list[Any]:
    """Return the results of MCP tools as JSON; Gradio's MCP server would write Python's repr."""
    from mcp.types import TextContent

    return [TextContent(type="text", text=json.dumps(output, ensure_ascii=False)) for output in outputs]


def _measure(ranking: Ranking) -> dict[str, Any]:
    shown = ScoreFormatter(ranking, ranking.estimators[0])
    return {
        "title": shown.title,
        "unit": shown.quantity.unit,
        "higher_is_better": shown.quantity.higher_is_better,
        "help": shown.quantity.help,
    }


def _learning_curve(row: Row) -> list[float]:
    return list(row.fine_tuned.learning_curve) if row.fine_tuned else []


def _within_limits(limit: int) -> int:
    return max(0, min(limit, _MOST))


def _one(name: str) -> tuple[str, ...]:
    return (name,) if name else ()
