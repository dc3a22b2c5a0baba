"""Images: held encoded, decoded and resized in a thread, once for all checkpoints with the same image processor."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.bounds import check_processor_config
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, ReadCounts, load_error
from hf_emms.inputs.encoded import EncodedInputs, EncodedKind, prepare_ahead
from hf_emms.inputs.modality import BatchReader, Pairs, TrainingReader, UnusableError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from hf_emms.features.device import Batch, BatchedForward
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel

# --- content of a dataset ---------------------------------------------------------------------------------

# EXIF's orientation tag, and its values under which width and height change places.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
# How files of PNG, JPEG, GIF, TIFF, WebP and BMP start.
_START = re.compile(rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|II\*\0|MM\0\*|RIFF....WEBP|BM....\0\0\0\0", re.DOTALL)
# White of pixels in 16 bits that use 8, 12 or all of them.
_WHITES = (255, 4_095, 65_535)
# Modes of pixels without a defined white: 32-bit integers and floats.
_WITHOUT_WHITE = ("I", "F")
# Channels that an array of pixels may have: gray, with alpha, colours, with alpha.
_MAX_CHANNELS = 4
# An array of fractional numbers up to this is on a scale of its own, as the digits of scikit-learn up to 16.
_FEW_LEVELS = 32


class Images(EncodedInputs):
    """Images held as encoded bytes; an element is a PIL image in RGB.

    The camera's orientation tag (EXIF) is applied, as ``datasets`` does; transparency is dropped, as image processors
    do.
    """

    def open(self, encoded: bytes) -> Any:
        from PIL import Image, ImageOps

        with Image.open(io.BytesIO(encoded)) as image:
            return as_rgb(ImageOps.exif_transpose(image))


def as_rgb(image: Any) -> Any:
    """Return a PIL image in RGB: gray ones are repeated over the channels, an alpha channel is dropped.

    White is the highest value of 16 bits, or of 12 or 8 bits where no pixel is brighter, as scans often are.
    """
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to white instead of scaling them down.
        brightest = image.getextrema()[1]
        white = next(white for white in _WHITES if brightest <= white)
        image = image.point(lambda value: value * (255 / white)).convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _holds_pixels(feature: Any) -> bool:
    """Return whether each cell of a feature is an array of pixels: Array2D to Array4D, or nested lists of bytes."""
    if type(feature).__name__ in ("Array2D", "Array3D", "Array4D"):
        return True
    depth = 0
    while (element := getattr(feature, "feature", None)) is not None:
        feature, depth = element, depth + 1
    return depth in (2, 3) and getattr(feature, "dtype", "") == "uint8"


def _rank(value: Any) -> int:
    """Return the number of axes of nested lists or an array, by their first elements; 0 for a single value."""
    rank = 0
    while isinstance(value, (list, tuple, np.ndarray)) and len(value):
        value, rank = value[0], rank + 1
    return rank


def encoded_pixels(pixels: np.ndarray) -> bytes:
    """Return a picture as PNG: (H, W), (H, W, C) or (C, H, W), 0 to 255 or fractions of white.

    Raises:
        UnusableError: the array is no picture, or the range of its values says no white.
    """
    from PIL import Image

    if pixels.ndim == 4 and len(pixels) == 1:
        pixels = pixels[0]
    if pixels.ndim == 3 and len(pixels) <= _MAX_CHANNELS < pixels.shape[-1]:
        pixels = pixels.transpose(1, 2, 0)
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] <= _MAX_CHANNELS)
    if not is_picture or not pixels.size or pixels.dtype.kind not in "biuf":
        raise UnusableError(f"an array of shape {pixels.shape} and type {pixels.dtype} is no picture")
    low, high = float(pixels.min()), float(pixels.max())
    levels_are_few = pixels.dtype.kind == "f" and 1 < high <= _FEW_LEVELS
    if not (low >= 0 and high <= 255) or levels_are_few:  # nan, too
        raise UnusableError(f"the pixels of an array are from {low:.4g} to {high:.4g}: 0 to 255 are needed, or 0 to 1")
    values = np.rint(pixels * 255.0 if high <= 1 else pixels).astype(np.uint8)
    values = values[..., 0] if values.ndim == 3 and values.shape[-1] < 3 else values
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "png")
    return buffer.getvalue()


# --- processors, and resized images cached for the next checkpoint ----------------------------------------

MAX_CACHED_BYTES = 2**30  # of pixels: 7,100 images of 224 x 224


class ImageProcessor:
    """A checkpoint's image processor, in a single step, or in two of which the first can be cached.

    Processors with the same result share a `key`; it is None where that cannot be told.
    """

    def __init__(self, original: Any, key: str | None) -> None:
        self.original = original
        self.key = key

    def __call__(self, images: Sequence[Any]) -> Tensor:
        """Return the pixel values of RGB images, float32 (b, 3, H, W)."""
        return self._run(list(images))

    def resize(self, images: Sequence[Any]) -> Tensor:
        """Return resized images, uint8 (b, 3, H, W), or pixel values where the steps cannot be separated."""
        return self._run(list(images), do_rescale=False, do_normalize=False) if self._separable else self(images)

    def rescale(self, resized: Tensor) -> Tensor:
        """Return the pixel values of resized images: those of `__call__`, bit by bit."""
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
    """A cache of resized images by processor and encoded image; the least recently used processor makes room."""

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
        """Cache an image of the processor that was used last, if it fits."""
        with self._lock:
            while pixels.nbytes > self._bytes_left and next(iter(self._pixels)) != key:
                removed = self._pixels.pop(next(iter(self._pixels)))
                self._bytes_left += sum(tensor.nbytes for tensor in removed.values())
            if pixels.nbytes <= self._bytes_left and image not in self._pixels[key]:
                self._pixels[key][image] = pixels
                self._bytes_left -= pixels.nbytes


class CachedImages(Images):
    """Images that are decoded and resized once for all processors of the same key; slices share the cache."""

    def __init__(self, encoded: Sequence[bytes], cache: PixelCache) -> None:
        super().__init__(encoded)
        self._cache = cache

    def __getitem__(self, index: Any) -> Any:
        return (
            CachedImages(self.encoded[index], self._cache) if isinstance(index, slice) else super().__getitem__(index)
        )

    def read(self, processor: ImageProcessor, positions: Sequence[int]) -> Tensor:
        """Return the pixel values of the images at these positions, float32 (b, 3, H, W)."""
        import torch

        if processor.key is None:
            return processor([self[position] for position in positions])
        cached = self._cache.get(processor.key, [self.encoded[position] for position in positions])
        pixels = {position: resized for position, resized in zip(positions, cached, strict=True) if resized is not None}
        missing = [position for position in positions if position not in pixels]
        if missing:
            for position, resized in zip(missing, processor.resize([self[i] for i in missing]), strict=True):
                pixels[position] = resized
                self._cache.put(processor.key, self.encoded[position], resized)
        return processor.rescale(torch.stack([pixels[position] for position in positions]))


def with_pixel_cache(inputs: Sequence[Any], cache: PixelCache) -> Sequence[Any]:
    """Return the inputs with their images, if any, cached for the next checkpoint."""
    if isinstance(inputs, Images):
        return CachedImages(inputs.encoded, cache)
    if isinstance(inputs, Pairs):
        return replace(inputs, firsts=with_pixel_cache(inputs.firsts, cache))
    return inputs


# --- batches ----------------------------------------------------------------------------------------------

_MAX_IMAGES = 256  # a batch


@dataclass(frozen=True)
class ImageReader:
    """Turns images into the tensors that a checkpoint reads, H x W `pixels` each where they become square.

    Without a fixed size, each image is processed alone: padding an image to the size of another would change its
    features.
    """

    processor: ImageProcessor
    pixels: int
    fixed_size: bool
    device: torch.device

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
        return min(_MAX_IMAGES, max(1, forward.batch_elements() // self.pixels))

    def training_batches(self, images: Sequence[Any], image_of_row: np.ndarray) -> BatchReader:
        """Return a reader of batches for training; images become square where the processor leaves various sizes."""
        side = round(self.pixels**0.5)

        def read(rows: np.ndarray) -> dict[str, Tensor]:
            positions = image_of_row[rows].tolist()
            if self.fixed_size:
                return {"pixel_values": self._read(images, positions)}
            return {"pixel_values": self.processor([images[i].resize((side, side)) for i in positions])}

        return read

    def _read(self, images: Sequence[Any], positions: Sequence[int]) -> Tensor:
        """Return the pixel values of images that the processor brings to the same size, (b, 3, H, W)."""
        from hf_emms.features.device import pinned

        if isinstance(images, CachedImages):
            return pinned(images.read(self.processor, positions), self.device)
        return pinned(self.processor([as_rgb(images[position]) for position in positions]), self.device)


def load_image_reader(plan: FeatureSpec, device: torch.device) -> ImageReader:
    """Return the reader with the checkpoint's image processor; an EmmsError if it cannot be loaded."""
    from PIL import Image
    from transformers import AutoImageProcessor

    check_processor_config(plan.repo, plan.model_folder)
    try:
        loaded = AutoImageProcessor.from_pretrained(
            plan.model_folder, trust_remote_code=plan.code, local_files_only=True
        )
        # Code of two repositories may differ where their configurations are equal.
        processor = ImageProcessor(
            loaded, None if plan.code else f"{type(loaded).__qualname__} {loaded.to_json_string()}"
        )
        shape = tuple(processor(example_images(1)).shape)
        if len(shape) != 4:
            raise EmmsError(
                f"{plan.repo.id} cuts an image into pieces before it reads it ({' × '.join(map(str, shape))} numbers)",
                "choose a checkpoint that reads whole images, for instance at a fixed size",
            )
        square = shape[-2:]
        fixed = all(processor([Image.new("RGB", size)]).shape[-2:] == square for size in ((64, 96), (96, 64)))
    except EmmsError:
        raise
    except LOAD_FAILURES as error:
        raise load_error(plan, "image processor (preprocessor_config.json)", error) from error
    return ImageReader(processor, square[0] * square[1], fixed, device)


def load_training_images(plan: FeatureSpec) -> tuple[ImageReader, tuple[str, ...]]:
    """Return the checkpoint's image processor for training, and a note where it will change the images' shape."""
    import torch

    reader = load_image_reader(plan, torch.device("cpu"))
    note = "pictures are made square, which its image processor leaves at various sizes"
    return reader, () if reader.fixed_size else (note,)


def example_images(count: int) -> list[Any]:
    from PIL import Image

    return [Image.new("RGB", (64, 64))] * count


class ImageFeatures:
    """The `FeatureReader` of images."""

    def __init__(self, model: Any, reader: ImageReader, layers: LayerReader) -> None:
        from hf_emms.features.device import PIXELS, BatchedForward

        self.layers, self.counts, self._reader = layers, ReadCounts(), reader
        self._forward = BatchedForward(lambda inputs: layers(model, inputs), model.device, PIXELS, model.dtype)
        self.forwards = (self._forward,)

    def batches(self, images: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        size = batch_size or self._reader.images_that_fit(self._forward)
        batches = (np.arange(start, min(start + size, len(images))) for start in range(0, len(images), size))
        for positions, groups in prepare_ahead(batches, lambda batch: self._reader.read_groups(images, batch.tolist())):
            for members, pixels in groups:
                yield positions[members], self._forward({"pixel_values": pixels})

    def examples(self, count: int, words: int) -> Sequence[Any]:
        return example_images(count)


# --- the kind ---------------------------------------------------------------------------------------------


class _Image(EncodedKind):
    inputs_type = Images

    def holds(self, feature: Any) -> bool:
        is_struct = isinstance(feature, Mapping) and set(feature) == {"bytes", "path"}
        is_binary = str(getattr(feature, "dtype", "")) in ("binary", "large_binary", "binary_view")
        return is_struct or is_binary or type(feature).__name__ == "Image" or _holds_pixels(feature)

    def recognises(self, content: bytes) -> bool:
        return _START.match(content) is not None

    def read(self, value: Any, column: str) -> bytes:
        """Return the encoded bytes of a cell of an undecoded Image column, a list of a single image, or binary data.

        An array of pixels is encoded as PNG.
        """
        if _rank(value) > 1:
            return encoded_pixels(np.asarray(value))
        if isinstance(value, (list, tuple)):
            if len(value) != 1:
                raise UnusableError(f"a row has {len(value)} pictures, and a single picture is needed")
            value = value[0]
        encoded: bytes = self.stored_bytes(value, "picture")
        if not encoded:
            raise UnusableError("there is no picture")
        return encoded

    def check(self, content: bytes) -> None:
        from PIL import Image, UnidentifiedImageError

        problem = None
        try:
            with Image.open(io.BytesIO(content)) as image:
                # JPEG decodes to an eighth of the size several times faster, and still reads every byte.
                image.draft("RGB", (32, 32))
                image.load()
                if image.mode in _WITHOUT_WHITE:
                    problem = f"the range of its pixels (mode {image.mode}) is not known: save it as 8 or 16 bit"
        except UnidentifiedImageError:
            problem = "these bytes are no picture in a known format"
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            problem = str(error) or type(error).__name__
        if problem:
            raise UnusableError(f"a picture cannot be decoded: {problem}")

    def size(self, content: bytes) -> tuple[int, int]:
        from PIL import Image

        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            turned = image.getexif().get(_ORIENTATION) in _TURNED
        return (height, width) if turned else (width, height)

    def load_processors(self, plan: FeatureSpec, device: torch.device) -> ImageReader:
        return load_image_reader(plan, device)

    def feature_reader(
        self, loaded: LoadedModel, processors: ImageReader, layers: tuple[str, ...], *, spans: bool
    ) -> ImageFeatures:
        from hf_emms.features.layers import plan_layers

        return ImageFeatures(loaded.model, processors, plan_layers(loaded, layers))

    def training_reader(self, plan: FeatureSpec, model: Any) -> TrainingReader:
        reader, notes = load_training_images(plan)
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
    recognised_by_type=True,
    fallback_pooling="image_fallback",
    fallback_summary="image features or pooled output if the model has them, else the mean of tokens or map",
    cpu_seconds=8e-9,
    chunk_rows=64,
    buffer_rows=1_000,
)
