"""Features of models that read a text together with a picture, against their own forwards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_emms.data import Pairs
from hf_emms.errors import EmmsError
from hf_emms.features.fusion import SHARPNESS
from tests.helpers.extracting import Reads, load, rows, some_pairs
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_pairs import FUSED, build_pair


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fused")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return some_pairs()


def inputs_of(folder: Path, pairs: Pairs, i: int, phrase: Any = str) -> dict[str, torch.Tensor]:
    """One pair as the checkpoint's own processor and tokenizer write it."""
    picture, text = pairs[i]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(phrase(text), return_tensors="pt")
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(picture, return_tensors="pt")
    return {"input_ids": tokens["input_ids"], "pixel_values": pixels["pixel_values"]}


@pytest.mark.parametrize(
    ("name", "part", "argument"),
    [
        ("vilt", "embeddings.patch_embeddings", "pixel_values"),
        ("blip-vqa", "vision_model", "pixel_values"),
        ("git", "picture_encoder", "pixel_values"),
    ],
)
def test_pictures_are_encoded_once(name: str, part: str, argument: str, zoo: Path, pairs: Pairs) -> None:
    extractor = load(build_pair(zoo, name))
    read = Reads(extractor._model.get_submodule(part), argument)
    rows(extractor, pairs, 2)
    assert read.rows == 3


def test_vilt_is_its_own_forward_and_the_same_on_every_run(zoo: Path, pairs: Pairs) -> None:
    folder = build_pair(zoo, "vilt")
    given = rows(load(folder), pairs)
    np.testing.assert_array_equal(rows(load(folder), pairs), given)
    model = transformers.ViltModel.from_pretrained(folder).eval()
    for i in (0, 7):
        inputs = inputs_of(folder, pairs, i)
        mask = torch.ones_like(inputs["pixel_values"][:, 0], dtype=torch.int64)
        with torch.no_grad():
            hidden = model(**inputs, pixel_mask=mask).last_hidden_state[0]
        words = inputs["input_ids"].shape[1]
        expected = torch.cat([hidden[0], hidden[:words].mean(0), hidden[words + 1 :].mean(0)])
        np.testing.assert_allclose(given[i], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["blip-vqa", "blip-itm"])
def test_blip_reads_the_text_before_the_picture(name: str, zoo: Path, pairs: Pairs) -> None:
    folder = build_pair(zoo, name)
    extractor = load(folder)
    assert all("decoder" not in part for part, _ in extractor._model.named_parameters())
    inputs = inputs_of(folder, pairs, 3)
    model = FUSED[name]().from_pretrained(folder).eval()
    with torch.no_grad():
        seen = model.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
        read = model.text_encoder(
            input_ids=inputs["input_ids"],
            encoder_hidden_states=seen,
            attention_mask=torch.ones_like(inputs["input_ids"]),
        )
    expected = torch.cat([read.last_hidden_state[0].mean(0), seen[0].mean(0)])
    np.testing.assert_allclose(rows(extractor, pairs)[3], expected, atol=1e-5)


def test_git_reads_the_question_behind_the_picture_without_its_end(zoo: Path, pairs: Pairs) -> None:
    folder = build_pair(zoo, "git")
    inputs = inputs_of(folder, pairs, 4)
    inputs["input_ids"] = inputs["input_ids"][:, :-1]
    with torch.no_grad():
        model = transformers.GitModel.from_pretrained(folder).eval()
        outputs = model(**inputs, output_hidden_states=True)
    words = inputs["input_ids"].shape[1]
    read = outputs.last_hidden_state[0, -words:]
    expected = torch.cat([read[-1], read.mean(0), outputs.hidden_states[0][0, :-words].mean(0)])
    np.testing.assert_allclose(rows(load(folder), pairs)[4], expected, atol=1e-5)


def test_grounding_dino_weighs_queries_by_their_best_logit(zoo: Path, pairs: Pairs) -> None:
    folder = build_pair(zoo, "grounding-dino")
    inputs = inputs_of(folder, pairs, 5, lambda text: f"{text.lower()}.")
    with torch.no_grad():
        outputs = FUSED["grounding-dino"]().from_pretrained(folder).eval()(**inputs)
    weights = (SHARPNESS * outputs.logits[0].amax(1)).softmax(0)
    expected = torch.cat([weights @ outputs.last_hidden_state[0], weights @ outputs.pred_boxes[0]])
    np.testing.assert_allclose(rows(load(folder), pairs)[5], expected, atol=1e-4)


@pytest.mark.parametrize(("name", "head"), [("vilt", "classifier."), ("blip-vqa", "text_decoder."), ("git", "output.")])
def test_what_a_model_answers_with_changes_no_feature(
    name: str,
    head: str,
    zoo: Path,
    tmp_path: Path,
    pairs: Pairs,
) -> None:
    folder = build_pair(zoo, name)
    other = shutil.copytree(folder, tmp_path / "other")
    weights = load_file(folder / "model.safetensors")
    changed = {key: value + 1 if key.startswith(head) else value for key, value in weights.items()}
    assert any(key.startswith(head) for key in weights)
    save_file(changed, other / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(rows(load(other), pairs), rows(load(folder), pairs))


def test_a_blip_captioner_has_no_reader_of_questions(zoo: Path) -> None:
    folder = build(zoo, "blip")
    (folder / "tokenizer.json").write_text((build_pair(zoo, "blip-vqa") / "tokenizer.json").read_text())
    with pytest.raises(EmmsError, match=r"lack \d+ tensors .* e\.g\. text_encoder"):
        load(folder)
