"""Images: decoded and resized in a thread, once for all checkpoints that share an image processor."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import Note
from hf_emms.features.extractor import FeatureReader
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, load_error
from hf_emms.inputs.encoded import EncodedInputs, EncodedModality, map_ahead
from hf_emms.inputs.modality import BatchReader, Pairs, TrainingReader, UnusableError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Batch, BatchedForward
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel

# --- content of a dataset ---------------------------------------------------------------------------------

# First bytes of PNG, JPEG, GIF, TIFF, WebP and BMP files.
_START = re.compile(rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|BM....\0\0\0\0", re.DOTALL)


class Images(EncodedInputs):
    """Encoded images. An element is a PIL image in RGB, without transparency and with the EXIF orientation applied.

    With a cache, each image is decoded and resized once for all processors of the same key. Slices share the cache.
    """

    def __init__(self, encoded: Sequence[bytes], cache: PixelCache | None = None) -> None:
        super().__init__(encoded)
        self.cache = cache

    def __getitem__(self, index: Any) -> Any:
        from PIL import Image, ImageOps

        if isinstance(index, slice):
            return Images(self.encoded[index], self.cache)
        with Image.open(io.BytesIO(self.encoded[index])) as image:
            return as_rgb(ImageOps.exif_transpose(image))

    def read(self, processor: ImageProcessor, positions: Sequence[int]) -> Tensor:
        """Return the pixel values of the images at these positions, float32 (b, 3, H, W)."""
        import torch

        if processor.key is None or self.cache is None:
            return processor([self[position] for position in positions])
        cached = self.cache.get(processor.key, [self.encoded[position] for position in positions])
        pixels = {position: resized for position, resized in zip(positions, cached, strict=True) if resized is not None}
        missing = [position for position in positions if position not in pixels]
        if missing:
            for position, resized in zip(missing, processor.resize([self[i] for i in missing]), strict=True):
                pixels[position] = resized
                self.cache.put(processor.key, self.encoded[position], resized)
        return processor.rescale(torch.stack([pixels[position] for position in positions]))


def _as_png(pixels: Any) -> bytes:
    """Return pixels, shape (H, W, C) with values from 0 to 255, as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8).squeeze()).save(file, "PNG")
    return file.getvalue()


def as_rgb(image: Any) -> Any:
    return image if image.mode == "RGB" else image.convert("RGB")


# --- image processors, and the cache of resized images ----------------------------------------------------

MAX_CACHED_BYTES = 2**30  # 7,100 images of 224 x 224 pixels


class ImageProcessor:
    """A checkpoint's image processor, in one step, or in two steps with a result that can be cached.

    Processors with the same result have the same `key`. It is None if the results cannot be compared.
    """

    def __init__(self, original: Any, key: str | None) -> None:
        self.original = original
        self.key = key

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Return the pixel values of RGB images, float32 (b, 3, H, W)."""
        return self._run(list(images))

    def resize(self, images: Sequence[Any]) -> Tensor:
        """Return resized images, uint8 (b, 3, H, W). If the steps cannot be separated, return the pixel values."""
        return self._run(list(images), do_rescale=False, do_normalize=False) if self._separable else self(images)

    def rescale(self, resized: Tensor) -> Tensor:
        """Convert resized images to exactly the pixel values of `__call__`."""
        return self._run(resized, do_resize=False, do_center_crop=False) if self._separable else resized

    @cached_property
    def _separable(self) -> bool:
        import torch
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


class PixelCache:
    """A cache of resized images per processor and encoded image. It drops the least recently used processor first."""

    def __init__(self, max_bytes: int = MAX_CACHED_BYTES) -> None:
        self._bytes_left = max_bytes
        self._pixels: dict[str, dict[bytes, Tensor]] = {}  # least recently used first
        self._lock = threading.Lock()

    def get(self, key: str, images: Sequence[bytes]) -> list[Tensor | None]:
        """Return a processor's cached pixels (3, H, W) of each image, or None."""
        with self._lock:
            cached = self._pixels[key] = self._pixels.pop(key, {})
            return [cached.get(image) for image in images]

    def put(self, key: str, image: bytes, pixels: Tensor) -> None:
        """Cache an image of the most recently used processor, if it fits."""
        with self._lock:
            while pixels.nbytes > self._bytes_left and next(iter(self._pixels)) != key:
                removed = self._pixels.pop(next(iter(self._pixels)))
                self._bytes_left += sum(tensor.nbytes for tensor in removed.values())
            if pixels.nbytes <= self._bytes_left and image not in self._pixels[key]:
                self._pixels[key][image] = pixels
                self._bytes_left -= pixels.nbytes


def with_pixel_cache(inputs: Sequence[Any], cache: PixelCache) -> Sequence[Any]:
    """Return the inputs with a cache for their images, if they have images."""
    if isinstance(inputs, Images):
        return Images(inputs.encoded, cache)
    if isinstance(inputs, Pairs):
        return replace(inputs, firsts=with_pixel_cache(inputs.firsts, cache))
    return inputs


# --- batches ----------------------------------------------------------------------------------------------

_MAX_IMAGES_PER_BATCH = 256


@dataclass(frozen=True)
class ImageReader:
    """Turns images into the pixel values that a checkpoint reads.

    Attributes:
        processor: The checkpoint's image processor.
        pixels: H x W of a square image after processing.
        fixed_size: Whether all images get the same size. Otherwise each image is processed alone, because padding to
            the size of another image would change its features.
        device: The device of the model.
    """

    processor: ImageProcessor
    pixels: int
    fixed_size: bool
    device: torch.device

    @property
    def training_notes(self) -> tuple[Note, ...]:
        text = "images are resized to squares for training, because the image processor leaves them at various sizes"
        return () if self.fixed_size else (Note("images-made-square", text),)

    def read_groups(self, images: Sequence[Any], positions: Sequence[int]) -> list[tuple[np.ndarray, Tensor]]:
        """Return pixel values in groups of equal size: indices into `positions`, and (b, 3, H, W)."""
        import torch

        if self.fixed_size:
            return [(np.arange(len(positions)), self._read(images, positions))]
        groups: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        for i, position in enumerate(positions):
            pixels = self._read(images, [position])
            groups.setdefault(tuple(pixels.shape), []).append((i, pixels))
        return [
            (np.array([i for i, _ in group]), torch.cat([pixels for _, pixels in group])) for group in groups.values()
        ]

    def images_that_fit(self, forward: BatchedForward) -> int:
        return min(_MAX_IMAGES_PER_BATCH, max(1, forward.max_elements // self.pixels))

    def training_batches(self, images: Sequence[Any], image_of_row: np.ndarray) -> BatchReader:
        """Return a reader of training batches. If sizes vary, it resizes the images to squares."""
        side = round(self.pixels**0.5)

        def read(rows: np.ndarray) -> dict[str, Tensor]:
            positions = image_of_row[rows].tolist()
            if self.fixed_size:
                return {"pixel_values": self._read(images, positions)}
            return {"pixel_values": self.processor([images[i].resize((side, side)) for i in positions])}

        return read

    def _read(self, images: Sequence[Any], positions: Sequence[int]) -> Tensor:
        """Return the pixel values of images that have one size after processing, (b, 3, H, W)."""
        from hf_emms.features.device import pinned

        if isinstance(images, Images):
            return pinned(images.read(self.processor, positions), self.device)
        return pinned(self.processor([as_rgb(images[position]) for position in positions]), self.device)


def load_image_reader(spec: FeatureSpec, device: torch.device | None = None, *, side: int | None = None) -> ImageReader:
    """Load the checkpoint's image processor, by default for training on the CPU.

    With `side`, it resizes all images to squares of so many pixels.

    Raises:
        EmmsError: It cannot be loaded.
    """
    import torch
    from PIL import Image
    from transformers import AutoImageProcessor

    size = {"height": side, "width": side}
    squares = {} if side is None else {"do_resize": True, "size": size, "do_center_crop": False}
    try:
        loaded = AutoImageProcessor.from_pretrained(
            spec.model_folder, trust_remote_code=spec.code, local_files_only=True, **squares
        )
        # The code of two repositories may differ even if their configurations are equal.
        processor = ImageProcessor(
            loaded, None if spec.code else f"{type(loaded).__qualname__} {loaded.to_json_string()}"
        )
        square = processor([example_image()]).shape[-2:]
        fixed = all(processor([Image.new("RGB", size)]).shape[-2:] == square for size in ((64, 96), (96, 64)))
    except LOAD_FAILURES as error:
        raise load_error(spec, "image processor (preprocessor_config.json)", error) from error
    return ImageReader(processor, square[0] * square[1], fixed, device or torch.device("cpu"))


def example_image() -> Any:
    from PIL import Image

    return Image.new("RGB", (64, 64))


class ImageFeatures(FeatureReader):
    """The `FeatureReader` of images."""

    def __init__(self, model: Any, reader: ImageReader, layers: LayerReader) -> None:
        from hf_emms.features.device import PIXELS

        super().__init__(lambda inputs: layers(model, inputs), model, layers, PIXELS)
        self._reader = reader

    def batches(self, images: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        size = batch_size or self._reader.images_that_fit(self._forward)
        batches = (np.arange(start, min(start + size, len(images))) for start in range(0, len(images), size))
        for positions, groups in map_ahead(batches, lambda batch: self._reader.read_groups(images, batch.tolist())):
            for members, pixels in groups:
                yield positions[members], self._forward({"pixel_values": pixels})

    def example(self) -> Sequence[Any]:
        return [example_image()]


# --- the modality -----------------------------------------------------------------------------------------


class _Image(EncodedModality):
    def collect(self, contents: Sequence[bytes]) -> Images:
        return Images(contents)

    def as_cell(self, value: Any) -> Any:
        """Return a PIL image as a lossless file with its orientation applied. Other values are returned unchanged."""
        from PIL import Image, ImageOps

        if not isinstance(value, Image.Image):
            return value
        buffer = io.BytesIO()
        as_rgb(ImageOps.exif_transpose(value)).save(buffer, "png")
        return {"bytes": buffer.getvalue(), "path": None}

    def holds(self, feature: Any) -> bool:
        is_struct = isinstance(feature, Mapping) and set(feature) == {"bytes", "path"}
        is_binary = str(getattr(feature, "dtype", "")) in ("binary", "large_binary", "binary_view")
        is_array = type(feature).__name__ == "Array3D" and feature.dtype == "uint8"
        return is_struct or is_binary or is_array or type(feature).__name__ == "Image"

    def recognizes(self, content: bytes) -> bool:
        return _START.match(content) is not None

    def read(self, value: Any, column: str) -> bytes:
        """Return the encoded bytes of an undecoded Image cell, a list of one image, pixels, or binary data."""
        if isinstance(value, list) and value and isinstance(value[0], list):
            return _as_png(value)
        if isinstance(value, (list, tuple)):
            if len(value) != 1:
                raise UnusableError(f"a row has {len(value)} pictures instead of 1")
            value = value[0]
        encoded: bytes = self.stored_bytes(value, "picture")
        return encoded

    def check(self, content: bytes) -> None:
        from PIL import Image, UnidentifiedImageError

        problem = None
        try:
            with Image.open(io.BytesIO(content)) as image:
                # JPEG decodes to an eighth of its size several times faster, and still reads every byte.
                image.draft("RGB", (32, 32))
                image.load()
                if image.mode.startswith(("I", "F")):
                    problem = f"the value of white is unknown in its mode {image.mode}; save it with 8 bits"
        except UnidentifiedImageError:
            problem = "its format is unknown"
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            problem = str(error) or type(error).__name__
        if problem:
            raise UnusableError(f"a picture cannot be decoded: {problem}")

    def size(self, content: bytes) -> tuple[int, int]:
        from PIL import Image, ImageOps

        with Image.open(io.BytesIO(content)) as image:
            ImageOps.exif_transpose(image, in_place=True)  # decodes only rotated images
            width, height = image.size
            return width, height

    def load_processors(self, spec: FeatureSpec, device: torch.device) -> ImageReader:
        return load_image_reader(spec, device)

    def feature_reader(
        self, loaded: LoadedModel, processors: ImageReader, layers: tuple[str, ...], *, spans: bool
    ) -> ImageFeatures:
        from hf_emms.features.layers import make_layer_reader

        return ImageFeatures(loaded.model, processors, make_layer_reader(loaded, layers))

    def training_reader(self, spec: FeatureSpec, model: Any) -> TrainingReader:
        reader = load_image_reader(spec)
        notes = reader.training_notes
        if not reader.fixed_size:  # the saved processor makes the squares too
            reader = load_image_reader(spec, side=round(reader.pixels**0.5))
        return TrainingReader(
            lambda images, image_of_row: (reader.training_batches(images, image_of_row), ()),
            (reader.processor.original,),
            notes,
        )


IMAGE = _Image(
    name="image",
    singular="picture",
    plural="images",
    column_types=("image", "images"),
    suffixes=(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".jfif", ".avif"),
    recognized_by_type=True,
    fallback_pooling="image_fallback",
    fallback_summary="image features or pooled output if the model has them, else the mean of tokens or map",
    cpu_seconds=2.5e-9,
    chunk_rows=64,
)
