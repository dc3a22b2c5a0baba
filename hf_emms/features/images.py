"""Pictures to batches: decoded and resized in a thread, once for all checkpoints with the same image processor."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from hf_emms.features.device import Batch, BatchedForward, pinned
from hf_emms.features.extraction_plan import LOAD_FAILURES, ExtractionPlan, load_error
from hf_emms.inputs import Images, Pairs
from hf_emms.inputs.image import as_rgb

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageProcessor:
    """A checkpoint's image processor, in one step, or in two of which the first can be cached.

    Args:
        original: the processor of transformers.
        key: equal for processors that do the same; None where that is unknown.
    """

    def __init__(self, original: Any, key: str | None) -> None:
        self.original = original
        self.key = key

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """RGB images to pixel values, float32 (b, 3, H, W)."""
        return self._run(list(images))

    def resize(self, images: Sequence[Any]) -> Tensor:
        """The first step: uint8 (b, 3, H, W), or pixel values where the steps cannot be separated."""
        return self._run(list(images), do_rescale=False, do_normalize=False) if self._separable else self(images)

    def rescale(self, resized: Tensor) -> Tensor:
        """The second step: the pixel values of `__call__`, bit by bit."""
        return self._run(resized, do_resize=False, do_center_crop=False) if self._separable else resized

    @cached_property
    def _separable(self) -> bool:
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8)
        try:
            for image in (Image.fromarray(noise), Image.fromarray(noise[:61, :83])):
                resized = self._run([image], do_rescale=False, do_normalize=False)
                pixels = self._run(resized, do_resize=False, do_center_crop=False)
                if resized.dtype != torch.uint8 or not torch.equal(pixels, self([image])):
                    return False
        except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):
            return False
        return True

    def _run(self, images: Any, **steps: bool) -> Tensor:
        pixels: Tensor = self.original(images=images, return_tensors="pt", **steps)["pixel_values"]
        return pixels


# --- resized pictures, cached for the next checkpoint -----------------------------------------------------

MAX_CACHED_BYTES = 2**30  # of pixels: 7,100 pictures of 224 x 224


class PixelCache:
    """Resized pictures by processor and encoded picture. The processor that was used least recently makes room.

    Args:
        max_bytes: of pixels.
    """

    def __init__(self, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._bytes_left = max_bytes
        self._pixels: dict[str, dict[bytes, Tensor]] = {}  # least recently used first
        self._lock = threading.Lock()

    def get(self, key: str, pictures: Sequence[bytes]) -> list[Tensor | None]:
        """The cached pixels of a processor, (3, H, W) a picture."""
        with self._lock:
            cached = self._pixels[key] = self._pixels.pop(key, {})
            return [cached.get(picture) for picture in pictures]

    def put(self, key: str, picture: bytes, pixels: Tensor) -> None:
        """Caches a picture of the processor that was used last, if it fits."""
        with self._lock:
            while pixels.nbytes > self._bytes_left and next(iter(self._pixels)) != key:
                removed = self._pixels.pop(next(iter(self._pixels)))
                self._bytes_left += sum(each.nbytes for each in removed.values())
            if pixels.nbytes <= self._bytes_left and picture not in self._pixels[key]:
                self._pixels[key][picture] = pixels
                self._bytes_left -= pixels.nbytes


class CachedImages(Images):
    """Images that are decoded and resized once for all processors of one key; slices share the cache."""

    def __init__(self, images: Images, cache: PixelCache) -> None:
        super().__init__(images.encoded)
        self._images = images
        self._cache = cache

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> Image | Images:
        return CachedImages(self._images[index], self._cache) if isinstance(index, slice) else self._images[index]

    def read(self, processor: ImageProcessor, positions: Sequence[int]) -> Tensor:
        """Pixel values of some of the images, float32 (b, 3, H, W)."""
        if processor.key is None:
            return processor([self[position] for position in positions])
        pictures = [self.encoded[position] for position in positions]
        cached = zip(positions, self._cache.get(processor.key, pictures), strict=True)
        pixels = {position: resized for position, resized in cached if resized is not None}
        missing = [position for position in positions if position not in pixels]
        if missing:
            for position, resized in zip(missing, processor.resize([self[i] for i in missing]), strict=True):
                pixels[position] = resized
                self._cache.put(processor.key, self.encoded[position], resized)
        return processor.rescale(torch.stack([pixels[position] for position in positions]))


def with_pixel_cache(inputs: Sequence[Any], cache: PixelCache) -> Sequence[Any]:
    """The same inputs, whose pictures, if any, are cached for the next checkpoint."""
    if isinstance(inputs, Images):
        return CachedImages(inputs, cache)
    if isinstance(inputs, Pairs):
        return replace(inputs, firsts=with_pixel_cache(inputs.firsts, cache))
    return inputs


# --- what a model reads -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageReader:
    """How a checkpoint reads images.

    Attributes:
        processor: b RGB images to pixel values (b, 3, H, W).
        pixels: H x W of a square picture.
        fixed_size: whether every picture becomes H x W. If not, each is processed alone: padding a picture to the size
            of another would change its features.
        device: will fetch the pixel values.
    """

    processor: ImageProcessor
    pixels: int
    fixed_size: bool
    device: torch.device

    def read_groups(self, images: Sequence[Any], positions: Sequence[int]) -> list[tuple[np.ndarray, Tensor]]:
        """Pixel values of some of the images in groups of one size: indices into `positions`, and (b, 3, H, W)."""
        if self.fixed_size:
            return [(np.arange(len(positions)), self._read(images, positions))]
        groups: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        for i, position in enumerate(positions):
            pixels = self._read(images, [position])
            groups.setdefault(tuple(pixels.shape), []).append((i, pixels))
        return [
            (np.array([i for i, _ in group]), torch.cat([pixels for _, pixels in group])) for group in groups.values()
        ]

    def _read(self, images: Sequence[Any], positions: Sequence[int]) -> Tensor:
        """Pixel values of some of the images, which must have one size then, (b, 3, H, W)."""
        if isinstance(images, CachedImages):
            return pinned(images.read(self.processor, positions), self.device)
        return pinned(self.processor([as_rgb(images[position]) for position in positions]), self.device)


def read_image_processor(plan: ExtractionPlan, device: torch.device) -> ImageReader:
    """The checkpoint's image processor.

    Raises:
        EmmsError: it cannot be loaded.
    """
    from PIL import Image
    from transformers import AutoImageProcessor

    try:
        loaded = AutoImageProcessor.from_pretrained(
            plan.model_folder, trust_remote_code=plan.code, local_files_only=True
        )
        # Code of two repositories may differ where their configurations are equal.
        processor = ImageProcessor(
            loaded, None if plan.code else f"{type(loaded).__qualname__} {loaded.to_json_string()}"
        )
        square = processor([Image.new("RGB", (64, 64))]).shape[-2:]
        fixed = all(processor([Image.new("RGB", size)]).shape[-2:] == square for size in ((64, 96), (96, 64)))
    except LOAD_FAILURES as error:
        raise load_error(plan, "image processor (preprocessor_config.json)", error) from error
    return ImageReader(processor, square[0] * square[1], fixed, device)


# --- batches ----------------------------------------------------------------------------------------------

_MAX_IMAGES = 256  # a batch
_AHEAD = 2  # batches decoded ahead: enough to hide one slow batch

Job = TypeVar("Job")
Ready = TypeVar("Ready")


def images_that_fit(forward: BatchedForward, pixels: int) -> int:
    """How many images of so many pixels a batch should have."""
    return min(_MAX_IMAGES, max(1, forward.batch_elements() // pixels))


def image_batches(
    reader: ImageReader, images: Sequence[Any], forward: BatchedForward, batch_size: int | None
) -> Iterator[Batch]:
    """Features of M images.

    Args:
        reader: of the checkpoint.
        images: `images[i]` decodes one as a PIL image.
        forward: `{"pixel_values"}` (b, 3, H, W) to features (b, D1).
        batch_size: images a batch; None: what fits.
    """
    size = batch_size or images_that_fit(forward, reader.pixels)
    batches = (np.arange(start, min(start + size, len(images))) for start in range(0, len(images), size))
    for positions, groups in prepare_ahead(batches, lambda batch: reader.read_groups(images, batch.tolist())):
        for members, pixels in groups:
            yield positions[members], forward({"pixel_values": pixels})


def prepare_ahead(jobs: Iterable[Job], prepare: Callable[[Job], Ready]) -> Iterator[tuple[Job, Ready]]:
    """Each job with its result `prepare(job)`, in order; a thread works at most two jobs ahead."""
    waiting = deque(jobs)
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as thread:
        ready: deque[tuple[Job, Future[Ready]]] = deque()
        try:
            while waiting or ready:
                while waiting and len(ready) < _AHEAD:
                    job = waiting.popleft()
                    ready.append((job, thread.submit(prepare, job)))
                job, future = ready.popleft()
                yield job, future.result()
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
