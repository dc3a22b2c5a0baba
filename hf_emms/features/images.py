"""Image batches: decoded and preprocessed ahead in a thread while the model computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hf_emms.data.pictures import as_rgb
from hf_emms.features.pixels import ImageProcessor, KeptImages
from hf_emms.features.transfer import Batch, pinned

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
