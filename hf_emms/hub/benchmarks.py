"""Benchmarks of the Hub: datasets whose page lists the evaluation results of checkpoints. Read, never written."""

from __future__ import annotations

from dataclasses import dataclass

from hf_emms.hub.client import request

_OFFICIAL = "https://huggingface.co/datasets?benchmark=benchmark:official"


@dataclass(frozen=True)
class BenchmarkEntry:
    """A checkpoint on a leaderboard.

    Attributes:
        id: "ORG/NAME".
        value: what was measured, in the benchmark's own unit.
        verified: whether the Hub vouches for the run.
    """

    id: str
    value: float
    verified: bool


def leaderboard(id: str) -> list[BenchmarkEntry]:
    """The leaderboard of a benchmark, the first rank first; fine-tunings of other checkpoints are among them.

    Args:
        id: of the dataset, "ORG/NAME".

    Raises:
        EmmsError: there is no such dataset, it has no leaderboard, or the Hub cannot be reached.
    """
    hint = f"benchmarks are listed at {_OFFICIAL}"
    listed = request(
        lambda api: api.get_dataset_leaderboard(id, base_model_only=False),
        id,
        "dataset",
        hints=dict.fromkeys((400, 404), hint),
    )
    return [BenchmarkEntry(one.model_id, float(one.value), bool(one.verified)) for one in listed]
