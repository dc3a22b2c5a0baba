"""The demo's presets for questions, spans and boxes, end to end: what was trained ranks before random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

import hf_emms

BEST = {
    "demo_vqa": ("emms-demo/vilt-vqa",),
    "demo_easy_vqa": ("emms-demo/vilt-vqa",),
    "demo_spans": ("emms-demo/bert-distilled",),
    "demo_boxes": ("emms-demo/owlvit-scenes",),
    # Within the noise of each other.
    "demo_pairs": ("emms-demo/bert-distilled", "emms-demo/albert-distilled"),
    "demo_words": ("emms-demo/bert-distilled", "emms-demo/bert-masked-short"),
}


@pytest.mark.parametrize("preset", BEST)
def test_what_was_trained_for_longest_comes_first_and_random_weights_last(preset: str, emms_cache: Path) -> None:
    ranking = hf_emms.rank(preset, estimators=["emms"])
    assert not [row.error for row in ranking.rows if row.error]
    order = [row.checkpoint for row in ranking.rows]
    assert order[0] in BEST[preset]
    # briefly trained ones may tie with them, but not the upper half
    assert not any(name.endswith("-random") for name in order[: len(order) // 2])
    assert order[-1].endswith("-random") or order[-2].endswith("-random")
