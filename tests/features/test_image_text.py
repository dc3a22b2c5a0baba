"""Features of pictures with texts, from real (tiny, random) checkpoints, against their own forwards."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from hf_emms.errors import EmmsError
from hf_emms.features.fusion import SHARPNESS, projected_patches
from hf_emms.inputs import Pairs
from tests.helpers import extracting
from tests.helpers.extracting import Reads, rows, some_pairs
from tests.helpers.tiny_checkpoints import TEXT, TEXTS, build, processor
from tests.helpers.tiny_pairs import DETECTORS, FUSED, PAIR_MODELS, build_pair

FALLBACKS = {"metaclip_2", "align"}
load = partial(extracting.load, kind="image+text")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return some_pairs()


@pytest.mark.parametrize("name", PAIR_MODELS)
def test_a_row_depends_on_its_pair_alone(name: str, zoo: Path, pairs: Pairs) -> None:
    extractor = load(build_pair(zoo, name))
    together = rows(extractor, pairs)
    assert np.isfinite(together).all()
    for batch_size in (1, 4):
        np.testing.assert_allclose(rows(extractor, pairs, batch_size), together, atol=2e-5)
    np.testing.assert_allclose(rows(extractor, pairs[3:9]), together[3:9], atol=2e-5)
    if name != "align":  # at random weights its CNN hardly tells pictures apart
        assert len({row.round(3).tobytes() for row in together}) == len(pairs)
    assert any("fallback" in note for note in extractor.notes) == (name in FALLBACKS)


def test_each_tower_reads_each_distinct_part_once(zoo: Path, pairs: Pairs) -> None:
    extractor = load(build_pair(zoo, "clip"))
    read = Reads(extractor._model.vision_model, "pixel_values"), Reads(extractor._model.text_model, "input_ids")
    rows(extractor, pairs, 2)
    assert tuple(tower.rows for tower in read) == (3, len(TEXTS))


@pytest.mark.parametrize("name", ["clip", "siglip", "dual-vit", "dual-swin"])
def test_two_towers_give_picture_text_product_and_map(name: str, zoo: Path, pairs: Pairs) -> None:
    folder = build_pair(zoo, name)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    given = rows(load(folder), pairs)
    for i in (0, 5, 11):
        picture, text = pairs[i]
        padding = {"padding": "max_length", "max_length": 24} if name == "siglip" else {}
        tokens = tokenizer(text, return_tensors="pt", truncation=True, **padding)["input_ids"]
        with torch.no_grad():
            outputs = model(input_ids=tokens, pixel_values=processor(picture, return_tensors="pt")["pixel_values"])
        seen, read = outputs.image_embeds[0].numpy(), outputs.text_embeds[0].numpy()
        np.testing.assert_allclose(given[i, : 3 * len(seen)], np.concatenate([seen, read, seen * read]), atol=1e-5)
        assert np.abs(given[i, 3 * len(seen) :]).max() <= 1 + 1e-5  # cosines


@pytest.mark.parametrize("name", ["clip", "siglip", "dual-clip", "dual-vit", "dual-swin", "align"])
def test_a_patch_that_is_the_whole_picture_is_as_similar_as_the_picture(name: str, zoo: Path, pairs: Pairs) -> None:
    """The path of a patch into the common space is that of the picture: the map of one cell is the similarity."""
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
    torch.testing.assert_close(patch.flatten(1), outputs.pooler_output, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["clip", "siglip", "dual-clip", "owlvit"])
def test_the_map_moves_with_the_picture(name: str, zoo: Path) -> None:
    extractor = load(build_pair(zoo, name))
    dark = Image.new("RGB", (32, 32), (40, 40, 40))
    moved = []
    for x, y in [(8, 8), (16, 16)]:
        picture = dark.copy()
        picture.paste((250, 30, 200), (x, y, x + 8, y + 8))
        moved.append(picture)
    maps = rows(extractor, Pairs([dark, *moved], ["cat"], np.array([(0, 0), (1, 0), (2, 0)])))[:, -16:]
    side = 4
    changes = np.abs(maps[1:] - maps[0]).reshape(2, side, side)
    assert [np.unravel_index(change.argmax(), change.shape) for change in changes] == [(1, 1), (2, 2)]


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_weigh_patches_by_the_logits_of_the_text(name: str, zoo: Path, pairs: Pairs) -> None:
    folder = build_pair(zoo, name)
    model = DETECTORS[name]().from_pretrained(folder).eval()
    given = rows(load(folder), pairs)
    picture, text = pairs[0]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        outputs = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
    weights = (SHARPNESS * outputs.logits[0, :, 0]).softmax(0)
    np.testing.assert_allclose(given[0, -20:-16], weights @ outputs.pred_boxes[0], atol=1e-4)
    np.testing.assert_allclose(given[0, -16:], outputs.logits[0, :, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit", "is a vit checkpoint, which reads images, not images with texts"),
        ("bert", "is a bert checkpoint, which reads texts, not images with texts"),
        ("vision-encoder-decoder", "reads images, not images with texts"),
        ("xlnet", "reads texts, not images with texts"),
    ],
)
def test_models_of_one_kind_of_input_are_refused(name: str, reason: str, zoo: Path) -> None:
    with pytest.raises(EmmsError, match=reason) as refused:
        load(build(zoo, name))
    assert "CLIP, SigLIP" in str(refused.value.hint)


def test_an_unknown_model_without_two_towers_is_refused(zoo: Path, tmp_path: Path) -> None:
    config = transformers.LayoutLMv3Config(input_size=32, patch_size=8, coordinate_size=2, shape_size=2, **TEXT)
    folder = build(zoo, "layoutlmv3", lambda: transformers.LayoutLMv3Model(config), reads_text=True)
    processor().save_pretrained(folder)
    with pytest.raises(EmmsError, match="no image tower and text tower"):
        load(folder)


def test_a_pair_extractor_takes_no_single_inputs(zoo: Path) -> None:
    with pytest.raises(EmmsError, match="not list"):
        next(load(build_pair(zoo, "clip")).batches(["a"]))


# --- models that read both together -----------------------------------------------------------------------


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
    assert not any("decoder" in part for part, _ in extractor._model.named_parameters())
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


def test_a_blip_captioner_has_no_reader_of_questions(zoo: Path) -> None:
    folder = build(zoo, "blip")
    (folder / "tokenizer.json").write_text((build_pair(zoo, "blip-vqa") / "tokenizer.json").read_text())
    with pytest.raises(EmmsError, match=r"lack \d+ tensors .* e\.g\. text_encoder"):
        load(folder)
