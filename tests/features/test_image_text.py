"""Features of pictures with texts, from real (tiny, random) checkpoints, against their own forwards."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import adaptive_avg_pool2d

from hf_emms.features.fusion import projected_patches
from tests.helpers import extracting
from tests.helpers.errors import raises_code
from tests.helpers.extracting import Reads, own_pixels, rows, some_pairs
from tests.helpers.tiny_checkpoints import TEXT, TEXTS, build, processor
from tests.helpers.tiny_pairs import DETECTORS, FUSED, build_pair

load = partial(extracting.load, kind="image+text")


PAIRS = some_pairs()


def inputs_of(folder: Path, number: int, phrase: Any = str, **padding: Any) -> dict[str, torch.Tensor]:
    """A pair as the checkpoint's own processor and tokenizer write it."""
    picture, text = PAIRS[number]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        phrase(text), return_tensors="pt", truncation=True, **padding
    )
    return {"input_ids": tokens["input_ids"], "pixel_values": own_pixels(folder, picture)["pixel_values"]}


@pytest.mark.parametrize("name", ["clip", "siglip", "dual-vit", "dual-swin"])
def test_two_towers_give_picture_text_product_and_map(name: str, zoo: Path) -> None:
    folder = build_pair(zoo, name)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    features = rows(load(folder), PAIRS)
    padding = {"padding": "max_length", "max_length": 24} if name == "siglip" else {}
    for number in (0, 5, 11):
        with torch.no_grad():
            outputs = model(**inputs_of(folder, number, **padding))
            patches = projected_patches(model, outputs.vision_model_output.last_hidden_state)
        seen, read = outputs.image_embeds[0], outputs.text_embeds[0]
        cosines = torch.cosine_similarity(patches, read[:, None, None], dim=1)
        cells = adaptive_avg_pool2d(cosines, 7 if name == "dual-swin" else 4).flatten()  # of 8 × 8 or 4 × 4
        np.testing.assert_allclose(features[number], torch.cat([seen, read, seen * read, cells]), atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip", "dual-clip", "dual-vit", "dual-swin", "align"])
def test_a_patch_that_is_the_whole_picture_is_as_similar_as_the_picture(name: str, zoo: Path) -> None:
    """Patches are projected into the common space as the picture is: a map of one cell equals the similarity."""
    extractor = load(build_pair(zoo, name))
    model = extractor._model
    with torch.no_grad():
        outputs = model.get_image_features(pixel_values=torch.randn(2, 3, 32, 32))
        hidden = outputs.last_hidden_state
        if name in ("clip", "dual-clip", "dual-vit"):  # pooled from CLS: as if CLS were a patch
            alone = hidden[:, :1]
        elif name == "siglip":
            alone = hidden[:, 3:4]
            outputs.pooler_output = model.vision_model.head(alone)
        else:
            alone = hidden.mean((2, 3), keepdim=True) if hidden.ndim == 4 else hidden.mean(1, keepdim=True)
        patch = projected_patches(model, alone)
        # Up to eight tokens before a square of patches are the class token and registers; more make no map.
        maps = [projected_patches(model, torch.zeros(1, tokens, hidden.shape[-1])) for tokens in (33, 34)]
    torch.testing.assert_close(patch.flatten(1), outputs.pooler_output, atol=1e-5, rtol=1e-4)
    assert [None if cells is None else cells.shape[2:] for cells in maps] == [(5, 5), None] or hidden.ndim == 4


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_weigh_patches_by_the_logits_of_the_text(name: str, zoo: Path) -> None:
    folder = build_pair(zoo, name)
    model = DETECTORS[name]().from_pretrained(folder).eval()
    features = rows(load(folder), PAIRS)[0]
    inputs = inputs_of(folder, 0)
    with torch.no_grad():
        outputs = model(**inputs, attention_mask=torch.ones_like(inputs["input_ids"]))
    weights = (4 * outputs.logits[0, :, 0]).softmax(0)
    np.testing.assert_allclose(features[-20:-16], weights @ outputs.pred_boxes[0], atol=1e-4)
    np.testing.assert_allclose(features[-16:], outputs.logits[0, :, 0], atol=1e-4)


def test_an_unknown_model_without_two_towers_is_refused(zoo: Path, tmp_path: Path) -> None:
    config = transformers.LayoutLMv3Config(input_size=32, patch_size=8, coordinate_size=2, shape_size=2, **TEXT)
    folder = build(zoo, "layoutlmv3", lambda: transformers.LayoutLMv3Model(config), reads_text=True)
    processor().save_pretrained(folder)
    with raises_code("unsupported-family"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "pictures", "texts"),
    [
        ("clip", "vision_model", "text_model"),
        ("vilt", "embeddings.patch_embeddings", None),
        ("blip-vqa", "vision_model", None),
        ("git", "picture_encoder", None),
    ],
)
def test_each_distinct_part_is_encoded_once(name: str, pictures: str, texts: str | None, zoo: Path) -> None:
    extractor = load(build_pair(zoo, name))
    read = {Reads(extractor._model.get_submodule(pictures), "pixel_values"): 3}
    if texts is not None:
        read[Reads(extractor._model.get_submodule(texts), "input_ids")] = len(TEXTS)
    rows(extractor, PAIRS, 2)
    assert [part.rows for part in read] == [*read.values()]


# --- models that read both together -----------------------------------------------------------------------


def test_vilt_is_its_own_forward_and_the_same_on_every_run(zoo: Path) -> None:
    folder = build_pair(zoo, "vilt")
    features = rows(load(folder), PAIRS)
    np.testing.assert_array_equal(rows(load(folder), PAIRS), features)
    model = transformers.ViltModel.from_pretrained(folder).eval()
    for i in (0, 7):
        inputs = inputs_of(folder, i)
        mask = torch.ones_like(inputs["pixel_values"][:, 0], dtype=torch.int64)
        with torch.no_grad():
            hidden = model(**inputs, pixel_mask=mask).last_hidden_state[0]
        words = inputs["input_ids"].shape[1]
        expected = torch.cat([hidden[0], hidden[:words].mean(0), hidden[words + 1 :].mean(0)])
        np.testing.assert_allclose(features[i], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["blip-vqa", "blip-itm"])
def test_blip_reads_the_text_before_the_picture(name: str, zoo: Path) -> None:
    folder = build_pair(zoo, name)
    extractor = load(folder)
    assert not any("decoder" in part for part, _ in extractor._model.named_parameters())
    inputs = inputs_of(folder, 3)
    model = FUSED[name]().from_pretrained(folder).eval()
    with torch.no_grad():
        seen = model.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
        read = model.text_encoder(
            input_ids=inputs["input_ids"],
            encoder_hidden_states=seen,
            attention_mask=torch.ones_like(inputs["input_ids"]),
        )
    expected = torch.cat([read.last_hidden_state[0].mean(0), seen[0].mean(0)])
    np.testing.assert_allclose(rows(extractor, PAIRS)[3], expected, atol=1e-5)


def test_git_reads_the_question_behind_the_picture_without_its_end(zoo: Path) -> None:
    folder = build_pair(zoo, "git")
    model, features = transformers.GitModel.from_pretrained(folder).eval(), rows(load(folder), PAIRS)
    for number, (_, text) in enumerate(PAIRS):
        inputs = inputs_of(folder, number)
        inputs["input_ids"] = inputs["input_ids"][:, :-1]
        with torch.no_grad():
            outputs = model(**inputs, output_hidden_states=True)
        words = inputs["input_ids"].shape[1]
        assert words > 1 or not text
        read = outputs.last_hidden_state[0, -words:]
        expected = torch.cat([read[-1], read.mean(0), outputs.hidden_states[0][0, :-words].mean(0)])
        np.testing.assert_allclose(features[number], expected, atol=1e-5)


def test_grounding_dino_weighs_queries_by_their_best_logit(zoo: Path) -> None:
    folder = build_pair(zoo, "grounding-dino")
    inputs = inputs_of(folder, 5, lambda text: f"{text.lower()}.")
    with torch.no_grad():
        outputs = FUSED["grounding-dino"]().from_pretrained(folder).eval()(**inputs)
    weights = (4 * outputs.logits[0].amax(1)).softmax(0)
    expected = torch.cat([weights @ outputs.last_hidden_state[0], weights @ outputs.pred_boxes[0]])
    np.testing.assert_allclose(rows(load(folder), PAIRS)[5], expected, atol=1e-4)


def test_a_blip_captioner_has_no_reader_of_questions(zoo: Path) -> None:
    folder = build(zoo, "blip")
    (folder / "tokenizer.json").write_text((build_pair(zoo, "blip-vqa") / "tokenizer.json").read_text())
    with raises_code("weights-missing", "text_encoder"):
        load(folder)
