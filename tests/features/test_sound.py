"""How checkpoints read sound: as their own classifiers do, in parts, from files of many kinds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import transformers

from hf_emms.inputs import EncodedInputs
from hf_emms.inputs.audio import decode
from tests.helpers.extracting import load, rows
from tests.helpers.notes import codes
from tests.helpers.sound import RATE, encoded, sound_checkpoint, tone


@pytest.mark.parametrize("name", ["wav2vec2", "whisper", "audio-spectrogram-transformer"])
def test_features_are_what_the_own_classifier_of_a_family_pools(name: str, zoo: Path) -> None:
    folder = sound_checkpoint(zoo, name)
    loader = transformers.AutoModelForAudioClassification
    model = loader.from_pretrained(folder, num_labels=3, ignore_mismatched_sizes=True).eval()
    # Whisper's classifier pools the frames of padding, too: a clip of its full length has none. AST reads no more.
    clip = encoded(tone(300, 1.2 if name.startswith("audio") else 2.0)[:, 0])
    samples = soundfile.read(io.BytesIO(clip), dtype="float32")[0]  # 16 bits each, as the file has them
    inputs = transformers.AutoFeatureExtractor.from_pretrained(folder)(samples, sampling_rate=RATE, return_tensors="pt")
    features = torch.from_numpy(rows(load(folder, "audio"), EncodedInputs([clip])))
    with torch.no_grad():
        if hasattr(model, "projector"):  # a linear projection of the mean is the mean of projections
            logits = model.classifier(model.projector(features))
        else:
            logits = model.classifier.dense(model.classifier.layernorm(features))
        torch.testing.assert_close(logits, model(**inputs).logits, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("name", "count", "part"),
    [("wav2vec2-layer-norm", 2, 30), ("whisper", 3, 2), ("audio-spectrogram-transformer", 2, 1.28)],
)
def test_a_long_clip_is_read_in_equal_parts(name: str, count: int, part: float, zoo: Path) -> None:
    extractor = load(sound_checkpoint(zoo, name), "audio")
    whole = tone(300, (count - 0.8) * part)
    features = rows(extractor, EncodedInputs([encoded(whole), *map(encoded, np.array_split(whole, count))]))
    np.testing.assert_allclose(features[0], features[1:].mean(0), atol=1e-4)
    assert (codes(extractor.notes), extractor.info().counts.part_seconds) == (
        ["clips-split"],
        pytest.approx(part, abs=0.1),
    )


@pytest.mark.parametrize(
    ("name", "batches"),
    [
        ("wav2vec2-layer-norm", [[5], [6], [1, 4, 2], [3], [0]]),  # of similar lengths, at most 30 seconds
        ("whisper", [[5, 6, 1, 4, 2, 3, 0]]),  # each padded to two seconds, or read in such parts
    ],
)
def test_clips_of_similar_lengths_share_a_batch(name: str, batches: list[list[int]], zoo: Path) -> None:
    extractor = load(sound_checkpoint(zoo, name), "audio")
    sounds = EncodedInputs([encoded(tone(300, seconds)) for seconds in (0.5, 1.0, 0.8, 0.79, 1.0, 16.0, 15.5)])
    assert [positions.tolist() for positions, _ in extractor.batches(sounds)] == batches
    assert extractor._reader._can_pad  # a mask hides padding, or all have one length


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
    assert [len(decode(version, RATE)) for version in versions] == [RATE] * 6
    features = rows(extractor, EncodedInputs(versions))
    others = rows(extractor, EncodedInputs([encoded(tone(900, 1.0))]))
    spread = np.abs(features - features[0]).max()
    assert spread < 0.05 * np.abs(others - features[0]).max()
