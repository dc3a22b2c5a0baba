"""Test rankings in threads of one process."""

from __future__ import annotations

import shutil
from multiprocessing.pool import ThreadPool
from pathlib import Path

import hf_emms
from hf_emms.ranking import Ranking
from tests.finetune.test_response_scorer import rows
from tests.helpers.tiny_writers import writer

THREADS, COPIES = 2, 5


def test_tied_weights_load_correctly_in_threads(zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    names = [(name, f"{name}{copy}") for copy in range(COPIES) for name in ("gpt2", "t5")]
    tied = [shutil.copytree(writer(zoo, name), tmp_path / copy) for name, copy in names]

    def ranked(folders: list[Path]) -> Ranking:
        ids = [str(folder) for folder in folders]
        return hf_emms.rank(rows(), ids, estimators=["zero_shot"], device="cpu", cache=False)

    with ThreadPool(THREADS) as threads:
        rankings = threads.map(ranked, [tied, tied[::-1]])
    assert [row.error for ranking in rankings for row in ranking.rows] == [None] * THREADS * len(tied)
    first, second = ({row.checkpoint: row.scores["zero_shot"].value for row in each.rows} for each in rankings)
    assert first == second
