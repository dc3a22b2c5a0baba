"""Which checkpoints have seen a dataset: by the `datasets:` of their cards, and by what their cards say in words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from leaderboard.facts import Facts

_NAMED = "its card names this dataset among those it was trained on"


def why_seen(checkpoint: str, facts: Facts, dataset_id: str) -> str:
    """Return how its card tells that a checkpoint was trained on a dataset, in words; empty if it does not."""
    if any(_same_dataset(dataset_id, seen) for seen in facts.datasets):
        return _NAMED
    return _in_words().get(dataset_id.lower(), {}).get(checkpoint.partition("@")[0], "")


def _same_dataset(first: str, second: str) -> bool:
    """Return whether two ids name the same dataset; an old id has no owner."""
    parts, others = (id.lower().split("/") for id in (first, second))
    return parts == others if len(parts) == len(others) else parts[-1] == others[-1]


@cache
def _in_words() -> Mapping[str, Mapping[str, str]]:
    """Return dataset id in lower case → checkpoint id → the words of its card."""
    listed = yaml.safe_load((Path(__file__).parent / "training_data.yaml").read_text(encoding="utf-8"))
    return {id.lower(): entry["checkpoints"] for entry in listed for id in entry["repositories"]}
