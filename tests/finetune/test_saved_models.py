"""A folder holds the model that was reported, and the same call can be made again, whatever stopped the last one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.finetune.fine_tune import FineTuning, fine_tune
from hf_emms.finetune.network import load_network
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.finetune.training import Training
from hf_emms.finetune.unfinished import unfinished_folder
from hf_emms.ranking import Ranking, TrainingRun
from hf_emms.ranking.progress import Silent
from hf_emms.run.confirm import options_for, prepared, start_session
from tests.finetune.make import FAST, Notes, colours, ranking, save
from tests.finetune.test_response_scorer import rows
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer

PROCESSES = multiprocessing.get_context("forkserver")
SETTINGS: dict[str, Any] = {"encoders": "demo", "device": "cpu", "confirm": 1, "epochs": 1, "learning_rates": ["1e-2"]}


def _rank_until_a_rename(cache: str, place: str, data: str, checkpoint: str, settings: dict[str, Any]) -> None:
    def kill(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(arguments[1]) == place:
            os.kill(os.getpid(), signal.SIGKILL)

    os.environ["HF_EMMS_CACHE"] = cache
    sys.addaudithook(kill)
    hf_emms.rank(data, checkpoint, **settings)


def test_the_best_of_writers_is_saved_by_the_same_call_again_also_after_a_kill_in_the_last_rename(
    zoo: Path, tmp_path: Path, emms_cache: Path
) -> None:
    """Their task has estimators of its own, which are not yet known when the folder is checked first."""
    data, checkpoint, folder = save(rows(80), tmp_path / "data"), str(writer(zoo, "gpt2")), tmp_path / "best"
    settings = {**SETTINGS, "save_model": str(folder)}
    weights = folder / "model.safetensors"
    process = PROCESSES.Process(
        target=_rank_until_a_rename, args=(str(emms_cache), str(weights), data, checkpoint, settings)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert (folder / "config.json").is_file()
    assert not weights.exists()
    for _ in range(2):
        notes = Notes()
        assert hf_emms.rank(data, checkpoint, progress=notes, **settings).best.fine_tuned is not None
        assert weights.is_file()
        assert not any("trained again" in line for line in notes.lines)
        assert not (folder / ".unfinished").exists()
    notes = Notes()
    with pytest.raises(EmmsError, match="is not empty"):
        hf_emms.rank(data, checkpoint, progress=notes, **{**settings, "epochs": 2})
    assert not notes.planned


@pytest.fixture
def ranked(tmp_path: Path) -> Ranking:
    checkpoint = str(build(tmp_path, "resnet"))
    columns = {"image": "image", "label": "label"}
    return ranking(save(colours(60), tmp_path / "colours"), "image-classification", columns, {checkpoint: -0.1})


def _ended_after_a_step(work: FineTuning, jobs: Sequence[TrainingJob]) -> Iterator[tuple[TrainingJob, TrainingRun]]:
    """Trains as in this process, until a deadline that passes in the first step."""
    for job in jobs:
        with unfinished_folder(work.cache.root, work.digest(job)) as folder:
            training = Training(
                job, work.splits, folder, torch.device("cpu"), save_to=work.model_folder(job), deadline=0.0
            )
            yield job, training.run(lambda job=job: load_network(job.plan, work.splits))


def _killed_after_a_step(work: FineTuning, jobs: Sequence[TrainingJob]) -> Iterator[tuple[TrainingJob, TrainingRun]]:
    yield from _ended_after_a_step(work, jobs)
    raise KeyboardInterrupt


@pytest.mark.parametrize("train", [_ended_after_a_step, _killed_after_a_step])
def test_the_model_of_a_run_that_the_time_limit_ended_is_not_reported_as_that_of_the_finished_one(
    ranked: Ranking, tmp_path: Path, emms_cache: Path, train: Any
) -> None:
    folder, settings = tmp_path / "best", {**FAST, "device": "cpu"}
    limited = {**settings, "time_limit": "1h", "save_model": str(folder)}
    options = options_for(ranked, confirm=1, **limited)
    with suppress(KeyboardInterrupt):
        (run,) = fine_tune(prepared(ranked, start_session(ranked, options, Silent())), train).best.fine_tuned.runs
        assert run.unfinished is not None
    finished = hf_emms.confirm(ranked, top=1, **settings).best.fine_tuned
    again = hf_emms.confirm(ranked, top=1, **limited).best.fine_tuned
    assert again == finished
    hf_emms.confirm(ranked, top=1, **{**settings, "cache": False, "save_model": str(tmp_path / "anew")})
    weights = [(place / "model.safetensors").read_bytes() for place in (folder, tmp_path / "anew")]
    assert weights[0] == weights[1]
    assert "ended by the time limit" not in (folder / "README.md").read_text()


def test_a_model_that_was_changed_after_it_was_saved_is_refused_and_one_that_was_deleted_is_trained_again(
    ranked: Ranking, tmp_path: Path, emms_cache: Path
) -> None:
    folder, notes = tmp_path / "best", Notes()
    settings = {**FAST, "device": "cpu", "save_model": str(folder)}
    hf_emms.confirm(ranked, top=1, **settings)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-1] + b"!")
    with pytest.raises(EmmsError, match=r"model\.safetensors was changed after it was saved"):
        hf_emms.confirm(ranked, top=1, progress=notes, **settings)
    assert not notes.planned
    (folder / "model.safetensors").unlink()
    hf_emms.confirm(ranked, top=1, **settings)
    assert (folder / "model.safetensors").read_bytes() == weights
