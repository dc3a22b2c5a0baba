"""Encoded pictures: where their bytes are, whether they decode, how large they are, how they become RGB."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

# EXIF's orientation tag, and its values under which width and height change places.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
# Modes of pixels whose white is not known: 32-bit integers and floats.
_WITHOUT_WHITE = ("I", "F")


def encoded_picture(value: Any) -> bytes | None:
    """The encoded bytes behind what an undecoded Image column or a binary column holds."""
    if value is None or isinstance(value, bytes):
        return value
    if value.get("bytes"):
        return value["bytes"]
    return _file_bytes(value["path"]) if value.get("path") else None


def image_problem(encoded: bytes) -> str | None:
    """Says why a picture cannot be decoded; None when it can."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            # JPEG decodes to an eighth of the size several times faster, and still reads every byte.
            picture.draft("RGB", (32, 32))
            picture.load()
            if picture.mode in _WITHOUT_WHITE:
                return f"the range of its pixels (mode {picture.mode}) is not known: save it as 8 or 16 bit"
    except UnidentifiedImageError:
        return "these bytes are no picture in a known format"
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        return str(error) or type(error).__name__
    return None


def picture_size(encoded: bytes) -> tuple[int, int]:
    """(width, height) in pixels of a picture that decodes, the right way up."""
    from PIL import Image

    with Image.open(io.BytesIO(encoded)) as picture:
        width, height = picture.size
        turned = picture.getexif().get(_ORIENTATION) in _TURNED
    return (height, width) if turned else (width, height)


def as_rgb(picture: Any) -> Any:
    """A PIL image in RGB: gray ones are repeated over the channels, an alpha channel is dropped."""
    if picture.mode.startswith("I;16"):
        # Pillow would clip 16 bits to white instead of scaling them down.
        picture = picture.point(lambda value: value * (1 / 257)).convert("L")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _file_bytes(path: str) -> bytes:
    """Reads a picture that a dataset names by path: a local file, or an address of the Hub when streaming."""
    if "://" not in path:
        return Path(path).read_bytes()
    import fsspec

    with fsspec.open(path, "rb") as stream:
        return stream.read()
