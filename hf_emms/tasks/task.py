"""What a task is: which columns it reads, what feeds the checkpoint, what becomes the F-label.

Also what several tasks share: a column of images, numbers as smooth columns, and how a raw label becomes text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from hf_emms.options import LabelForm

# What a checkpoint is fed; "text+text" is a pair such as a question and its context.
Modality = Literal["image", "text", "image+text", "text+text"]
_WORDNET_PREFIX = re.compile(r"^n\d{8}[-_ ]+(?=\D)")
_CAMEL_HUMP = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z])")  # two small letters: "McDonald" and "iPhone" stay whole
_SPACES = re.compile(r"\s+")
_BREVITY = re.compile(r"\b(answer|response|brief|short|concise|succinct|terse)", re.IGNORECASE)
_MOST_WORDS_OF_A_HINT = 14
_DATASET_NUMBER = re.compile(r"^\d{3}\.(?=[A-Za-z])")


@dataclass(frozen=True)
class Role:
    """One column that a task needs.

    Attributes:
        name: what the column is to the task ("image", "text", "label").
        candidates: column names that are tried first, in this order; "texts.user" is a field of a column.
        types: which column types fit: "image", "string", "strings" (a list), "class", "integer" and others that
            `data.columns` knows.
        clean: takes out of an input text what does not belong to it; None where nothing does.
    """

    name: str
    candidates: tuple[str, ...]
    types: tuple[str, ...]
    clean: Callable[[str], str] | None = None


# A raw label and the input picture's (width, height), None without a picture or where that doesn't count, to P numbers.
Measure = Callable[[Any, tuple[int, int] | None], tuple[float, ...]]


@dataclass(frozen=True)
class Numbers:
    """How a label that is no text becomes an F-label: a box, a value.

    Attributes:
        measure: a raw label and the input picture's (width, height) in pixels to P plain numbers; None without a
            picture, and where labels are parts of it. Raises ValueError with the reason where the label cannot be used.
        encode: the numbers of U labels, float64 (U, P), to the F-label float32 (U, D2).
        describe: P numbers in words, for the text encoders.
        formats: other ways in which datasets write such labels, by the names that users type.
        are_parts: whether raw labels, all of a dataset's, are parts of their pictures, not in pixels; None where
            labels have nothing to do with the picture's size.
        warn: the numbers of N rows, float64 (N, P), to a warning in words where they look wrong, else None.
    """

    measure: Measure
    encode: Callable[[np.ndarray], np.ndarray]
    describe: Callable[[tuple[float, ...]], str]
    formats: Mapping[str, Measure] = field(default_factory=dict)
    are_parts: Callable[[Sequence[Any]], bool] | None = None
    warn: Callable[[np.ndarray], str | None] = lambda numbers: None


@dataclass(frozen=True)
class Task:
    """A Hub task that hf_emms can rank for.

    Attributes:
        id: the Hub's task id, e.g. "image-classification".
        modality: what a checkpoint is fed.
        inputs: the columns that feed the checkpoint, one for each part of `modality`.
        label: the column whose text or numbers are the label.
        categorical: whether labels are classes (sampled evenly, scored as codes by the baselines).
        label_text: cleans one raw label into the text that encoders embed.
        aliases: other names that users type.
        sources: Hub tasks whose checkpoints are candidates besides its own: backbones carry no task's tag.
        group: the input whose content rows share a fold by (the picture of ten questions); None: the first one.
        empty: the text of a label that holds nothing ("no answer"); None where such rows are left out.
        numbers: how labels that are no text are measured; None where labels are text.
        form: which F-labels `numbers` make: "text", "numbers" or "both", unless the user says.
        spans_of: the second of two texts, where labels may be spans of it (the context of a question); None where they
            never are.
    """

    id: str
    modality: Modality
    inputs: tuple[Role, ...]
    label: Role
    categorical: bool
    label_text: Callable[[str], str]
    aliases: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    group: str | None = None
    empty: str | None = None
    numbers: Numbers | None = None
    form: LabelForm = "text"
    spans_of: str | None = None

    @property
    def input(self) -> Role:
        """The first input: the picture where there is one."""
        return self.inputs[0]

    @property
    def roles(self) -> dict[str, Role]:
        """Every role by name, inputs first."""
        return {role.name: role for role in (*self.inputs, self.label)}


IMAGE = Role("image", ("image", "img", "picture", "photo", "jpg", "png", "images"), ("image", "images"))


def rbf_features(values: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Gaussian bumps, each as wide as its centre is far from its neighbours.

    Args:
        values: float64, shape (U,).
        centers: float64, shape (C,), increasing, two or more.

    Returns:
        float64, shape (U, C), between 0 and 1.
    """
    widths = np.maximum(np.abs(np.gradient(centers)), np.finfo(np.float64).tiny)
    return np.exp(-0.5 * ((values[:, None] - centers) / widths) ** 2)


def clean_class_name(name: str) -> str:
    """Turns a class name as datasets write it into words.

    Underscores become spaces, camel humps are split, and the numbers that some datasets put in front
    (``n02085620-``, ``001.``) go. Hyphens and case stay, because words have them too: "T-shirt", "BMW".

    Args:
        name: the raw name, e.g. "apple_pie", "n02085620-Chihuahua" or "AnnualCrop".

    Returns:
        The words, separated by single spaces ("apple pie", "Chihuahua", "Annual Crop"); the name itself,
        stripped, when nothing else would be left.
    """
    text = unicodedata.normalize("NFC", str(name)).strip()
    words = _DATASET_NUMBER.sub("", _WORDNET_PREFIX.sub("", text))
    words = _CAMEL_HUMP.sub(" ", words)
    words = _SPACES.sub(" ", words.replace("_", " ")).strip()
    return words or text


def clean_caption(caption: str) -> str:
    """Lower-cases a caption and collapses its white space, as the paper does (arXiv 2308.06262)."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", str(caption))).strip().lower()


def clean_answer(answer: str) -> str:
    """Lower-cases an answer, collapses its white space and drops its full stop; "U.S." keeps its own."""
    text = clean_caption(answer)
    return text[:-1].rstrip() if text.count(".") == 1 and len(text) > 1 and text.endswith(".") else text


def clean_question(question: str) -> str:
    """Takes a line such as "Answer briefly." off a question, as instruction sets such as the_cauldron append it.

    Only a second and last line goes, and only one that asks for a short answer: choices and hints stay.
    """
    text = question.strip()
    lines = text.split("\n")
    hint = lines[-1].strip()
    is_hint = hint.endswith(".") and len(hint.split()) <= _MOST_WORDS_OF_A_HINT and _BREVITY.search(hint)
    return lines[0].strip() if len(lines) == 2 and is_hint else text
