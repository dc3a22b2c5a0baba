"""A saved folder holds the preprocessing that measured it, so that its documented call reproduces the score."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import sentence_transformers as st
import transformers
from huggingface_hub import ModelCard
from PIL import Image

import hf_emms
from hf_emms.heads.row import RowNetwork
from hf_emms.inputs.audio import SoundReader, decode, encode
from hf_emms.inputs.image import Images
from hf_emms.inputs.text import MAX_TRAINING_TOKENS
from tests.finetune.make import colours, texts
from tests.finetune.task_rows import KINDS, Kind, kept, scores
from tests.helpers.notes import codes
from tests.helpers.sound import RATE, sound_checkpoint
from tests.helpers.tiny_checkpoints import TEXT, build, tiny
from tests.helpers.tiny_families import IMAGE_FAMILIES

LIMIT = 40  # tokens of the tiny checkpoints; two positions of RoBERTa stand for padding


def long_texts(count: int) -> datasets.Dataset:
    """Rows whose texts exceed the limit, so that the truncated part would change their class."""
    rows = [f"{text} {' '.join(texts(9))}" if row % 3 else text for row, text in enumerate(texts(count))]
    return datasets.Dataset.from_dict({"text": rows, "label": [["dog", "cat"][row % 2] for row in range(count)]})


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2"])
@pytest.mark.parametrize("rate", ["1e-3", "3e-2"])
def test_saved_tokenizers_truncate_as_evaluation_does(name: str, rate: str, zoo: Path, tmp_path: Path) -> None:
    kind = OTHERS["long texts"]
    folder, result, test = kept(kind, build(zoo, name), tmp_path, learning_rates=rate, batch_size=5)
    read = transformers.AutoTokenizer.from_pretrained(folder)
    assert read.model_max_length == LIMIT - 2 * (name == "roberta")
    longer = sum(len(read(test.inputs[row]).input_ids) > read.model_max_length for row in test.input_of_row)
    *_, note = (note for note in result.runs[0].notes if note.code == "texts-truncated")
    assert re.search(r"\d+", note.text)[0] == str(longer)
    classify = transformers.pipeline("text-classification", model=str(folder), device="cpu")
    answers = classify([test.inputs[row] for row in test.input_of_row.tolist()], truncation=True)
    assert scores(kind, [answer["label"] for answer in answers], test) == pytest.approx(result.scores)


def test_saved_embedding_models_have_the_limit_of_training(zoo: Path, tmp_path: Path) -> None:
    modules = st.sentence_transformer.modules
    long = build(zoo, "long-bert", tiny("BertModel", **{**TEXT, "max_position_embeddings": 600}), reads_text=True)
    layers = [modules.Transformer(str(long), max_seq_length=600), modules.Pooling(16, "mean")]
    st.SentenceTransformer(modules=layers).save_pretrained(str(tmp_path / "st"), create_model_card=False)
    assert st.SentenceTransformer(str(tmp_path / "st"), device="cpu").max_seq_length == 600
    folder, _, _ = kept(KINDS["similarity"], tmp_path / "st", tmp_path)
    assert st.SentenceTransformer(str(folder), device="cpu").max_seq_length == MAX_TRAINING_TOKENS


def wide(count: int) -> datasets.Dataset:
    """Pictures in portrait and landscape format, whose colour shows at the edges only."""
    rows = colours(count)

    def stretched(row: dict[str, Any], number: int) -> dict[str, Any]:
        height, width = ((20, 60), (64, 24))[number // 2 % 2]
        pixels = np.full((height, width, 3), 90 + number % 7, np.uint8)
        pixels[:, : width // 4] = ((20, 20, 180), (180, 20, 20))[row["label"]]
        return {"image": Image.fromarray(pixels), "label": row["label"]}

    return rows.map(stretched, with_indices=True, features=rows.features)


OTHERS = {
    "long texts": Kind("text-classification", long_texts, ("accuracy", "macro F1")),
    "wide": Kind("image-classification", wide, ("accuracy", "macro F1")),
}


def test_saved_image_processors_make_the_squares_of_evaluation(zoo: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(build(zoo, "resnet"), tmp_path / "resnet")
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, do_center_crop=False).save_pretrained(checkpoint)
    kind = OTHERS["wide"]
    folder, result, test = kept(kind, checkpoint, tmp_path, learning_rates="1e-2")
    images = [test.inputs[row] for row in test.input_of_row.tolist()]
    saved = transformers.AutoImageProcessor.from_pretrained(folder)
    assert {saved(images=[image], return_tensors="pt")["pixel_values"].shape for image in images} == {(1, 3, 32, 32)}
    classify = transformers.pipeline("image-classification", model=str(folder), device="cpu")
    answers = [answer[0]["label"] for answer in classify(images)]
    assert scores(kind, answers, test) == pytest.approx(result.scores)


def _append_silence(patch: pytest.MonkeyPatch) -> None:
    batch = SoundReader.training_batch
    patch.setattr(SoundReader, "training_batch", lambda reader, sounds, seconds=0.5: batch(reader, sounds, 0.5))


def _pad_batches(patch: pytest.MonkeyPatch) -> None:
    read = SoundReader.training_batch
    other = encode(np.random.default_rng(0).normal(scale=0.1, size=3 * RATE), RATE)

    def beside(reader: SoundReader, sounds: list[bytes], seconds: float = 0.5) -> Any:
        return {name: tensor[:-1] for name, tensor in read(reader, [*sounds, other], seconds).items()}

    patch.setattr(SoundReader, "training_batch", beside)


def _read_at_another_rate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("hf_emms.inputs.audio.decode", lambda sound, rate: decode(sound, rate * 9 // 10))


def _save_the_original_processors(patch: pytest.MonkeyPatch) -> None:
    def save(network: RowNetwork, folder: Path) -> None:
        for processor in network.processors:
            is_text = hasattr(processor, "model_max_length")
            kind = transformers.AutoTokenizer if is_text else transformers.AutoImageProcessor
            kind.from_pretrained(network._spec.model_folder).save_pretrained(folder)

    patch.setattr(RowNetwork, "save_processors", save)


@pytest.mark.parametrize(
    ("break_it", "kind", "name"),
    [
        (_append_silence, "tones", "wav2vec2"),
        (_pad_batches, "tones", "wav2vec2"),
        (_read_at_another_rate, "tones", "audio-spectrogram-transformer"),
        (_save_the_original_processors, "long texts", "bert"),
        (_save_the_original_processors, "wide", "resnet"),
    ],
)
def test_saving_notices_that_the_saved_model_differs(
    break_it: Callable[[pytest.MonkeyPatch], None],
    kind: str,
    name: str,
    zoo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = sound_checkpoint(zoo, name) if kind == "tones" else build(zoo, name)
    if kind == "wide":
        checkpoint = shutil.copytree(checkpoint, tmp_path / name)
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, do_center_crop=False).save_pretrained(checkpoint)
    break_it(monkeypatch)
    folder, result, _ = kept(KINDS.get(kind) or OTHERS[kind], checkpoint, tmp_path, epochs=1)
    (run,) = result.runs
    assert "saved-model-differs" in codes(run.notes)
    card = ModelCard.load(folder / "README.md").data
    stated = {each.metric_type: each.metric_value for each in card.eval_results}
    assert stated == pytest.approx(run.saved_scores or run.scores, abs=1e-6)
    assert bool(run.saved_scores) == (kind != "long texts"), "the pipeline raises an error for long texts"


def test_pictures_in_memory_are_read_as_their_files_are(zoo: Path, tmp_path: Path) -> None:
    checkpoint = build(zoo, "dinov3_vit", IMAGE_FAMILIES["dinov3_vit"])
    folder, _, _ = kept(KINDS["colours"], checkpoint, tmp_path)
    model = hf_emms.load_finetuned(folder, device="cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(file, "jpeg", exif=exif)
    opened = Image.open(io.BytesIO(file.getvalue()))
    palette = Image.fromarray(pixels).quantize(8)
    (as_read,) = model._contents([opened])
    np.testing.assert_array_equal(as_read, Images([file.getvalue()])[0])
    assert [np.shape(image) for image in model._contents([opened, palette])] == [(30, 40, 3), (40, 30, 3)]


def test_equal_sounds_in_memory_have_equal_bytes() -> None:
    samples = np.random.default_rng(0).normal(scale=0.1, size=(800, 2)).astype(np.float32)
    encoded = encode(samples, 16_000)
    assert encoded == encode(samples, 16_000)
    # A chunk PEAK of libsndfile would contain the time of day.
    assert b"PEAK" not in encoded
    np.testing.assert_allclose(decode(encoded, 16_000), samples.mean(1), atol=1e-7)
