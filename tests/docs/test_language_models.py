"""The replays of docs/rank-language-models.md: the page has the committed numbers, and says what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts.quality.published_losses import POOLS, RESULTS, pools
from tests import ROOT

TABLES = ROOT.parent / "shared" / "data" / "linhaowei1--Fine-tuning-Scaling-Law"
SHORT, ZERO, HALVING = "short run: loss after 200 rows", "zero-shot loss", "halving: 200, 800, 1,600 rows"


@pytest.fixture
def results() -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(RESULTS.read_text())
    return stored


@pytest.mark.skipif(not TABLES.is_dir(), reason="the published table is not beside the repository")
def test_the_results_are_those_of_the_published_table(results: dict[str, Any]) -> None:
    assert pools(TABLES) == results


def test_what_the_page_concludes_holds(results: dict[str, Any]) -> None:
    everything, decoders = (results[pool] for pool in POOLS)
    for rows in ("6400", "25600"):
        short = everything[SHORT]["targets"][rows]
        assert max(short["regret"]) <= 0.01
        assert all(a > b for a, b in zip(short["spearman"], everything[ZERO]["targets"][rows]["spearman"], strict=True))
        # Among decoders zero-shot loss picks better on WMT19.
        assert decoders[ZERO]["targets"][rows]["regret"][2] < decoders[SHORT]["targets"][rows]["regret"][2]
        halving = everything[HALVING]["targets"][rows]
        assert halving["regret"] == short["regret"]
    assert everything[HALVING]["rows"] > 3 * everything[SHORT]["rows"]
    assert max(everything[SHORT]["targets"]["1638400"]["spearman"]) < 0.3
