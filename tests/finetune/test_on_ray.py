"""Fine-tuning on a Ray cluster with two worker processes returns the results of this process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import transformers

import hf_emms
from hf_emms import EmmsError, Ranking
from hf_emms.ranking import TrainingRun
from tests.finetune.make import FAST, Notes, colours, ranking, save
from tests.helpers.processes import descendants
from tests.helpers.rankings import example
from tests.helpers.tiny_checkpoints import build
from tests.helpers.waiting import eventually

SETTINGS: dict[str, Any] = {**FAST, "learning_rates": (0.01, 0.02), "epochs": 8}


def results(confirmed: Ranking) -> list[tuple[Any, ...]]:
    def result(run: TrainingRun) -> tuple[Any, ...]:
        return run.learning_rate, run.seed, run.validation, run.scores, run.steps, run.error

    return [result(run) for row in confirmed.rows if row.fine_tuned for run in row.fine_tuned.runs]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_parallel_runs_equal_those_of_one_process_even_if_a_worker_dies(
    zoo: Path, tmp_path: Path, emms_cache: Path
) -> None:
    checkpoints = {str(build(zoo, "regnet")): -0.1, str(build(zoo, "resnet")): -0.2}
    # A run takes longer than a worker's imports, so that both workers are busy at the same time.
    two = ranking(save(colours(900), tmp_path / "colours"), "image-classification", {"image": "image"}, checkpoints)
    alone = hf_emms.confirm(two, top=2, cache=False, **SETTINGS)
    side_by_side: set[int] = set()

    def kill() -> None:
        side_by_side.update(eventually(lambda: (found := [*descendants("ray::train_checkpoint")])[1:] and found))
        eventually(lambda: list(emms_cache.glob("unfinished/*/*/checkpoint-*/trainer_state.json")))
        os.kill(min(side_by_side), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    notes, folder = Notes(), tmp_path / "best"
    shared = hf_emms.confirm(two, top=2, engine="ray", save_model=str(folder), progress=notes, **SETTINGS)
    killer.join()
    assert len(side_by_side) == 2
    assert results(shared) == results(alone)
    assert shared.best.checkpoint == alone.best.checkpoint
    assert notes.steps == notes.planned
    assert not list(emms_cache.glob("unfinished/*"))
    assert transformers.pipeline("image-classification", model=str(folder)).model.config.num_labels == 2
    with pytest.raises(EmmsError, match="not started: the time limit had passed"):
        hf_emms.confirm(two, top=1, engine="ray", time_limit="0.001s", **FAST)
    with pytest.raises(EmmsError, match="the Ray cluster has no GPU"):
        hf_emms.confirm(two, top=1, engine="ray", device="cuda", **FAST)
    again = Notes()
    assert results(hf_emms.confirm(two, top=2, engine="ray", progress=again, **SETTINGS)) == results(alone)
    assert not again.planned


def test_engines_that_do_not_fit_are_refused_before_anything_runs() -> None:
    with pytest.raises(EmmsError, match="ray_address"):
        hf_emms.confirm(example(), ray_address="auto")
    with pytest.raises(EmmsError, match="a job cannot fine-tune"):
        hf_emms.confirm(example(), engine="jobs")
