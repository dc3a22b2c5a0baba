"""Images, held encoded and decoded one at a time."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_emms.inputs.kind import InputKind, UnusableError

# EXIF's orientation tag, and its values under which width and height change places.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
# Modes of pixels whose white is not known: 32-bit integers and floats.
_WITHOUT_WHITE = ("I", "F")


class Images(Sequence):
    """Images held as encoded bytes; indexing decodes one to a PIL image in RGB, slicing gives `Images`.

    The camera's orientation tag (EXIF) is applied, as ``datasets`` does; transparency is dropped, as image processors
    do.
    """

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self.encoded = tuple(encoded)

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Images(self.encoded[index])
        from PIL import Image, ImageOps

        with Image.open(io.BytesIO(self.encoded[index])) as image:
            return as_rgb(ImageOps.exif_transpose(image))


def encoded_image(value: Any) -> bytes:
    """The encoded bytes behind the value of an undecoded Image column, of a list of one, or of a binary column.

    Raises:
        UnusableError: there is no image, there are several, or its file cannot be read.
    """
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise UnusableError(f"a row has {len(value)} pictures, and one is needed")
        value = value[0]
    encoded = value.get("bytes") if isinstance(value, dict) else value
    if not encoded and isinstance(value, dict) and value.get("path"):
        try:
            encoded = _file_bytes(value["path"])
        except OSError as error:
            raise UnusableError(f"a picture's file cannot be read: {error}") from error
    if not encoded:
        raise UnusableError("there is no picture")
    return encoded


def check_decodes(encoded: bytes) -> None:
    """Decodes an image.

    Raises:
        UnusableError: it cannot be decoded; the message says why.
    """
    from PIL import Image, UnidentifiedImageError

    problem = None
    try:
        with Image.open(io.BytesIO(encoded)) as image:
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


def image_size(encoded: bytes) -> tuple[int, int]:
    """(width, height) in pixels of an image that decodes, the right way up."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION) in _TURNED
    return (height, width) if turned else (width, height)


def as_rgb(image: Any) -> Any:
    """A PIL image in RGB: gray ones are repeated over the channels, an alpha channel is dropped."""
    if image.mode.startswith("I;16"):
        # Pillow would clip 16 bits to white instead of scaling them down.
        image = image.point(lambda value: value * (1 / 257)).convert("L")
    return image if image.mode == "RGB" else image.convert("RGB")


def _file_bytes(path: str) -> bytes:
    """Reads a local file, or an address of the Hub when streaming."""
    if "://" not in path:
        return Path(path).read_bytes()
    import fsspec

    with fsspec.open(path, "rb") as stream:
        return stream.read()


class _Image(InputKind):
    def holds(self, feature: Any) -> bool:
        is_struct = isinstance(feature, Mapping) and set(feature) == {"bytes", "path"}
        is_binary = str(getattr(feature, "dtype", "")) in ("binary", "large_binary")
        return is_struct or is_binary or type(feature).__name__ == "Image"

    def read(self, value: Any, column: str) -> bytes:
        return encoded_image(value)

    def check(self, content: bytes) -> None:
        check_decodes(content)

    def size(self, content: bytes) -> tuple[int, int]:
        return image_size(content)

    def collect(self, contents: Sequence[bytes]) -> Images:
        return Images(contents)

    def contents(self, inputs: Any) -> list[bytes]:
        return list(inputs.encoded)

    def from_bytes(self, contents: Sequence[bytes]) -> Images:
        return Images(contents)


IMAGE = _Image(
    name="image",
    singular="picture",
    plural="images",
    column_types=("image", "images"),
    recognised_by_type=True,
    fallback_pooling="image_fallback",
    fallback_summary="image features or pooled output if the model has them, else the mean of tokens or map",
    cpu_seconds=8e-9,
    chunk_rows=64,
    buffer_rows=1_000,
)
