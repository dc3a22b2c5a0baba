"""Fine-tuning to transcribe: what is learnt, and that `pipeline()` gets the reported score of the saved model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import transformers

import hf_emms
from hf_emms.heads.metrics import CHARACTERS_RIGHT, WORDS_RIGHT
from tests.finetune.make import FAST, ranking, save
from tests.helpers.sound import ASR_MODELS, RATE, asr_model, encoded, sound_checkpoint, tone

WORDS = ["Do!", "mi"]


def spoken(count: int, first: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Two tones a clip, high or low, and a word for each."""
    places = [(row % 2, row // 2 % 2) for row in range(count)]
    sounds = [
        np.concatenate([tone([250, 2500][pitch], 0.25, seed=first + row) for pitch in pair])
        for row, pair in enumerate(places)
    ]
    return sounds, [" ".join(WORDS[pitch] for pitch in pair) for pair in places]


def rows(count: int, first: int = 0) -> datasets.Dataset:
    sounds, texts = spoken(count, first)
    audio = [{"bytes": encoded(samples), "path": None} for samples in sounds]
    return datasets.Dataset.from_dict({"audio": audio, "text": texts}).cast_column("audio", datasets.Audio())


def confirmed(folders: list[Path], tmp_path: Path, **options: Any) -> list[Any]:
    data = save(datasets.DatasetDict(train=rows(40), test=rows(12, 500)), tmp_path / "data")
    columns = {"audio": "audio", "text": "text"}
    ranked = ranking(data, "automatic-speech-recognition", columns, dict.fromkeys(map(str, folders), -0.1))
    result = hf_emms.confirm(ranked, top=len(folders), save_model=str(tmp_path / "kept"), **FAST | options)
    return [row.fine_tuned for row in result.rows]


@pytest.mark.parametrize("name", ["wav2vec2", *ASR_MODELS])
def test_pipeline_gets_the_reported_score(name: str, zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    folder = asr_model(zoo, name) if name in ASR_MODELS else sound_checkpoint(zoo, name)
    (result,) = confirmed([folder], tmp_path)
    assert result.error is None
    assert result.metric == "1 - WER"
    assert set(result.scores) == {"1 - WER", "1 - CER"}
    transcribe = transformers.pipeline("automatic-speech-recognition", str(tmp_path / "kept"))
    sounds, texts = spoken(12, 500)
    written = [transcribe({"raw": samples[:, 0], "sampling_rate": RATE})["text"] for samples in sounds]
    references = [[(text, 1.0)] for text in texts]
    for metric in (WORDS_RIGHT, CHARACTERS_RIGHT):
        assert metric.compute(written, references) == pytest.approx(result.scores[metric.name])
    if name != "wav2vec2-layer-norm":
        assert result.scores["1 - CER"] > 0
    notes = [note for run in result.runs for note in run.notes]
    assert any("a new head for 4 letters" in note for note in notes) == (name == "wav2vec2")
    assert "pipeline_tag: automatic-speech-recognition" in (tmp_path / "kept" / "README.md").read_text()
