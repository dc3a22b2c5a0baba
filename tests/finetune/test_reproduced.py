"""At any setting, and for inputs as people have them, a saved model predicts what was measured."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from tests.finetune.task_rows import KINDS, Kind, checkpoint_of, kept
from tests.helpers.notes import codes
from tests.helpers.sound import RATE, encoded, tone

# Kind → a checkpoint whose class of transformers has such a head or whose embeddings are trained, and others whose head
# is custom.
CHECKPOINTS = {
    "classes": ("bert", "gpt2", "clip-text"),
    "several": ("bert",),
    "values": ("distilbert", "gpt2"),
    "pairs": ("mpnet", "clip-text"),
    "similarity": ("bert",),
    "colours": ("resnet", "dinov3_vit"),
    "tones": ("wav2vec2", "audio-spectrogram-transformer", "moonshine"),
    "tags": ("bert", "bart"),
    "answers in long texts": ("distilbert", "gemma"),
    "about pictures": ("vilt", "blip-vqa"),
    "boxes": ("owlvit", "dual-vit"),
    "captions": ("resnet",),
}
TEXTS = {"text", "premise", "hypothesis", "sentence1", "sentence2", "question"}


def photo(stored: dict[str, Any], random: np.random.Generator) -> dict[str, Any]:
    """A picture of these colours as a photo: portrait or landscape, rotated, transparent, or with a palette."""
    width, height = random.integers(20, 90, 2).tolist()
    image = Image.open(io.BytesIO(stored["bytes"])).resize((width, height))
    kind, exif, file = random.choice(["JPEG", "RGBA", "P", "L"]), Image.Exif(), io.BytesIO()
    exif[0x0112] = int(random.integers(1, 9))
    if kind == "JPEG":
        image.save(file, "JPEG", exif=exif)
    else:
        image.putalpha(int(random.integers(0, 256)))
        (image if kind == "RGBA" else image.convert("RGB").convert(kind)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def as_people_have_them(kind: Kind, seed: int) -> Kind:
    """The rows of a kind with very short and long texts, photos, and sounds of all lengths."""
    random = np.random.default_rng(seed)

    def rows(count: int) -> datasets.Dataset:
        made = kind.rows(count)
        features = made.features
        for name, feature in features.items():
            if isinstance(feature, (datasets.Image, datasets.Audio)):
                made = made.cast_column(name, type(feature)(decode=False))
        columns = made.to_dict()
        for name in columns:
            if name in TEXTS and kind.task != "question-answering":
                lengths = random.choice([4, 30, 900], count)
                long = zip(columns[name], lengths, range(count), strict=True)
                columns[name] = [f"{text * 20:.{length}} {row}" for text, length, row in long]
            elif isinstance(features[name], datasets.Image):
                columns[name] = [photo(stored, random) for stored in columns[name]]
            elif isinstance(features[name], datasets.Audio):
                lengths = random.uniform(0.05, 3, count)
                sounds = [tone([200, 2000][row % 2], length, seed=row) for row, length in enumerate(lengths)]
                columns[name] = [{"bytes": encoded(sound, RATE), "path": None} for sound in sounds]
                return datasets.Dataset.from_dict(columns).cast_column(name, features[name])
        return datasets.Dataset.from_dict(columns, features)

    return Kind(kind.task, rows, kind.metrics, kind.columns)


@pytest.mark.parametrize("daily", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in CHECKPOINTS.items() for name in names])
def test_saved_models_predict_what_was_measured(
    kind: str, name: str, daily: bool, daily_seed: int, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = daily_seed if daily else 0
    monkeypatch.setattr("hf_emms.finetune.training._ROUNDING", (1e-5, 1e-5))
    random = np.random.default_rng([seed, *f"{kind} {name}".encode()])
    settings = {
        "learning_rates": f"{10 ** random.uniform(-4, np.log10(3e-2)):.3g}",
        "batch_size": int(random.integers(1, 9)),
        "epochs": int(random.integers(1, 4)),
    }
    count = int(random.integers(30, 61))
    _, result, _ = kept(
        as_people_have_them(KINDS[kind], seed), checkpoint_of(zoo, kind, name), tmp_path, count, **settings
    )
    (run,) = result.runs
    assert not {"saved-model-differs"} & set(codes(run.notes)), [str(note) for note in run.notes]
    assert run.saved_scores == {}
