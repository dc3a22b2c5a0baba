"""Pictures that several checkpoints read are decoded and resized once, and are the same bit by bit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from hf_emms.data import Images, Pairs
from hf_emms.features.images import BUDGET, ImageProcessor, KeptImages, PixelStore, keeping
from hf_emms.features.load import load_extractor
from tests.helpers.rows import png
from tests.helpers.tiny_checkpoints import build, repo_of

SIZED = {
    "vit": transformers.ViTImageProcessor(size={"height": 48, "width": 48}),
    "clip": transformers.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
    "convnext": transformers.ConvNextImageProcessor(size={"shortest_edge": 32}),
    "siglip": transformers.SiglipImageProcessor(size={"height": 40, "width": 40}),
    "blip": transformers.BlipImageProcessor(size={"height": 40, "width": 40}),
    "efficientnet": transformers.EfficientNetImageProcessor(
        size={"height": 40, "width": 40}
    ),  # scales before it resizes
}


class Counting(ImageProcessor):
    """An image processor that counts the pictures it decodes and resizes."""

    def __init__(self, own: Any, key: str | None = "one") -> None:
        super().__init__(own, key)
        self.pictures = 0

    def resized(self, images: Any) -> torch.Tensor:
        self.pictures += len(images)
        return super().resized(images)


def pictures(count: int, side: int = 60) -> Images:
    rng = np.random.default_rng(5)
    return Images([png_of(rng.integers(0, 256, (side + i, 2 * side - i, 3), np.uint8)) for i in range(count)])


def png_of(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize("name", SIZED)
def test_what_is_kept_gives_the_same_pixel_values_bit_by_bit(name: str) -> None:
    images = pictures(5)
    processor = ImageProcessor(SIZED[name], name)
    kept = KeptImages(images, PixelStore())
    plain = processor([images[i] for i in range(5)])
    for _ in range(2):
        assert torch.equal(kept.read(processor, [3, 4]), plain[3:])
        assert torch.equal(kept.read(processor, [0, 1, 2, 3, 4]), plain)


def test_pictures_are_kept_as_bytes_where_the_processor_comes_apart() -> None:
    image = pictures(1)[0]
    assert ImageProcessor(SIZED["convnext"], "a").resized([image]).dtype == torch.uint8
    assert ImageProcessor(SIZED["efficientnet"], "a").resized([image]).dtype == torch.float32


def test_a_picture_is_decoded_once_for_all_processors_of_a_key_and_all_parts() -> None:
    processor, images = Counting(SIZED["vit"]), keeping(pictures(6), PixelStore())
    assert isinstance(images, KeptImages)
    images.read(processor, [0, 1, 2])
    images[2:].read(processor, [0, 1, 2, 3])
    images.read(processor, range(6))
    assert processor.pictures == 6
    images.read(Counting(SIZED["vit"], "other"), range(6))
    images.read(processor, range(6))
    assert processor.pictures == 6


def test_a_processor_that_may_run_code_of_its_own_keeps_nothing() -> None:
    processor, images = Counting(SIZED["vit"], None), KeptImages(pictures(2), PixelStore())
    assert torch.equal(images.read(processor, [0, 1]), processor([images[0], images[1]]))
    assert processor.pictures == 0


def test_the_budget_holds_and_the_processor_in_use_goes_before_others() -> None:
    each = 3 * 48 * 48
    first, second, images = Counting(SIZED["vit"], "a"), Counting(SIZED["vit"], "b"), pictures(4)
    kept = KeptImages(images, PixelStore(3 * each + 1))
    for _ in range(2):
        kept.read(first, range(4))
    assert first.pictures == 4 + 1  # the fourth found no room
    kept.read(second, range(4))  # takes the place of the first
    kept.read(second, range(3))
    assert second.pictures == 4
    kept.read(first, range(3))
    assert first.pictures == 5 + 3


def test_pairs_keep_their_pictures_and_texts_are_left_alone() -> None:
    pairs = Pairs(pictures(2), ["a", "b"], np.array([[0, 1], [1, 0]]))
    store = PixelStore(BUDGET)
    assert isinstance(keeping(pairs, store).firsts, KeptImages)  # type: ignore[attr-defined]
    assert keeping(["a", "b"], store) == ["a", "b"]


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_checkpoint_gives_the_same_features_from_kept_pictures(tmp_path: Path, name: str) -> None:
    images = Images([png((i, 3 * i, 7)) for i in range(11)])
    extractor = load_extractor(repo_of(build(tmp_path, name)), "image", "image-classification", device="cpu")
    kept = keeping(images, PixelStore())
    plain, first, again = (
        np.concatenate([rows for _, rows in extractor.batches(source, batch_size=4)]) for source in (images, kept, kept)
    )
    np.testing.assert_array_equal(first, plain)
    np.testing.assert_array_equal(again, plain)
