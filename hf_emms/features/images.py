"""Pictures that several checkpoints read: decoded and resized once for all that have the same image processor.

Image batches: decoded and preprocessed ahead in a thread while the model computes.
"""

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

from hf_emms.data import Images, Pairs
from hf_emms.data.image_files import as_rgb
from hf_emms.features.device import Batch, pinned

if TYPE_CHECKING:
    from PIL.Image import Image


# Bytes of pixels that are kept: 7,100 pictures of 224 x 224.
BUDGET = 2**30
# What a processor may raise on a step of its own alone.
_FAILURES = (TypeError, ValueError, RuntimeError, KeyError, AttributeError)


class ImageProcessor:
    """A checkpoint's own image processor, in one step or in two.

    Args:
        own: of transformers.
        key: tells apart processors that do different things; None where that cannot be told.
    """

    def __init__(self, own: Any, key: str | None) -> None:
        self._own = own
        self.key = key

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """RGB images to pixel values, float32 (b, 3, H, W)."""
        return self._run(list(images))

    def resized(self, images: Sequence[Any]) -> Tensor:
        """The first step: uint8 (b, 3, H, W); pixel values where the processor does not come apart."""
        return self._run(list(images), do_rescale=False, do_normalize=False) if self._comes_apart else self(images)

    def scaled(self, resized: Tensor) -> Tensor:
        """The second step: to the pixel values of `__call__`, bit by bit."""
        return self._run(resized, do_resize=False, do_center_crop=False) if self._comes_apart else resized

    @cached_property
    def _comes_apart(self) -> bool:
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 256, (300, 260, 3), np.uint8)
        try:
            for image in (Image.fromarray(noise), Image.fromarray(noise[:61, :83])):
                small = self._run([image], do_rescale=False, do_normalize=False)
                again = self._run(small, do_resize=False, do_center_crop=False)
                if small.dtype != torch.uint8 or not torch.equal(again, self([image])):
                    return False
        except _FAILURES:
            return False
        return True

    def _run(self, images: Any, **steps: bool) -> Tensor:
        pixels: Tensor = self._own(images=images, return_tensors="pt", **steps)["pixel_values"]
        return pixels


class PixelStore:
    """Resized pictures by processor and encoded picture, those of the processor that was used last above all.

    Args:
        budget: bytes of pixels.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget
        self._kept: dict[str, dict[bytes, Tensor]] = {}
        self._lock = threading.Lock()

    def take(self, key: str, pictures: Sequence[bytes]) -> list[Tensor | None]:
        """What is kept of a processor, (3, H, W) a picture."""
        with self._lock:
            own = self._kept.pop(key, {})
            self._kept[key] = own  # to the end: the first is the one that has rested longest
            return [own.get(picture) for picture in pictures]

    def put(self, key: str, picture: bytes, pixels: Tensor) -> None:
        """Keeps a picture while the budget allows, instead of those of other processors if it must be."""
        with self._lock:
            while pixels.nbytes > self._left and next(iter(self._kept)) != key:
                rested = self._kept.pop(next(iter(self._kept)))
                self._left += sum(each.nbytes for each in rested.values())
            if pixels.nbytes <= self._left and picture not in self._kept[key]:
                self._kept[key][picture] = pixels
                self._left -= pixels.nbytes


class KeptImages(Images):
    """Images that are decoded and resized once for all processors of one key; parts of them share what is kept."""

    def __init__(self, images: Images, store: PixelStore) -> None:
        super().__init__(images.encoded)
        self._images = images
        self._store = store

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> Image | Images:
        return KeptImages(self._images[index], self._store) if isinstance(index, slice) else self._images[index]

    def read(self, processor: ImageProcessor, positions: Sequence[int]) -> Tensor:
        """Pixel values of some of the images, float32 (b, 3, H, W)."""
        if processor.key is None:
            return processor([self[position] for position in positions])
        pictures = [self.encoded[position] for position in positions]
        taken = zip(positions, self._store.take(processor.key, pictures), strict=True)
        kept = {position: pixels for position, pixels in taken if pixels is not None}
        missing = [position for position in positions if position not in kept]
        if missing:
            for position, pixels in zip(missing, processor.resized([self[at] for at in missing]), strict=True):
                kept[position] = pixels
                self._store.put(processor.key, self.encoded[position], pixels)
        return processor.scaled(torch.stack([kept[position] for position in positions]))


def keeping(inputs: Sequence[Any], store: PixelStore) -> Sequence[Any]:
    """The same inputs, with pictures that are kept for the next checkpoint."""
    if isinstance(inputs, Images):
        return KeptImages(inputs, store)
    if isinstance(inputs, Pairs):
        return replace(inputs, firsts=keeping(inputs.firsts, store))
    return inputs


_CPU = torch.device("cpu")
_AHEAD = 2  # batches decoded ahead: enough to hide one slow batch, little memory
Job = TypeVar("Job")
Ready = TypeVar("Ready")


@dataclass(frozen=True)
class ImageInput:
    """How a checkpoint reads images.

    Attributes:
        processor: its own: b RGB images to pixel values (b, 3, H, W).
        pixels: H x W of a square picture.
        fixed: whether every picture becomes H x W; else its shape follows the picture's, and each is processed alone:
            padding it to another's size would change its features.
        device: that will fetch the pixel values.
    """

    processor: ImageProcessor
    pixels: int
    fixed: bool = True
    device: torch.device = _CPU

    def read(self, images: Sequence[Any], positions: Sequence[int]) -> Tensor:
        """Pixel values of some of the images, (b, 3, H, W): decoded, or kept from another checkpoint."""
        if isinstance(images, KeptImages):
            return pinned(images.read(self.processor, positions), self.device)
        return pinned(self.processor([as_rgb(images[position]) for position in positions]), self.device)


def image_batches(
    source: ImageInput,
    images: Sequence[Any],
    forward: Callable[[dict[str, Tensor]], Tensor],
    batch_size: int,
) -> Iterator[Batch]:
    """Features of images in their order.

    Args:
        source: how the checkpoint reads images.
        images: M images; `images[i]` decodes one as a PIL image.
        forward: `{"pixel_values": ...}` to features (b, D1).
        batch_size: images a batch.

    Yields:
        Positions int64 (b,) and features float32 (b, D1), see `Batch`.
    """

    def prepare(positions: np.ndarray) -> Tensor:
        return source.read(images, positions.tolist())

    batches = (np.arange(start, min(start + batch_size, len(images))) for start in range(0, len(images), batch_size))
    for positions, pixels in ahead(batches, prepare):
        yield positions, forward({"pixel_values": pixels})


def ahead(jobs: Iterable[Job], prepare: Callable[[Job], Ready]) -> Iterator[tuple[Job, Ready]]:
    """Each job with what a thread has prepared of it, in order: at most two are prepared before they are taken."""
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
