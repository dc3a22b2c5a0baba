"""Sounds in the forms that datasets store, and sounds that cannot be used."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import datasets
import numpy as np
import pytest

import hf_emms
from hf_emms.data import Sample
from tests.helpers.quick_python import python
from tests.helpers.rows import pictures, write
from tests.helpers.samples import load_sample, reasons, refused
from tests.helpers.sound import RATE, encoded, tone

N = 12
LABELS = ["low", "high"] * (N // 2)
SOUNDS = [encoded(tone([200, 900][i % 2], 0.3, seed=i)) for i in range(N)]


def sound_rows(sounds: list[bytes], **columns: list) -> datasets.Dataset:
    rows = datasets.Dataset.from_dict({"audio": [{"bytes": b, "path": None} for b in sounds], **columns})
    return rows.cast_column("audio", datasets.Audio())


def check(sample: Sample) -> None:
    assert sample.task.id == "audio-classification"
    assert len(sample) == len(sample.inputs) == N
    assert sample.label_texts == ("high", "low")
    assert {*sample.inputs} == {*SOUNDS}
    assert sample.skipped == 0


def test_typed_and_untyped_columns_are_sounds() -> None:
    check(load_sample(sound_rows(SOUNDS, label=LABELS)))
    check(load_sample(datasets.Dataset.from_dict({"clip": SOUNDS, "label": LABELS})))
    structs = [{"bytes": sound, "path": "a.wav"} for sound in SOUNDS]
    check(load_sample(datasets.Dataset.from_dict({"x": structs, "label": LABELS})))
    check(load_sample(sound_rows(SOUNDS, label=LABELS).to_iterable_dataset(), max_samples=N))


def write_folder(folder: Path, layout: str) -> Path:
    for number, (sound, label) in enumerate(zip(SOUNDS, LABELS, strict=True)):
        write(folder / (label if layout == "classes" else "clips") / f"{number}.wav", sound)
    names = {"metadata": "file_name", "table": "path", "stems": "id"}
    if layout in names:
        cells = [str(i) if layout == "stems" else f"clips/{i}.wav" for i in range(N)]
        lines = [f"{names[layout]},label", *(f"{cell},{label}" for cell, label in zip(cells, LABELS, strict=True))]
        write(folder / ("metadata.csv" if layout == "metadata" else "train.csv"), "\n".join(lines) + "\n")
    return folder / "train.csv" if layout == "table" else folder


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("layout", ["classes", "metadata", "table", "stems"])
def test_folders_and_tables_of_paths_are_sounds(layout: str, streaming: bool, tmp_path: Path) -> None:
    check(load_sample(str(write_folder(tmp_path / "data", layout)), streaming=streaming, max_samples=N))


def test_only_a_table_of_sounds_without_labels_is_refused(tmp_path: Path) -> None:
    assert "audio (audio)" in refused(sound_rows(SOUNDS)).message


HOUR = tone(300, 3_601, 800)
BAD = {
    "it cannot be decoded as WAV, FLAC, OGG or MP3: Format not recognised": pictures(1)[0],
    "there is no sound": b"",
    "it lasts 0 ms, and 50 are needed": encoded(np.zeros((0, 1))),
    "it lasts 49 ms, and 50 are needed": encoded(tone(300, 0.049)),
    "some of its samples are not finite": encoded(np.full((RATE, 1), np.nan), subtype="FLOAT"),
    "it is longer than 60 minutes; split it into clips with a label each": encoded(
        HOUR[: 3_600 * 800 + 1], 800, "FLAC"
    ),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_sound_that_cannot_be_used_is_left_out_and_counted(reason: str) -> None:
    sample = load_sample(sound_rows([*SOUNDS, BAD[reason]], label=[*LABELS, "low"]))
    assert (len(sample), sample.skipped) == (N, 1)
    said = reason if BAD[reason] == b"" else f"a sound cannot be used: {reason}"
    assert reasons(sample) == (f"row 13: {said}",)


def test_odd_sounds_are_read() -> None:
    odd = [
        encoded(tone(300, 0.05)),
        encoded(HOUR[: 3_600 * 800], 800, "FLAC"),
        encoded(tone(300, 0.3), subtype="PCM_U8"),
        encoded(tone(300, 0.3, 192_000), 192_000),
        encoded(tone(300, 0.3, channels=6)),
        encoded(tone(300, 0.3), format="MP3"),
    ]
    assert len(load_sample(sound_rows([*SOUNDS, *odd], label=[*LABELS, *["low"] * 6]))) == N + 6


def test_rows_of_one_speaker_are_one_group() -> None:
    speakers = [f"speaker {i % 5}" for i in range(N)]
    sample = load_sample(sound_rows(SOUNDS, label=LABELS, speaker=speakers), group_column="speaker")
    speaker_of = dict(zip(SOUNDS, speakers, strict=True))
    of_row = [speaker_of[sample.inputs[place]] for place in sample.input_of_row]
    assert len(set(zip(of_row, sample.groups.tolist(), strict=True))) == len(set(sample.groups.tolist())) == 5
    assert sample.unused_columns == ()


def test_a_cell_without_a_group_is_said() -> None:
    rows = sound_rows(SOUNDS, label=LABELS, speaker=["a", None, *"bcde" * 2, "f", "g"])
    assert "no group in column" in reasons(load_sample(rows, group_column="speaker"))[0]


def test_transcripts_are_the_labels_of_speech_recognition() -> None:
    said = [f"Number {i}" for i in range(N)]
    sample = load_sample(sound_rows([*SOUNDS, encoded(tone(700, 0.3))], text=[*said, " "], speaker_id=["a"] * (N + 1)))
    assert (sample.task.id, len(sample), sample.skipped) == ("automatic-speech-recognition", N, 1)
    assert sample.label_texts[0] == "number 0"
    both = sound_rows(SOUNDS, transcription=said, intent_class=LABELS)
    hint = str(refused(both).hint)
    assert "audio-classification: audio = audio; label = intent_class" in hint
    assert "automatic-speech-recognition: audio = audio; text = transcription" in hint
    assert load_sample(both, task="audio-classification").label_texts == ("high", "low")


def test_a_path_that_leaves_a_downloaded_folder_is_no_sound(tmp_path: Path) -> None:
    table = write_folder(tmp_path / "data", "table")
    (table.parent / ".cache" / "huggingface" / "download").mkdir(parents=True)
    write(tmp_path / "secret.wav", SOUNDS[0])
    write(table, table.read_text() + "../secret.wav,low\n")
    sample = load_sample(str(table))
    assert (len(sample), sample.skipped) == (N, 1)


def test_without_soundfile_one_line_says_what_to_install(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", "classes")
    (tmp_path / "soundfile.py").write_text("raise ImportError('no soundfile here')")
    command = [*python(), "-m", "hf_emms", "rank", "--dataset", str(folder), "-c", "demo"]
    places = [str(tmp_path), str(Path(hf_emms.__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "Error: reading sound requires soundfile and soxr, which are not installed" in done.stderr
    assert "[audio]" in done.stderr
    assert "Traceback" not in done.stderr
