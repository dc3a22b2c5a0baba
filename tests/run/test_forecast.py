"""How long a run will take, by the rankings that were kept before."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from hf_emms.inputs import INPUT_KINDS
from hf_emms.ranking import Ranking, Row, Seconds
from hf_emms.run.preflight import rate
from tests.helpers.rankings import example


def timed(seconds: float, n: int | None = None) -> Row:
    return msgspec.structs.replace(example().rows[0], seconds=Seconds(seconds), parameters=10**6, n=n)


def keep(folder: Path, name: str, ranking: Ranking) -> None:
    (folder / "rankings").mkdir(parents=True)
    (folder / "rankings" / name).write_text(ranking.to_json())


def test_runs_on_all_rows_tell_how_fast_checkpoints_are(emms_cache: Path) -> None:
    keep(emms_cache, "a.json", example(n_inputs=1000, rows=(timed(20), timed(10, n=100), timed(1))))
    found = rate("auto", INPUT_KINDS["image"])
    assert found.seconds == pytest.approx(20 / 10**9)
    assert "as fast as 1 checkpoint before" in found.source


def test_a_ranking_for_a_task_whose_package_is_gone_tells_nothing(emms_cache: Path) -> None:
    keep(emms_cache, "a.json", example(task="depth-estimation", rows=(timed(20),)))
    assert "rule of thumb" in rate("auto", INPUT_KINDS["image"]).source
