"""The records of a task: the columns that it reads, the form of its labels, and the head of fine-tuned checkpoints.

Several tasks share a column of images, numbers as smooth columns, and functions from raw labels to texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from hf_emms.errors import Note, Text
from hf_emms.heads import Head
from hf_emms.inputs import AUDIO, IMAGE, TEXT, Modality
from hf_emms.inputs.modality import Instruction
from hf_emms.options import LabelForm, SampleOptions

_WORDNET_PREFIX = re.compile(r"^n\d{8}[-_ ]+(?=\D)")
_CAMEL_HUMP = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z])")  # two small letters: "McDonald" and "iPhone" stay whole
_SPACES = re.compile(r"\s+")
_BREVITY = re.compile(r"\b(answer|response|brief|short|concise|succinct|terse)", re.IGNORECASE)
_MAX_HINT_WORDS = 14
_GAPS = re.compile(r"[\s-]+")
_DATASET_NUMBER = re.compile(r"^\d{3}\.(?=[A-Za-z])")


def spelling(name: str) -> str:
    """Return a column's name as expected names are written: "sentence_a" for "Sentence A"."""
    return _GAPS.sub("_", name.strip().lower())


@dataclass(frozen=True)
class Column:
    """A column that a task needs.

    Attributes:
        candidates: column names that are tried first, in this order; "texts.user" is a field of a column, and
            "instruction,input" are two texts that are joined.
        spelling: how names of columns are compared with these.
        types: which column types fit: "image", "string", "strings" (a list), "class", "integer" and others that
            `data.columns` knows.
        clean: changes a cell before it is read; None leaves it as it is.
        is_list: whether a list in a cell is a single content, which `clean` joins, and not several inputs.
    """

    name: str
    candidates: tuple[str, ...]
    types: tuple[str, ...]
    kind: Modality = TEXT
    clean: Callable[[Any], Any] | None = None
    is_list: bool = False
    spelling: Callable[[str], str] = spelling

    def is_called(self, name: str) -> bool:
        """Return whether a name is among the expected names."""
        return self.spelling(name) in self.candidates


# A raw label and the input image's (width, height), None without an image or where that doesn't count, to P numbers.
Measure = Callable[[Any, tuple[int, int] | None], tuple[float, ...]]


@dataclass(frozen=True)
class NumericLabels:
    """The conversion of labels that are no text (a box, a value) to an F-label.

    Attributes:
        measure: a raw label and the input image's (width, height) in pixels to P plain numbers; None without an
            image, and where labels are normalized. Raises ValueError with the reason where the label cannot be used.
        encode: the numbers of U labels, float64 (U, P), to the F-label float32 (U, D2).
        describe: P numbers in words.
        formats: other ways in which datasets write such labels, by the names that users type.
        are_normalized: whether raw labels, all of a dataset's, are fractions of their images and not pixels; None
            where labels have nothing to do with the image's size.
        warn: the numbers of N rows, float64 (N, P), to a warning if they look wrong, else None.
    """

    measure: Measure
    encode: Callable[[np.ndarray], np.ndarray]
    describe: Callable[[tuple[float, ...]], str]
    formats: Mapping[str, Measure] = field(default_factory=dict)
    are_normalized: Callable[[Sequence[Any]], bool] | None = None
    warn: Callable[[np.ndarray], Note | None] = lambda numbers: None


@dataclass(frozen=True)
class Example:
    """A drawn input with its raw labels, before a task makes items of it.

    Attributes:
        id: a hash of the input.
        labels: raw labels in the dataset's order; empty where it has none.
        positions: the start of each label in the input, by the dataset; None where the dataset does not tell.
        stops: the end of each label likewise.
    """

    id: int
    contents: tuple[Any, ...]
    labels: tuple[Any, ...]
    positions: tuple[int | None, ...]
    stops: tuple[int | None, ...] = ()


class Item(NamedTuple):
    """A row of the sample: a labelled span of an example's last text, from its first character to behind its last."""

    example: int
    start: int
    stop: int
    label: str


Itemize = Callable[[Sequence[Example], SampleOptions], tuple[Sequence[Item] | None, Sequence[Note | str]]]
"""Examples and settings to items, and warnings or facts about them; None if each example is a row with its label."""


@dataclass(frozen=True)
class Task:
    """A task that hf_emms can rank for.

    Attributes:
        id: what users type and rankings record, e.g. "image-classification".
        inputs: the columns of the input's parts.
        categorical: whether labels are classes (sampled evenly, scored as codes by the baselines).
        label_text: cleans a raw label into the text that encoders embed.
        head: of fine-tuned checkpoints; None where `confirm` does not support the task.
        hub_tags: tasks of the Hub whose checkpoints are made for this task; its id by default.
        source_tags: Hub tasks whose checkpoints are candidates, too: backbones carry no task's tag.
        group_by: the input column whose content rows share a fold by (the image of ten questions); None: the first.
        label_noun: the noun of notes for a label ("caption"); the name of the label's column by default.
        no_label_text: the text of a label that holds nothing ("no answer"); None where such rows are left out.
        numbers: how labels that are no text are measured; None where labels are text.
        label_form: which F-labels `numbers` make: "text", "numbers" or "both", unless the user says.
        items: makes several rows of an example: spans of its last text, each with a label (an answer and other spans,
            every word of a sentence). None where an example is a row.
        training_items: the same for a fine-tuning, where that learns other items or labels than are ranked on.
        counts_items: whether `max_samples` counts items, so that examples may be left out of them.
        check: raises an `UnusableError` with the reason where labels do not fit the contents of their input.
        label_position: the column or field beside the label's with the label's start in the input.
        label_end: the column or field with its end.
        instruction: returns the request to checkpoints from the dataset's columns, role → column; None where the
            input holds it.
        beside: columns that are read where a dataset has them.
        signs: sets of column names; the task is inferred where a dataset has all of a set, and then preferred to others
            that read the same columns. None: inferred wherever its columns can be filled.
        input_names: the names of the inputs' columns that belong together; the first that a dataset has are read.
        fits: returns whether the cells of its columns, by role, are what the task expects; None if any are.
        reading: how the columns are read, where users may mean another task of the same columns.
        calibrated_budgets: names in `ranking.expected_gap.CALIBRATIONS` whose numbers hold for the task.
        estimators: the default estimators, first the one that orders the rows; empty for those of all tasks.
    """

    id: str
    input: Modality
    inputs: tuple[Column, ...]
    label: Column
    categorical: bool
    label_text: Callable[[str], str]
    head: Head | None = None
    aliases: tuple[str, ...] = ()
    hub_tags: tuple[str, ...] = ()
    source_tags: tuple[str, ...] = ()
    group_by: str | None = None
    label_noun: str = ""
    no_label_text: str | None = None
    numbers: NumericLabels | None = None
    label_form: LabelForm = "text"
    items: Itemize | None = None
    training_items: Itemize | None = None
    counts_items: bool = False
    check: Callable[[Sequence[Any], Sequence[Any]], None] | None = None
    label_position: str | None = None
    label_end: str | None = None
    instruction: Callable[[Mapping[str, str]], Instruction] | None = None
    beside: tuple[Column, ...] = ()
    signs: tuple[tuple[str, ...], ...] | None = None
    input_names: tuple[tuple[str, ...], ...] = ()
    fits: Callable[[Mapping[str, Any]], bool] | None = None
    reading: str | Text = ""
    calibrated_budgets: tuple[str, ...] = ()
    estimators: tuple[str, ...] = ()

    @property
    def pipeline_tags(self) -> tuple[str, ...]:
        """The Hub's tags of candidates, those of checkpoints made for this task first."""
        return (*(self.hub_tags or (self.id,)), *self.source_tags)

    @property
    def is_text_to_text(self) -> bool:
        """Whether its label is a free text beside a text, which types cannot tell apart."""
        texts = {"string"}.intersection(*(column.types for column in (*self.inputs, self.label)))
        return bool(texts) and not self.categorical and self.numbers is None

    @property
    def is_free_text(self) -> bool:
        """Whether its label is a text that is written, not found in the input."""
        return self.is_text_to_text and self.items is None and self.signs is None

    @property
    def columns(self) -> dict[str, Column]:
        """The columns that it needs, by role."""
        return {column.name: column for column in (*self.inputs, self.label)}

    @property
    def all_columns(self) -> dict[str, Column]:
        """The columns that it reads, by role."""
        return self.columns | {column.name: column for column in self.beside}


# Column types that hold a class, or several.
CLASS_TYPES = ("class", "string", "integer", "flags", "classes", "strings", "integers")

# Hub tasks of the backbones that are fine-tuned on texts.
TEXT_SOURCES = ("fill-mask", "feature-extraction", "sentence-similarity")

# How checkpoints are ordered that write the label: docs/rank-language-models.md says why.
WRITTEN_ESTIMATORS = ("short_run", "zero_shot")

# Hub tasks of the backbones that are fine-tuned on sound; wav2vec 2.0 is tagged with its features.
AUDIO_SOURCES = ("feature-extraction", "automatic-speech-recognition")

AUDIO_COLUMN = Column("audio", ("audio", "sound", "speech", "wav", "recording", "clip"), AUDIO.column_types, AUDIO)
IMAGE_COLUMN = Column("image", ("image", "img", "picture", "photo", "jpg", "png", "images"), IMAGE.column_types, IMAGE)


def rbf_features(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return Gaussian bumps (U, C) of values (U,) around increasing centres (C,), as wide as the gaps between them."""
    widths = np.maximum(np.abs(np.gradient(centers)), np.finfo(np.float64).tiny)
    return np.exp(-0.5 * ((values[:, None] - centers) / widths) ** 2)


def join_sentences(text: Any) -> Any:
    """Return a list of sentences joined; other values unchanged."""
    return " ".join(filter(None, text)) if isinstance(text, list) else text


def clean_class_name(name: str) -> str:
    """Return a class name of a dataset, "apple_pie", "n02085620-Chihuahua" or "AnnualCrop", in words.

    Underscores become spaces, camel humps are split, and the numbers that some datasets put in front go. Hyphens and
    case stay, because words have them too: "T-shirt", "BMW". Where nothing would be left, the name stays.
    """
    text = unicodedata.normalize("NFC", str(name)).strip()
    words = _DATASET_NUMBER.sub("", _WORDNET_PREFIX.sub("", text))
    words = _CAMEL_HUMP.sub(" ", words)
    words = _SPACES.sub(" ", words.replace("_", " ")).strip()
    return words or text


def clean_caption(caption: str) -> str:
    """Return a caption in lower case with single spaces, as in the paper (arXiv 2308.06262)."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", str(caption))).strip().lower()


def clean_answer(answer: str) -> str:
    """Return an answer in lower case with single spaces and without its full stop, but with that of "U.S."."""
    text = clean_caption(answer)
    return text[:-1].rstrip() if text.count(".") == 1 and len(text) > 1 and text.endswith(".") else text


def clean_question(question: str) -> str:
    """Return a question without a line such as "Answer briefly.", which instruction sets such as the_cauldron append.

    Only a second and last line that asks for a short answer goes: choices and hints stay.
    """
    text = question.strip()
    lines = text.split("\n")
    hint = lines[-1].strip()
    is_hint = hint.endswith(".") and len(hint.split()) <= _MAX_HINT_WORDS and _BREVITY.search(hint)
    return lines[0].strip() if len(lines) == 2 and is_hint else text
