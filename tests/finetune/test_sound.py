"""Fine-tuning on sound: the classifiers of transformers, which `pipeline()` opens, and a head of ours."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import transformers

import hf_emms
from tests.finetune.make import FAST, ranking, save
from tests.helpers.sound import RATE, encoded, sound_checkpoint, tone

CHECKPOINTS = ("wav2vec2", "whisper", "audio-spectrogram-transformer", "moonshine")


def tones(count: int) -> datasets.Dataset:
    """High and low tones of ten speakers, some too short for the masks of SpecAugment."""
    sounds = [encoded(tone([200, 2000][row % 2], 0.06 + 0.4 * (row % 3), seed=row)) for row in range(count)]
    rows = {
        "audio": [{"bytes": sound, "path": None} for sound in sounds],
        "label": [["low", "high"][row % 2] for row in range(count)],
        "speaker": [f"speaker {row // 2 % 10}" for row in range(count)],
    }
    return datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())


def test_sounds_are_learnt_and_the_saved_model_opens_with_pipeline(zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    folders = [str(sound_checkpoint(zoo, name)) for name in CHECKPOINTS]
    data = save(datasets.DatasetDict(train=tones(60), test=tones(20)), tmp_path / "data")
    columns = {"audio": "audio", "label": "label"}
    rows = ranking(data, "audio-classification", columns, dict.fromkeys(folders, -0.1))
    kept = tmp_path / "kept"
    confirmed = hf_emms.confirm(rows, top=4, save_model=str(kept), **FAST)
    results = {Path(row.checkpoint).name: row.fine_tuned for row in confirmed.rows}
    assert {name: result.error for name, result in results.items()} == dict.fromkeys(results)
    assert {metric for result in results.values() for metric in result.scores} == {"accuracy", "macro F1"}
    assert max(result.value for result in results.values()) > 0.8
    assert "pipeline_tag: audio-classification" in (kept / "README.md").read_text()


def test_a_kept_classifier_of_transformers_hears_tones(zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    folder = str(sound_checkpoint(zoo, "audio-spectrogram-transformer"))
    data = save(tones(60), tmp_path / "data")
    rows = ranking(data, "audio-classification", {"audio": "audio", "label": "label"}, {folder: -0.1})
    rows.settings["group_column"] = "speaker"
    confirmed = hf_emms.confirm(rows, top=1, save_model=str(tmp_path / "kept"), **FAST)
    (row,) = confirmed.rows
    assert row.fine_tuned.error is None
    classify = transformers.pipeline("audio-classification", str(tmp_path / "kept"))
    answers = classify({"raw": np.asarray(tone(200, 1.0)[:, 0]), "sampling_rate": RATE})
    assert {answer["label"] for answer in answers} == {"low", "high"}
