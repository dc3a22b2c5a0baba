"""What a dataset becomes: inputs held once, label texts held once, and how rows refer to both."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from hf_emms.hub import Repo
from hf_emms.tasks import Task

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Target:
    """The sample that checkpoints are ranked on.

    Rows and inputs are in the order of their content's hash, so the same sample is the same target in whatever order
    files came.

    Attributes:
        dataset: the dataset as the user typed it.
        repo: the repository at its pinned state.
        config: the configuration, if one was asked for.
        split: the split that was read.
        task: what it is ranked for.
        columns: role → column; several columns of one role are joined by commas.
        inputs: the M distinct inputs: strings, `Images`, or `Pairs`.
        input_of_row: int64, shape (N,): which input feeds each row.
        label_texts: the U distinct label texts, sorted.
        codes: int64, shape (N,): which label text each row has.
        groups: uint64, shape (N,): hash of the input's content; rows that share an input share a group.
        skipped: dataset rows left out because they could not be read or lack a label.
        total_rows: rows of the split; None where a stream does not say.
        notes: what was inferred, in words.
        fingerprint: 32 hex digits over everything that makes the sample what it is.
    """

    dataset: str
    repo: Repo
    config: str | None
    split: str
    task: Task
    columns: dict[str, str]
    inputs: Sequence[Any]
    input_of_row: np.ndarray
    label_texts: tuple[str, ...]
    codes: np.ndarray
    groups: np.ndarray
    skipped: int
    total_rows: int | None
    notes: tuple[str, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.codes)


class Images(Sequence):
    """Pictures held as encoded bytes; indexing decodes one to RGB.

    The camera's orientation tag (EXIF) is applied, as ``datasets`` does; transparency is dropped, as image processors
    do.
    """

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self.encoded = tuple(encoded)

    def __len__(self) -> int:
        return len(self.encoded)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> Images: ...
    def __getitem__(self, index: int | slice) -> Image | Images:
        if isinstance(index, slice):
            return Images(self.encoded[index])
        from PIL import Image, ImageOps

        with Image.open(io.BytesIO(self.encoded[index])) as picture:
            return ImageOps.exif_transpose(picture).convert("RGB")


@dataclass(frozen=True)
class Pairs(Sequence):
    """Inputs of two parts, such as pictures and questions; each distinct part is held once.

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

    @overload
    def __getitem__(self, index: int) -> tuple[Any, str]: ...
    @overload
    def __getitem__(self, index: slice) -> Pairs: ...
    def __getitem__(self, index: int | slice) -> tuple[Any, str] | Pairs:
        if isinstance(index, slice):
            return Pairs(self.firsts, self.seconds, self.parts[index])
        first, second = self.parts[index]
        return self.firsts[first], self.seconds[second]


def image_problem(encoded: bytes) -> str | None:
    """Says why a picture cannot be decoded; None when it can."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            # JPEG decodes to an eighth of the size several times faster, and still reads every byte.
            picture.draft("RGB", (32, 32))
            picture.load()
    except UnidentifiedImageError:
        return "these bytes are no picture in a known format"
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        return str(error) or type(error).__name__
    return None
