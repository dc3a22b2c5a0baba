"""Find checkpoints that were trained on a dataset, by the `datasets:` and the text of their cards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from leaderboard.facts import Facts

_NAMED = "its card lists this dataset as training data"


def why_seen(checkpoint: str, facts: Facts, dataset_id: str) -> str:
    """Return the evidence that a checkpoint was trained on a dataset; empty if its card does not mention it."""
    if any(_same_dataset(dataset_id, seen) for seen in facts.datasets):
        return _NAMED
    return _in_words().get(dataset_id.lower(), {}).get(checkpoint.partition("@")[0], "")


def _same_dataset(first: str, second: str) -> bool:
    """Return whether two ids refer to the same dataset; old ids have no owner."""
    parts, others = (id.lower().split("/") for id in (first, second))
    return parts == others if len(parts) == len(others) else parts[-1] == others[-1]


@cache
def _in_words() -> Mapping[str, Mapping[str, str]]:
    """Return dataset id in lower case → checkpoint id → a quotation of its card."""
    listed = yaml.safe_load((Path(__file__).parent / "training_data.yaml").read_text(encoding="utf-8"))
    return {id.lower(): entry["checkpoints"] for entry in listed for id in entry["repositories"]}
