"""The leaderboard for programs: each method is an endpoint of the API and a tool for agents (MCP)."""

from __future__ import annotations

import json
import shlex
from itertools import combinations
from typing import Any

import msgspec

from hf_emms.ranking import Ranking, Row, gain_and_stderr, is_ahead
from hf_emms.ranking.advice import advice, recommendation
from hf_emms.ranking.columns import ScoreFormatter
from hf_emms.ranking.expected_gap import at_stake, gaps_in_words
from hf_emms.ranking.verdict import verdict
from leaderboard import lines, markup, selection, submit
from leaderboard.selection import View
from leaderboard.store import Entry, Snapshot, Store

ENDPOINTS = (
    "list_rankings",
    "get_ranking",
    "compare_checkpoints",
    "recommend_checkpoints",
    "compare_datasets",
    "validate_ranking",
)
_MOST = 1000
_MOST_COMPARED = 50
_UNKNOWN = float("inf")


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
            null if no score is above the baseline), lead (of the estimate's first checkpoint), outcome (of fine-tuning;
            null without fine-tuning) and created.
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
                        "lead": judgment.lead,
                        "outcome": judgment.outcome,
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
            examples would resolve the ties. verdict: checkpoint, lead of the estimate and outcome of fine-tuning
            ("confirmed", "measured", "no better than the baseline"). measure: title, unit and direction of the first
            estimator for display; in the rows, higher scores are always better. expected_gap: sentences about the
            points of accuracy by which the others trail the first after fine-tuning; points_at_stake: by how many the
            last trails it (null if this is unknown). Also dataset, task, split, n, seed, the number of matching rows,
            and the rows: pick marks the checkpoint to fine-tune, points_behind (with the ends of its 80 % interval) is
            the expected gap to the first of all, learning_curve the validation scores while the checkpoint was
            fine-tuned, hours_per_million the hours for a million documents or inputs on `machine`.
        """
        entry, snapshot = self._known_ranking(ranking)
        choices = selection.sorts(entry.ranking)
        if sort.removeprefix("-") not in choices:
            raise ValueError(f"cannot sort by {sort!r}; choose from {', '.join(choices)}")
        limits = View(q=search, license=_one(license), library=_one(library), trained="unseen" if unseen else "")
        passing = _within(lines.matching(lines.lines(entry.ranking, snapshot), limits), max_parameters)
        ordered = lines.sorted_lines(passing, sort)[max(0, offset) :][: _within_limits(limit)]
        head = {
            name: getattr(entry.ranking, name) for name in ("dataset", "dataset_id", "task", "split", "n", "settings")
        }
        left = lines.of_lines(entry.ranking, passing)
        head["answer"] = recommendation(left)
        head["advice"] = advice(left)
        head["verdict"] = msgspec.to_builtins(verdict(left))
        head["measure"] = _measure(entry.ranking)
        head["expected_gap"] = gaps_in_words(left)
        head["points_at_stake"] = stake.points if (stake := at_stake(left)) else None
        head["seed"] = entry.ranking.settings.get("seed")
        best = lines.best_of(entry.ranking, passing)
        rows = [
            lines.record(line, entry.ranking, best) | {"learning_curve": _learning_curve(line.row)} for line in ordered
        ]
        return {**head, "matching": len(passing), "rows": rows}

    def compare_checkpoints(
        self, ranking: str, checkpoints: list[str], limit: int = 20, offset: int = 0
    ) -> dict[str, Any]:
        """Compare pairs of checkpoints of a ranking: by how much one is better, and whether that is significant.

        Args:
            ranking: The id of a ranking, from list_rankings.
            checkpoints: 2 to 50 names of checkpoints from get_ranking.
            limit: Maximum number of pairs.
            offset: Number of pairs to skip.

        Returns:
            The rows of the checkpoints, the number of matching pairs, and the pairs: better, other, difference, stderr
            (of the paired differences over folds), significant (more than two standard errors) and folds (the
            differences per fold).
        """
        entry, snapshot = self._known_ranking(ranking)
        unknown = [name for name in checkpoints if all(row.checkpoint != name for row in entry.ranking.rows)]
        if unknown:
            raise ValueError(f"the ranking has no checkpoint {unknown[0]!r}; get_ranking lists them")
        if not 2 <= len(set(checkpoints)) <= _MOST_COMPARED:
            raise ValueError(f"cannot compare {len(set(checkpoints))} checkpoints; pass 2 to {_MOST_COMPARED}")
        every = lines.lines(entry.ranking, snapshot)
        some = [line for line in every if line.row.checkpoint in checkpoints]
        pairs = _pairs(entry.ranking, [line.row for line in some])
        best = lines.best_of(entry.ranking, every)
        return {
            "dataset": entry.ranking.dataset,
            "task": entry.ranking.task,
            "rows": [lines.record(line, entry.ranking, best) for line in some],
            "matching": len(pairs),
            "pairs": pairs[max(0, offset) :][: _within_limits(limit)],
        }

    def recommend_checkpoints(
        self, task: str, max_parameters: float = 0, license: str = "", limit: int = 5
    ) -> dict[str, Any]:
        """Answer "which pretrained checkpoint should I fine-tune for this task?" from all its published rankings.

        Args:
            task: The Hub's task id, such as "image-classification".
            max_parameters: Parameter budget, such as 100000000 for 100M; 0 for no limit.
            license: Only checkpoints with this license, such as "apache-2.0"; empty for any.
            limit: Maximum number of checkpoints.

        Returns:
            The shortlist, largest share of wins first (the mean share of the other checkpoints of a ranking that it
            beats), and the command that ranks it on the user's dataset.
        """
        snapshot = self._known_task(task)
        view = View(task=task, license=_one(license))
        listed = _shortlist(view, snapshot, max_parameters)[: _within_limits(limit)]
        command = _command(task, [each["checkpoint"] for each in listed]) if listed else ""
        return {"task": task, "checkpoints": listed, "command": command}

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


def _pairs(ranking: Ranking, rows: list[Row]) -> list[dict[str, Any]]:
    """Compare all pairs of rows with scores, in the unit of the table, the better row first."""
    estimator = ranking.estimators[0]
    shown = ScoreFormatter(ranking, estimator)
    scored = sorted((row for row in rows if row.error is None), key=lambda row: -row.scores[estimator].value)
    compared = []
    for first, second in combinations(scored, 2):
        better, other = first.scores[estimator], second.scores[estimator]
        paired = zip(better.folds, other.folds, strict=True) if len(better.folds) == len(other.folds) else ()
        gain, stderr = gain_and_stderr(better, other)
        unit = shown.unit_of(better)
        compared.append(
            {
                "better": first.checkpoint,
                "other": second.checkpoint,
                "difference": unit * gain,
                "stderr": unit * stderr,
                "significant": is_ahead(better, other),
                "folds": [unit * (a - b) for a, b in paired],
            }
        )
    return compared


def _shortlist(view: View, snapshot: Snapshot, max_parameters: float) -> list[dict[str, Any]]:
    """Return the checkpoints of a task that pass the view's filters, largest share of wins first."""
    places: dict[str, list[tuple[Entry, lines.Line]]] = {}
    for entry in snapshot.of_task(view.task):
        for line in _within(lines.matching(lines.lines(entry.ranking, snapshot), view), max_parameters):
            if line.row.rank is not None:
                places.setdefault(line.row.checkpoint, []).append((entry, line))
    listed = []
    for name, won in snapshot.wins[view.task].items():
        if name in places:
            row, facts = places[name][0][1].row, places[name][0][1].facts
            ranks = [
                {"ranking": entry.id, "dataset": entry.ranking.dataset, "rank": line.row.rank, "tied": line.row.tied}
                for entry, line in places[name]
            ]
            listed.append(
                {
                    "checkpoint": name,
                    "revision": row.revision,
                    "parameters": row.parameters,
                    "license": facts.license,
                    "library": facts.library,
                    "downloads": facts.downloads,
                    **won.as_data(),
                    "rankings": ranks,
                }
            )
    return listed


def _command(task: str, checkpoints: list[str]) -> str:
    """Return the command that ranks the Hub's checkpoints on the user's dataset."""
    start = shlex.join(["hf-emms", "rank", "--dataset", "./my-dataset", "--task", task])
    return " \\\n  ".join([start, *(f"--checkpoint {name}" for name in checkpoints if markup.is_id(name))])


def _within_limits(limit: int) -> int:
    return max(0, min(limit, _MOST))


def _one(name: str) -> tuple[str, ...]:
    return (name,) if name else ()


def _within(some: list[lines.Line], max_parameters: float) -> list[lines.Line]:
    if not max_parameters:
        return some
    return [line for line in some if (line.row.parameters or _UNKNOWN) <= max_parameters]
