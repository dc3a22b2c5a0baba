"""Pictures that several checkpoints read are decoded and resized once, and are the same bit by bit."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from hf_emms.inputs import Images, Pairs
from hf_emms.inputs.image import ImageProcessor, PixelCache, with_pixel_cache
from tests.helpers import extracting
from tests.helpers.tiny_checkpoints import build

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

    def __init__(self, processor: Any, key: str | None = "one") -> None:
        super().__init__(processor, key)
        self.pictures = 0

    def resize(self, images: Any) -> torch.Tensor:
        self.pictures += len(images)
        return super().resize(images)


def pictures(count: int) -> Images:
    buffers = [io.BytesIO() for _ in range(count)]
    for buffer, picture in zip(buffers, extracting.pictures(), strict=False):
        picture.save(buffer, "png")
    return Images([buffer.getvalue() for buffer in buffers])


@pytest.mark.parametrize("name", SIZED)
def test_what_is_cached_gives_the_same_pixel_values_bit_by_bit(name: str) -> None:
    images = pictures(5)
    processor = ImageProcessor(SIZED[name], name)
    cached = with_pixel_cache(images, PixelCache())
    plain = processor([images[i] for i in range(5)])
    for _ in range(2):
        assert torch.equal(cached.read(processor, [3, 4]), plain[3:])
        assert torch.equal(cached.read(processor, [0, 1, 2, 3, 4]), plain)


def test_pictures_are_cached_as_bytes_where_the_steps_of_the_processor_are_separable() -> None:
    image = pictures(1)[0]
    assert ImageProcessor(SIZED["convnext"], "a").resize([image]).dtype == torch.uint8
    assert ImageProcessor(SIZED["efficientnet"], "a").resize([image]).dtype == torch.float32


def test_a_picture_is_decoded_once_for_all_processors_of_a_key_and_all_parts() -> None:
    processor, images = Counting(SIZED["vit"]), with_pixel_cache(pictures(6), PixelCache())
    assert isinstance(images, Images)
    images.read(processor, [0, 1, 2])
    images[2:].read(processor, [0, 1, 2, 3])
    images.read(processor, range(6))
    assert processor.pictures == 6
    images.read(Counting(SIZED["vit"], "other"), range(6))
    images.read(processor, range(6))
    assert processor.pictures == 6


def test_a_processor_that_may_run_code_of_its_own_caches_nothing() -> None:
    processor, images = Counting(SIZED["vit"], None), with_pixel_cache(pictures(2), PixelCache())
    assert torch.equal(images.read(processor, [0, 1]), processor([images[0], images[1]]))
    assert processor.pictures == 0


def test_the_cache_keeps_its_size_and_drops_other_processors_first() -> None:
    each = 3 * 48 * 48
    first, second, images = Counting(SIZED["vit"], "a"), Counting(SIZED["vit"], "b"), pictures(4)
    cached = with_pixel_cache(images, PixelCache(3 * each))
    for _ in range(2):
        cached.read(first, range(4))
    assert first.pictures == 4 + 1  # the fourth did not fit
    cached.read(second, range(4))  # replaces the first
    cached.read(second, range(3))
    assert second.pictures == 4
    cached.read(first, range(3))
    assert first.pictures == 5 + 3
    for processor in (second, first):
        both = with_pixel_cache(images, PixelCache(3 * each))
        both.read(first, [0])
        both.read(second, [0, 1])  # fits next to the first, to the last byte
        both.read(processor, [0])
    assert (first.pictures, second.pictures) == (8 + 2, 4 + 4)


def test_pictures_of_pairs_are_cached_and_texts_are_left_alone() -> None:
    pairs = Pairs(pictures(2), ["a", "b"], np.array([[0, 1], [1, 0]]))
    store = PixelCache()
    assert with_pixel_cache(pairs, store).firsts.cache is store  # type: ignore[attr-defined]
    assert with_pixel_cache(["a", "b"], store) == ["a", "b"]


@pytest.mark.parametrize(("name", "keeps_shape"), [("vit", False), ("resnet", False), ("resnet", True)])
def test_features_depend_on_no_cache_and_no_batch(name: str, keeps_shape: bool, zoo: Path, tmp_path: Path) -> None:
    folder, images = shutil.copytree(build(zoo, name), tmp_path / name), pictures(7)
    if keeps_shape:
        transformers.CLIPImageProcessor(size={"shortest_edge": 32}, do_center_crop=False).save_pretrained(folder)
    extractor, cached = extracting.load(folder), with_pixel_cache(images, PixelCache())
    expected = extracting.rows(extractor, images, 1)
    for inputs in (images, cached, cached):
        np.testing.assert_allclose(extracting.rows(extractor, inputs, 4), expected, rtol=0, atol=1e-5)
