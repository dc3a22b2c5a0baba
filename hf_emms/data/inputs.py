"""What checkpoints read: images, texts, pairs and spans, each distinct part held once; and hashes of their content."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

# EXIF's orientation tag, and its values under which width and height change places.
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)
# Modes of pixels whose white is not known: 32-bit integers and floats.
_WITHOUT_WHITE = ("I", "F")


class UnusableError(ValueError):
    """A row or an item of one that has to be left out; the message says why."""


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


@dataclass(frozen=True)
class Pairs(Sequence):
    """Inputs of two parts, such as images and questions; each distinct part is held once. A slice is `Pairs`.

    Attributes:
        firsts: the distinct first parts: `Images` or texts.
        seconds: the distinct second parts: texts.
        parts: int64, shape (M, 2): which first and which second part make each input.
    """

    firsts: Sequence[Any]
    seconds: Sequence[str]
    parts: np.ndarray

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Pairs(self.firsts, self.seconds, self.parts[index])
        first, second = self.parts[index]
        return self.firsts[first], self.seconds[second]


@dataclass(frozen=True)
class Spans(Sequence):
    """Spans of the second texts of pairs; a checkpoint reads each pair once, whole.

    Attributes:
        pairs: texts, such as questions and contexts.
        bounds: int64, shape (M, 3): the pair of each span, and where in its second text it starts and ends, in
            characters; the end is exclusive.
    """

    pairs: Pairs
    bounds: np.ndarray

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, index: Any) -> Any:
        """Several spans, or one: both texts and the text of the span."""
        if isinstance(index, slice):
            return Spans(self.pairs, self.bounds[index])
        pair, start, stop = self.bounds[index].tolist()
        first, second = self.pairs[pair]
        return first, second, second[start:stop]


def hash64(*parts: bytes) -> int:
    """A 64-bit hash of byte strings; where one ends and the next begins counts."""
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def as_bytes(content: str | bytes) -> bytes:
    """Content as bytes: encoded images as they are, texts in UTF-8."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


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
