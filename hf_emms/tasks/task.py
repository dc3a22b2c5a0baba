"""The record of a task: its columns, the form of its labels, and the head of fine-tuned checkpoints.

Also contains columns and functions that several tasks share.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from hf_emms.heads import Head
from hf_emms.inputs import AUDIO, IMAGE, TEXT, Modality
from hf_emms.inputs.modality import Instruction
from hf_emms.options import LabelForm, SampleOptions

_WORDNET_PREFIX = re.compile(r"^n\d{8}[-_ ]+(?=\D)")
_CAMEL_HUMP = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z])")  # "McDonald" and "iPhone" stay one word
_SPACES = re.compile(r"\s+")
_GAPS = re.compile(r"[\s-]+")
_DATASET_NUMBER = re.compile(r"^\d{3}\.(?=[A-Za-z])")


def spelling(name: str) -> str:
    """Return a column's name in the spelling of expected names: "sentence_a" for "Sentence A".

    In a webdataset, "label" is a field of "json".
    """
    return _GAPS.sub("_", name.strip().lower()).removeprefix("json.")


@dataclass(frozen=True)
class Column:
    """A column that a task reads.

    Attributes:
        name: The role of the column in the task.
        candidates: Expected names of columns, in order of preference. "texts.user" is a field of a column;
            "instruction,input" are two columns that are joined.
        types: Accepted column types, such as "image", "string", "strings" (a list), "class" and "integer"; see
            `data.match.columns`.
        kind: The modality of the content.
        clean: Changes a cell before it is read; None leaves it unchanged.
        converted: Further types of columns that a user may name; `clean` converts their cells.
        is_list: Whether a list in a cell is one content, which `clean` joins, not several inputs.
        spelling: Normalizes names of columns before they are compared with `candidates`.
        shares: Whether the column may have another role too.
    """

    name: str
    candidates: tuple[str, ...]
    types: tuple[str, ...]
    kind: Modality = TEXT
    clean: Callable[[Any], Any] | None = None
    converted: tuple[str, ...] = ()
    is_list: bool = False
    spelling: Callable[[str], str] = spelling
    shares: bool = False

    def is_called(self, name: str) -> bool:
        """Return whether a name is an expected name."""
        return self.spelling(name) in self.candidates


# Converts a raw label and the image's (width, height), or None, to P numbers.
Measure = Callable[[Any, tuple[int, int] | None], tuple[float, ...]]


@dataclass(frozen=True)
class NumericLabels:
    """The conversion of labels that are not texts (a box, a value) to label embeddings.

    Attributes:
        measure: Converts a raw label and the input image's (width, height) in pixels to P numbers. The size is None
            without an image and for fractions of an image. Raises a ValueError with the reason for an unusable label.
        encode: Converts the numbers of U labels, float64 (U, P), to label embeddings, float32 (U, D2).
        describe: Describes P numbers as text.
        formats: Formats of labels by the names that users type, the usual one first.
        leaves: Returns whether a raw label is partly outside its image of (width, height) in a format; None if labels
            are no places in an image.
        are_normalized: Returns whether all raw labels of a dataset are fractions of their images, not pixels; None if
            labels do not depend on the image's size.
    """

    measure: Measure
    encode: Callable[[np.ndarray], np.ndarray]
    describe: Callable[[tuple[float, ...]], str]
    formats: Mapping[str, Measure] = field(default_factory=dict)
    leaves: Callable[[Any, tuple[int, int] | None, str], bool] | None = None
    are_normalized: Callable[[Sequence[Any]], bool] | None = None


@dataclass(frozen=True)
class Example:
    """A drawn input with its raw labels, before a task makes items of it.

    Attributes:
        id: Hash of the input.
        contents: The content of each input column.
        labels: Raw labels in the dataset's order; empty without labels.
        positions: Start of each label in the input; None if the dataset does not have it.
        stops: End of each label in the input; None if the dataset does not have it.
    """

    id: int
    contents: tuple[Any, ...]
    labels: tuple[Any, ...]
    positions: tuple[int | None, ...]
    stops: tuple[int | None, ...] = ()


class Item(NamedTuple):
    """A row of the sample: a labeled span of an example's last text, with an exclusive end."""

    example: int
    start: int
    stop: int
    label: str


Itemize = Callable[[Sequence[Example], SampleOptions], tuple[Sequence[Item] | None, Sequence[str]]]
"""Examples and settings to items, and facts about them; None if each example is a row with its label."""


@dataclass(frozen=True)
class Task:
    """A task that hf_emms can rank for.

    Attributes:
        id: What users type and rankings record, e.g. "image-classification".
        input: The modality of the inputs.
        inputs: The columns of the inputs.
        label: The label column.
        categorical: Whether labels are classes. Sampling balances classes, and baselines score them as codes.
        label_text: Turns a raw label into the text that encoders embed.
        head: The head of fine-tuned checkpoints; None if `confirm` does not support the task.
        aliases: Other names that users may type: the Hub's names of sub-tasks, and common abbreviations. Source:
            https://github.com/huggingface/huggingface.js/blob/main/packages/tasks/src/pipelines.ts
        hub_tags: The Hub's tags of checkpoints for this task; by default its id.
        source_tags: Further tags of checkpoints, because backbones do not carry the task's tag.
        group_by: The input column whose equal contents share a fold, such as the image of ten questions; by default
            the first.
        label_noun: Noun for a label in notes, such as "caption"; by default the label column's name.
        no_label_text: Label text of an example without a label, such as "no answer"; None if such rows are skipped.
        numbers: How labels that are not texts become numbers; None if labels are texts.
        label_form: Default form of the label embeddings of `numbers`: "text", "numbers" or "both".
        items: Turns examples into labeled spans of their last texts (an answer and other spans, every word of a
            sentence). None if an example is a row.
        training_items: The same for fine-tuning, if it learns other items or labels.
        counts_items: Whether `max_samples` counts items, not examples.
        check: Raises an `UnusableError` if labels do not fit the contents of their input.
        arrange: Returns the contents and raw labels of a row if they depend on each other, or raises an
            `UnusableError`; None if cells are read one by one.
        label_position: The column or field with the start of a label in the input.
        label_end: The column or field with its end.
        instruction: Returns the instruction for the dataset's columns (role → column); None if the input contains it.
        beside: Optional columns.
        signs: Sets of column names. The task is inferred only if the dataset has all columns of a set, and then comes
            before tasks that read the same columns. None if any columns are enough.
        input_names: Pairs of names of the input columns; the first pair that a dataset has is read.
        estimators: Default estimators, the first orders the rows; empty for the usual ones.
        corpus: The same task for documents without queries; None if the task always needs its inputs.
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
    arrange: Callable[[tuple[Any, ...], Sequence[Any]], tuple[tuple[Any, ...], list[Any]]] | None = None
    label_position: str | None = None
    label_end: str | None = None
    instruction: Callable[[Mapping[str, str]], Instruction] | None = None
    beside: tuple[Column, ...] = ()
    signs: tuple[tuple[str, ...], ...] | None = None
    input_names: tuple[tuple[str, ...], ...] = ()
    estimators: tuple[str, ...] = ()
    corpus: Task | None = None

    @property
    def pipeline_tags(self) -> tuple[str, ...]:
        """The Hub's tags of checkpoints, the task's own tags first."""
        return (*(self.hub_tags or (self.id,)), *self.source_tags)

    @property
    def is_text_to_text(self) -> bool:
        """Whether input and label are texts, so that types cannot distinguish them."""
        texts = {"string"}.intersection(*(column.types for column in (*self.inputs, self.label)))
        return bool(self.inputs) and bool(texts) and not self.categorical and self.numbers is None

    @property
    def is_free_text(self) -> bool:
        """Whether the label is a generated text, not a part of the input or a document."""
        return self.is_text_to_text and self.items is None and self.signs is None

    def for_columns(self, roles: Collection[str]) -> Task:
        """Return `corpus` for a dataset that was read without inputs, else the task itself."""
        return self if self.corpus is None or self.inputs[0].name in roles else self.corpus

    @property
    def converting(self) -> Task:
        """The task with all types of label columns that a user may name."""
        return replace(self, label=replace(self.label, types=(*self.label.types, *self.label.converted)))

    @property
    def columns(self) -> dict[str, Column]:
        """The required columns, by role."""
        return {column.name: column for column in (*self.inputs, self.label)}

    @property
    def all_columns(self) -> dict[str, Column]:
        """The required and optional columns, by role."""
        return self.columns | {column.name: column for column in self.beside}


# Column types of one or several classes; of the lists, bools and floats have a 0 or 1 per class.
FLAG_LISTS = ("bools", "floats")
CLASS_TYPES = ("class", "bool", "string", "integer", "classes", "strings", "integers", *FLAG_LISTS)
# Types of columns that have a 0 or 1 for one class.
FLAG_TYPES = ("bool", "integer")

# Names of the column of classes. Such a column is the label, whatever other classes a dataset has.
ONLY_LABELS = ("label", "labels", "class", "classes", "cls", "category", "class_name", "gold_label")
# Whole numbers in columns of these names are classes or values.
RATINGS = ("stars", "rating", "score")

# Hub tasks of backbones for texts.
TEXT_SOURCES = ("fill-mask", "feature-extraction", "sentence-similarity")

# Hub tasks of backbones for sound; wav2vec 2.0 has the tag feature-extraction.
AUDIO_SOURCES = ("feature-extraction", "automatic-speech-recognition")

AUDIO_COLUMN = Column("audio", ("audio", "sound", "speech", "wav", "recording", "clip"), AUDIO.column_types, AUDIO)
IMAGE_COLUMN = Column("image", ("image", "img", "picture", "photo", "jpg", "png", "images"), IMAGE.column_types, IMAGE)


def rbf_features(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Return radial basis functions (U, C) of values (U,) around centers (C,)."""
    widths = np.maximum(np.abs(np.gradient(centers)), np.finfo(np.float64).tiny)
    return np.exp(-0.5 * ((values[:, None] - centers) / widths) ** 2)


def join_sentences(text: Any) -> Any:
    """Join a list of sentences; return other values unchanged."""
    return " ".join(filter(None, text)) if isinstance(text, list) else text


def clean_class_name(name: str) -> str:
    """Return a class name such as "apple_pie", "n02085620-Chihuahua" or "AnnualCrop" as separate words.

    Replaces underscores with spaces, splits camel case, and removes the numbers that some datasets put first. Keeps
    hyphens and case, as in "T-shirt" and "BMW". If nothing remains, returns the name unchanged.
    """
    text = unicodedata.normalize("NFC", str(name)).strip()
    words = _DATASET_NUMBER.sub("", _WORDNET_PREFIX.sub("", text))
    words = _CAMEL_HUMP.sub(" ", words)
    words = _SPACES.sub(" ", words.replace("_", " ")).strip()
    return words or text


def clean_caption(caption: str) -> str:
    """Return a caption in lower case with single spaces, as the EMMS paper does (arXiv 2308.06262)."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", str(caption))).strip().lower()


def clean_answer(answer: str) -> str:
    """Return an answer in lower case with single spaces, without a final full stop unless it has others ("U.S.")."""
    text = clean_caption(answer)
    return text[:-1].rstrip() if text.count(".") == 1 and len(text) > 1 and text.endswith(".") else text
