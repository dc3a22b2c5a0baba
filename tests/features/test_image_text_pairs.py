"""Features of pictures with texts, from real (tiny, random) checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from hf_emms.data import Pairs
from hf_emms.errors import EmmsError
from hf_emms.features.fusion import SHARPNESS, projected_patches
from hf_emms.features.image_text import ImageTextExtractor
from tests.helpers.extracting import Reads, load, rows, some_pairs
from tests.helpers.tiny_checkpoints import TEXTS, build
from tests.helpers.tiny_pairs import DETECTORS, PAIR_MODELS, build_pair

FALLBACKS = {"metaclip_2", "align"}


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return some_pairs()


@pytest.mark.parametrize("name", PAIR_MODELS)
def test_a_row_depends_on_its_pair_alone(name: str, zoo: Path, pairs: Pairs) -> None:
    extractor = load(build_pair(zoo, name))
    assert isinstance(extractor, ImageTextExtractor)
    together = rows(extractor, pairs)
    assert np.isfinite(together).all()
    for batch_size in (1, 4):
        np.testing.assert_allclose(rows(extractor, pairs, batch_size), together, atol=2e-5)
    np.testing.assert_allclose(rows(extractor, pairs[3:9]), together[3:9], atol=2e-5)
    if name != "align":  # at random weights its CNN hardly tells pictures apart
        assert len({row.round(3).tobytes() for row in together}) == len(pairs)
    assert any("fallback" in note for note in extractor.notes) == (name in FALLBACKS)


@pytest.mark.parametrize(
    ("name", "text"), [("clip", "text_model"), ("siglip", "text_model"), ("dual-vit", "text_model")]
)
def test_each_tower_reads_each_distinct_part_once(name: str, text: str, zoo: Path, pairs: Pairs) -> None:
    extractor = load(build_pair(zoo, name))
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
        ("vit", "is a vit checkpoint, which reads no images with texts"),
        ("bert", "is a bert checkpoint, which reads no images with texts"),
        ("vision-encoder-decoder", "reads no images with texts"),
    ],
)
def test_models_of_one_kind_of_input_are_refused(name: str, reason: str, zoo: Path) -> None:
    with pytest.raises(EmmsError, match=reason) as refused:
        load(build(zoo, name))
    assert "CLIP, SigLIP" in str(refused.value.hint)


def test_an_unknown_model_without_two_towers_is_refused(zoo: Path, tmp_path: Path) -> None:
    folder = build(zoo, "xlnet")
    tiny = build_pair(zoo, "clip")
    (folder / "preprocessor_config.json").write_text((tiny / "preprocessor_config.json").read_text())
    with pytest.raises(EmmsError, match="no image tower and text tower"):
        load(folder)


def test_a_pair_extractor_takes_no_single_inputs(zoo: Path) -> None:
    with pytest.raises(EmmsError, match="not list"):
        next(load(build_pair(zoo, "clip")).batches(["a"]))
