"""Checkpoints of every family that reads sound, as tiny ones with random weights."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

from hf_emms.errors import EmmsError
from hf_emms.features.architectures import ARCHITECTURES
from hf_emms.inputs import Sounds
from tests.helpers.extracting import load, rows
from tests.helpers.sound import RATE, SOUND_FAMILIES, encoded, sound_checkpoint, tone
from tests.helpers.tiny_checkpoints import build

LENGTHS = (0.5, 1.3, 0.06, 0.5, 0.52)


def clips(seconds=LENGTHS) -> Sounds:
    return Sounds([encoded(tone(200 + 150 * i, length, seed=i)) for i, length in enumerate(seconds)])


def test_every_row_that_reads_sound_has_a_tiny_checkpoint() -> None:
    rows_of_sound = [row for row in ARCHITECTURES if row.input_kind == "audio"]
    assert [row.family for row in rows_of_sound if not {*SOUND_FAMILIES} & {*row.model_types}] == []


@pytest.mark.parametrize("name", SOUND_FAMILIES)
def test_a_clip_has_the_same_features_whatever_else_is_in_its_batch(name: str, zoo: Path) -> None:
    extractor = load(sound_checkpoint(zoo, name), "audio", layers=("spread", "last"))
    together = rows(extractor, clips())
    assert together.shape == (len(LENGTHS), extractor.width)
    assert np.isfinite(together).all()
    scale = np.abs(together).max()
    assert (together / scale).std(0).max() > 1e-3
    np.testing.assert_allclose(rows(extractor, clips(), 1) / scale, together / scale, atol=2e-5)
    assert extractor.layer_slices["spread"].stop > extractor.layer_slices["last"].stop - extractor.width
    assert extractor.refused == {}


@pytest.mark.parametrize("name", ["wav2vec2", "whisper", "audio-spectrogram-transformer"])
def test_features_are_what_the_own_classifier_of_a_family_pools(name: str, zoo: Path) -> None:
    folder = sound_checkpoint(zoo, name)
    loader = transformers.AutoModelForAudioClassification
    model = loader.from_pretrained(folder, num_labels=3, ignore_mismatched_sizes=True).eval()
    # Whisper's classifier pools the frames of padding, too: a clip of its full length has none. AST reads no more.
    clip = encoded(tone(300, 1.2 if name.startswith("audio") else 2.0)[:, 0])
    samples = soundfile.read(io.BytesIO(clip), dtype="float32")[0]  # 16 bits each, as the file has them
    inputs = transformers.AutoFeatureExtractor.from_pretrained(folder)(samples, sampling_rate=RATE, return_tensors="pt")
    features = torch.from_numpy(rows(load(folder, "audio"), Sounds([clip])))
    head = model.classifier if hasattr(model, "classifier") else None
    with torch.no_grad():
        if hasattr(model, "projector"):
            expected = model(**inputs).logits
            # A linear projection of the mean is the mean of projections.
            torch.testing.assert_close(head(model.projector(features)), expected, atol=1e-4, rtol=1e-3)
        else:
            torch.testing.assert_close(
                head.dense(head.layernorm(features)), model(**inputs).logits, atol=1e-3, rtol=1e-2
            )


@pytest.mark.parametrize("name", ["wav2vec2-layer-norm", "whisper"])
def test_a_long_clip_is_read_in_equal_parts(name: str, zoo: Path) -> None:
    extractor = load(sound_checkpoint(zoo, name), "audio")
    part = extractor._reader._reader.part / RATE
    whole = tone(300, 2.4 * part)
    thirds = np.array_split(whole, 3)
    features = rows(extractor, Sounds([encoded(whole), *map(encoded, thirds)]))
    np.testing.assert_allclose(features[0], features[1:].mean(0), atol=1e-4)
    assert f"1 clip was longer than {part:.0f} seconds: equal parts, averaged" in extractor.notes


def test_rates_channels_and_formats_do_not_matter(zoo: Path) -> None:
    extractor = load(sound_checkpoint(zoo, "wav2vec2-layer-norm"), "audio")
    low = np.sin(2 * np.pi * 220 * np.arange(RATE) / RATE) * 0.5
    fine = np.sin(2 * np.pi * 220 * np.arange(3 * RATE) / (3 * RATE)) * 0.5
    versions = [
        encoded(low),
        encoded(low, format="FLAC"),
        encoded(low, subtype="FLOAT"),
        encoded(low, format="OGG"),
        encoded(fine, 3 * RATE),
        encoded(np.stack([low * 2, low * 0], axis=1)),
    ]
    features = rows(extractor, Sounds(versions))
    others = rows(extractor, Sounds([encoded(tone(900, 1.0))]))
    spread = np.abs(features - features[0]).max()
    assert spread < 0.05 * np.abs(others - features[0]).max()


def test_a_checkpoint_of_texts_does_not_read_sound(zoo: Path) -> None:
    with pytest.raises(EmmsError, match="reads texts, not sounds"):
        load(build(zoo, "bert"), "audio")
