"""Fine-tunings and scores as one small file that can be committed, with everything that tells how to redo it."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

from ranking_quality import protocol
from ranking_quality.places import RESULTS
from ranking_quality.protocol import GOALS, Goal
from ranking_quality.scores import scores_path
from ranking_quality.truth import finished

PACKAGES = ("torch", "transformers", "datasets", "numpy", "scipy", "scikit-learn", "timm", "sacrebleu")
FEWEST = 3  # candidates; with fewer there is nothing to rank


def collect() -> None:
    """Bring results.json up to date with what the work folder holds; what is not there stays as it is."""
    runs = finished()
    before = json.loads(RESULTS.read_text(encoding="utf-8"))["targets"] if RESULTS.exists() else {}
    every = {goal.name: _target(goal, runs) or before.get(goal.name) for goal in GOALS}
    targets = {name: target for name, target in every.items() if target}
    text = json.dumps({"protocol": _protocol(), "targets": targets}, separators=(",", ":"))
    # one line a target, so that a difference between two runs can be read
    for name in targets:
        text = text.replace(f'"{name}":{{"task"', f'\n"{name}":{{"task"')
    RESULTS.write_text(text + "\n", encoding="utf-8")
    done = sum(len(runs) for target in targets.values() for runs in target["runs"].values())
    print(f"{RESULTS}: {len(targets)} targets, {done} fine-tunings")


def _protocol() -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in PACKAGES}
    settings = {
        "seeds": protocol.SEEDS,
        "more_seeds": dict.fromkeys(sorted(protocol.UNSTEADY), protocol.MORE_SEEDS),
        "batch": protocol.BATCH,
        "epochs": protocol.EPOCHS,
        "fine_tuning_rows": protocol.FINE_TUNING_ROWS,
        "weight_decay": protocol.WEIGHT_DECAY,
        "warm_up": protocol.WARM_UP,
        "rates": {entrant.name: entrant.rates for entrant in protocol.ENTRANTS},
    }
    return settings | {"versions": versions}


def _target(goal: Goal, runs: list[dict]) -> dict[str, Any] | None:
    """Everything about one target: runs as [rate, seed, validation, test, seconds], scores by setting."""
    if not scores_path(goal).exists():
        return None
    scored = json.loads(scores_path(goal).read_text(encoding="utf-8"))
    mine = [run for run in runs if run["target"] == goal.name]
    names = [name for name in scored if any(run["candidate"] == name for run in mine)]
    if len(names) < FEWEST:
        return None
    settings = [key for key in scored[names[0]]["scores"] if all(key in scored[name]["scores"] for name in names)]
    return {
        "task": goal.task,
        "half": goal.half,
        "measure": goal.measure,
        "candidates": names,
        "revisions": [next(run["revision"] for run in mine if run["candidate"] == name) for name in names],
        "parameters": [scored[name]["parameters"] for name in names],
        "widths": [scored[name]["width"] for name in names],
        "runs": {
            name: [
                [run["rate"], run["seed"], round(run["validation"], 2), round(run["test"], 2), round(run["seconds"], 1)]
                for run in mine
                if run["candidate"] == name
            ]
            for name in names
        },
        "scores": {key: [float(f"{scored[name]['scores'][key]:.6g}") for name in names] for key in settings},
        "seconds": {name: scored[name]["seconds"] for name in names},
    }
