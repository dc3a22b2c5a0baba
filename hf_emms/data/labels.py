"""Turn raw labels into distinct labels: texts, weighted means of texts, numbers, or items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from hf_emms.data.match import RowSchema
from hf_emms.data.rows import DrawnRows
from hf_emms.data.sample import SoftLabels
from hf_emms.options import LabelForm, SampleOptions
from hf_emms.tasks import Item, NumericLabels, Task

# A label as a weighted mean of texts; most labels are a single text with weight 1.
WeightedTexts = tuple[tuple[str, float], ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Labels:
    """The labels of the N rows of a sample.

    Attributes:
        inputs: uint64, shape (N,): hash of each row's input, a key of `DrawnRows.inputs`.
        codes: int64, shape (N,): index of each row's label.
        texts: The distinct label texts.
        spans: int64, shape (N, 2): the span of each row in its input; None if each row is a complete input.
        soft: Each label as a mean of texts; None if label u is text u.
        form: Form of the label embeddings, see `Sample`.
        numbers: float32, shape (U, D2): label embeddings of numbers; None for labels that are texts.
        values: float64, shape (U, P): the numbers themselves, see `tasks.task.NumericLabels`.
        order: Label texts in the dataset's own order of classes; empty if it has none.
        facts: How examples became labels, for the preview.
    """

    inputs: np.ndarray
    codes: np.ndarray
    texts: tuple[str, ...]
    spans: np.ndarray | None = None
    soft: SoftLabels | None = None
    form: LabelForm = "text"
    numbers: np.ndarray | None = None
    values: np.ndarray | None = None
    order: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()


def make_labels(drawn: DrawnRows, *, training: bool) -> Labels:
    """Return the labels of drawn rows. If the task makes several items of a row, return the items' labels."""
    task, options = drawn.schema.task, drawn.options
    itemize = (task.training_items if training else None) or task.items
    items, facts = itemize(drawn.examples(), options) if itemize is not None else (None, ())
    if items is not None:
        labels = _item_labels(items)
        order = _class_order(drawn.schema, {text: text for text in labels.texts})
        return replace(labels, order=order, facts=tuple(facts))
    inputs = np.array([input for input, _ in drawn.rows], dtype=np.uint64)
    if task.numbers is not None:
        numbers = [labels[0] for _, labels in drawn.rows]
        labels = _number_labels(inputs, task.numbers, numbers, options.label_form or task.label_form)
    else:
        labels = _text_labels(inputs, drawn.schema, [labels for _, labels in drawn.rows], options)
    return replace(labels, facts=(*facts, *labels.facts))


def _item_labels(items: Sequence[Item]) -> Labels:
    examples, starts, stops, labels = zip(*items, strict=True)
    texts, codes = _distinct(labels)
    return Labels(
        np.array(examples, dtype=np.uint64),
        codes,
        tuple(texts),
        spans=np.array([starts, stops], dtype=np.int64).T,
        form="spans",
    )


def _number_labels(
    inputs: np.ndarray, numbers: NumericLabels, measured: Sequence[tuple[float, ...]], form: LabelForm
) -> Labels:
    if form not in ("numbers", "both"):
        texts, codes = _distinct([numbers.describe(value) for value in measured])
        return Labels(inputs, codes, tuple(texts))
    distinct, codes = _distinct(measured)
    values = np.array(distinct, dtype=np.float64)
    encoded = numbers.encode(values).astype(np.float32, copy=False)
    described, soft = _soft_labels([((numbers.describe(value), 1.0),) for value in distinct])
    return Labels(inputs, codes, described, soft=soft, form=form, numbers=encoded, values=values)


def _text_labels(
    inputs: np.ndarray, schema: RowSchema, raws: Sequence[Sequence[str]], options: SampleOptions
) -> Labels:
    text_of, facts = _label_texts(schema.task, sorted({raw for row in raws for raw in row}), options.label_template)
    order = _class_order(schema, text_of)
    chosen = [row[:1] if options.references == "first" else row for row in raws]
    distinct, codes = _distinct([_weighted(row, text_of) for row in chosen])
    if all(len(label) == 1 for label in distinct):
        return Labels(inputs, codes, tuple(text for ((text, _),) in distinct), order=order, facts=facts)
    texts, soft = _soft_labels(distinct)
    return Labels(inputs, codes, texts, soft=soft, order=order, facts=facts)


def _class_order(schema: RowSchema, text_of: Mapping[str, str]) -> tuple[str, ...]:
    """Return label texts in the order of the dataset's classes, or by number. Other labels have no order."""
    names = [schema.words.get(name, name) for name in schema.flag_names or schema.class_names or ()]
    if not names and all(raw.isdecimal() for raw in text_of):
        names = sorted(text_of, key=int)
    return tuple(dict.fromkeys(text_of[name] for name in names if name in text_of))


def _distinct(values: Sequence[T]) -> tuple[list[T], np.ndarray]:
    """Return the U distinct values in order, and the index of each value among them, int64 (N,)."""
    distinct = sorted(set(values))  # type: ignore[type-var]
    code_of = {value: code for code, value in enumerate(distinct)}
    return distinct, np.array([code_of[value] for value in values], dtype=np.int64)


def _soft_labels(labels: Sequence[WeightedTexts]) -> tuple[tuple[str, ...], SoftLabels]:
    """Return the distinct label texts, and each label as a weighted mean of them."""
    texts = tuple(sorted({text for label in labels for text, _ in label}))
    number_of = {text: number for number, text in enumerate(texts)}
    entries = [(code, number_of[text], weight) for code, label in enumerate(labels) for text, weight in label]
    codes, numbers, weights = zip(*entries, strict=True)
    arrays = np.array(codes, np.int64), np.array(numbers, np.int64), np.array(weights, np.float32)
    return texts, SoftLabels(*arrays, len(labels))


def _label_texts(task: Task, raws: Sequence[str], template: str | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the text of each raw label, and facts for the preview.

    Classes that would get the same text keep their raw names.
    """
    text_of = {raw: task.label_text(raw) for raw in raws}
    if not task.categorical:
        return text_of, ()
    times = Counter(text_of.values())
    merged = [raw for raw in raws if times[text_of[raw]] > 1]
    text_of.update((raw, raw) for raw in merged)
    note = f"class names used unchanged, because cleaning would merge them: {', '.join(merged[:6])}"
    texts = {raw: template.replace("{}", text) for raw, text in text_of.items()} if template else text_of
    return texts, (note,) if merged else ()


def _weighted(raws: Sequence[str], text_of: dict[str, str]) -> WeightedTexts:
    counts = Counter(text_of[raw] for raw in raws)
    return tuple(sorted((text, times / len(raws)) for text, times in counts.items()))
