"""Which checkpoints have seen a dataset: by the `datasets:` of their cards, and by what their cards say in words."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from leaderboard.facts import Facts

_NAMED = "its card names this dataset among those it was trained on"


def why_seen(checkpoint: str, facts: Facts, dataset_id: str) -> str:
    """Why a checkpoint is known to have been trained on a dataset, in words; empty where it is not known to be."""
    if any(_same_dataset(dataset_id, one) for one in facts.datasets):
        return _NAMED
    return _in_words().get(dataset_id.lower(), {}).get(checkpoint.partition("@")[0], "")


def _same_dataset(first: str, second: str) -> bool:
    """Whether two ids are one dataset; an old id has no owner."""
    one, other = (id.lower().split("/") for id in (first, second))
    return one == other if len(one) == len(other) else one[-1] == other[-1]


@cache
def _in_words() -> Mapping[str, Mapping[str, str]]:
    """Dataset id in small letters → checkpoint id → what its card says."""
    listed = yaml.safe_load((Path(__file__).parent / "training_data.yaml").read_text(encoding="utf-8"))
    return {id.lower(): one["checkpoints"] for one in listed for id in one["repositories"]}
