"""Checkpoints whose pickled weights contain more than tensors run and train like safetensors, if that is allowed."""

from __future__ import annotations

import collections
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import hf_emms
from hf_emms.ranking import Row
from tests.finetune.make import FAST
from tests.finetune.task_rows import KINDS
from tests.finetune.test_response_scorer import rows as prompts
from tests.finetune.test_transcripts import transcripts
from tests.helpers.sound import asr_model
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_pairs import build_pair
from tests.helpers.tiny_writers import writer


def _rows(name: str) -> Callable[[], Any]:
    return lambda: KINDS[name].rows(40)


# Head → its rows, a checkpoint, and the estimators besides `emms_knn` that load the checkpoint in another way.
HEADS: dict[str, tuple[Callable[[], Any], Callable[[Path], Path], tuple[str, ...]]] = {
    "of transformers": (_rows("classes"), lambda zoo: build(zoo, "bert"), ()),
    "new layers": (_rows("boxes"), lambda zoo: build_pair(zoo, "clip"), ()),
    "embeddings": (_rows("similarity"), lambda zoo: build(zoo, "bert"), ()),
    "responses": (lambda: prompts(40), lambda zoo: writer(zoo, "gpt2"), ("short_run", "zero_shot")),
    "transcripts": (lambda: transcripts(24), lambda zoo: asr_model(zoo, "wav2vec2-layer-norm"), ("word_error_rate",)),
}


@pytest.mark.parametrize("head", HEADS)
def test_pickled_checkpoints_are_ranked_and_fine_tuned_like_others(head: str, zoo: Path, tmp_path: Path) -> None:
    rows, checkpoint, estimators = HEADS[head]
    folder, data = checkpoint(zoo), rows()
    pickled = shutil.copytree(folder, tmp_path / "pickled")
    weights = collections.UserDict(load_file(pickled / "model.safetensors"))
    torch.save(weights, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()

    def row(checkpoint: Path, **settings: Any) -> Row:
        settings |= {"estimators": ("emms_knn", *estimators), "encoders": "demo", "device": "cpu", "cache": False}
        return hf_emms.rank(data, checkpoint, **settings, **training)[str(checkpoint)]

    training: dict[str, Any] = {}
    assert "allow_pickle" in str(row(pickled).error)
    training = {**FAST, "confirm": 1, "epochs": 1}
    expected, read = row(folder), row(pickled, allow_pickle=True)
    assert {*read.scores} == {"emms_knn", *estimators}
    assert {name: score.value for name, score in read.scores.items()} == pytest.approx(
        {name: score.value for name, score in expected.scores.items()}
    )
    assert read.fine_tuned is not None
    assert expected.fine_tuned is not None
    assert read.fine_tuned.error is None
    assert read.fine_tuned.scores == pytest.approx(expected.fine_tuned.scores)
