"""What a dataset becomes: inputs held once, label texts held once, and how rows refer to both."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from hf_emms.data.image_files import as_rgb
from hf_emms.hub import Repo
from hf_emms.options import LabelForm
from hf_emms.tasks import Task

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Sample:
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
        inputs: the M distinct inputs: strings, `Images`, `Pairs`, or `Spans`.
        input_of_row: int64, shape (N,): which input feeds each row.
        label_texts: the T distinct label texts, sorted.
        codes: int64, shape (N,): which of the U distinct labels each row has.
        groups: uint64, shape (N,): hash of the content that rows share a fold by, see `Task.group`.
        skipped: dataset rows left out because they could not be read or lack a label.
        total_rows: rows of the split; None where a stream does not say.
        notes: what was inferred, in words.
        fingerprint: 32 hex digits over everything that makes the sample what it is.
        inputs_fingerprint: 32 hex digits over the inputs alone: other labels of the same inputs need no new features.
        mixtures: which texts each label is the mean of; None where label u is text u.
        label_numbers: float32, shape (U, D2): one more F-label, of labels that are numbers.
        form: which F-labels the labels make: of their texts, of their numbers, or both; "spans" where rows are spans
            of a text, labelled by whether they are the answer.
        available: the most rows that a sample of the split can have, N where this one is all of it (of spans, the
            pairs); None where that is not known.
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
    inputs_fingerprint: str
    mixtures: SoftLabels | None = None
    label_numbers: np.ndarray | None = None
    form: LabelForm = "text"
    available: int | None = None

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def categorical(self) -> bool:
        """Whether each row has one class out of few."""
        return (self.task.categorical or self.form == "spans") and self.mixtures is None

    @property
    def n_read(self) -> int:
        """How many inputs a checkpoint reads: spans of one pair are read together."""
        return len(self.inputs.pairs if isinstance(self.inputs, Spans) else self.inputs)

    @property
    def numbers_name(self) -> str:
        """What the F-label of numbers is called beside those of the encoders."""
        return f"{self.task.label.name} (numbers)"

    def mixed(self, embedded: np.ndarray) -> np.ndarray:
        """Embeddings of the texts, (T, D2), to those of the labels, (U, D2)."""
        return embedded if self.mixtures is None else self.mixtures.mean_of(embedded)


@dataclass(frozen=True)
class SoftLabels:
    """Labels as weighted means of texts: entry i says that text ``texts[i]`` has ``weights[i]`` in ``labels[i]``.

    Attributes:
        labels: int64, shape (E,).
        texts: int64, shape (E,).
        weights: float32, shape (E,); they sum to 1 for each label.
        count: U, the number of labels.
    """

    labels: np.ndarray
    texts: np.ndarray
    weights: np.ndarray
    count: int

    @classmethod
    def of(cls, entries: Sequence[tuple[int, int, float]], count: int) -> SoftLabels:
        """From (label, text, weight) entries."""
        labels, texts, weights = zip(*entries, strict=True)
        return cls(np.array(labels, np.int64), np.array(texts, np.int64), np.array(weights, np.float32), count)

    def mean_of(self, embedded: np.ndarray) -> np.ndarray:
        """Rows of the texts, float32 (T, D2), to rows of the labels, float32 (U, D2)."""
        mixed = np.zeros((self.count, embedded.shape[1]), dtype=np.float32)
        np.add.at(mixed, self.labels, embedded[self.texts] * self.weights[:, None])
        return mixed


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
            return as_rgb(ImageOps.exif_transpose(picture))


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


@dataclass(frozen=True)
class Spans(Sequence):
    """Spans of the second texts of pairs; a checkpoint reads each pair once, whole.

    Attributes:
        pairs: texts, such as questions and contexts.
        places: int64, shape (M, 3): the pair of each span, and where in its second text it starts and ends, in
            characters, from and up to.
    """

    pairs: Pairs
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> tuple[str, str, str]: ...
    @overload
    def __getitem__(self, index: slice) -> Spans: ...
    def __getitem__(self, index: int | slice) -> tuple[str, str, str] | Spans:
        """A run of the spans, or one: both texts, and what it says."""
        if isinstance(index, slice):
            return Spans(self.pairs, self.places[index])
        pair, start, stop = self.places[index].tolist()
        first, second = self.pairs[pair]
        return first, second, second[start:stop]
