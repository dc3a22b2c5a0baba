"""From the raw labels of the drawn rows to distinct labels: texts, weighted means of texts, numbers, spans."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from hf_emms.data.rows import DrawnRows
from hf_emms.errors import EmmsError
from hf_emms.inputs import as_bytes, hash64
from hf_emms.options import LabelForm, Options
from hf_emms.tasks import Task

# A start and an exclusive end, in characters.
Span = tuple[int, int]
# The texts that a label is the weighted mean of, in order; most labels are one text of weight 1.
WeightedTexts = tuple[tuple[str, float], ...]
T = TypeVar("T")

# Spans that are not the answer, for each that is.
OTHER_SPANS = 3
# Words of a span of an input without an answer, at most.
_MOST_WORDS = 3
# Of the labelled inputs, how many need an answer that is a span, for all to be ranked by spans.
_ENOUGH = 0.5
# Scripts that are written without spaces between words: Thai to Lao, Myanmar, Khmer, Chinese and Japanese. Every
# character counts as a word there.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_RUN = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


@dataclass(frozen=True)
class SoftLabels:
    """Labels as weighted means of texts: entry i gives text ``texts[i]`` the weight ``weights[i]`` in ``labels[i]``.

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

    def mean_of(self, embedded: np.ndarray) -> np.ndarray:
        """Embeddings of the texts, float32 (T, D2), to those of the labels, float32 (U, D2)."""
        means = np.zeros((self.count, embedded.shape[1]), dtype=np.float32)
        np.add.at(means, self.labels, embedded[self.texts] * self.weights[:, None])
        return means


@dataclass(frozen=True)
class Labels:
    """The N rows of a sample, and the distinct labels that they have.

    Attributes:
        inputs: uint64, shape (N,): the hash of each row's input, a key of `DrawnRows.inputs`.
        spans: int64, shape (N, 2): the span of it that the row is about; zeros where it is all of it.
        codes: int64, shape (N,): the label of each row.
        texts: the distinct texts, sorted.
        soft: which texts each label is the mean of; None where label u is text u.
        numbers: float32, shape (U, D2): one more F-label, of labels that are numbers.
        form: which F-labels the labels make.
        values: float64, shape (U, P): the numbers themselves, see `tasks.task.NumericLabels`.
    """

    inputs: np.ndarray
    spans: np.ndarray
    codes: np.ndarray
    texts: tuple[str, ...]
    soft: SoftLabels | None = None
    numbers: np.ndarray | None = None
    form: LabelForm = "text"
    values: np.ndarray | None = None


def make_labels(drawn: DrawnRows, notes: list[str]) -> Labels:
    """The labels of the drawn rows.

    Args:
        drawn: what was read.
        notes: what was decided about the labels is added here.

    Raises:
        EmmsError: spans are asked for, and there are none.
    """
    spans = _span_labels(drawn, notes)
    if spans is not None:
        return spans
    task, options = drawn.schema.task, drawn.options
    inputs = np.array([input for input, _ in drawn.rows], dtype=np.uint64)
    whole = np.zeros((len(inputs), 2), dtype=np.int64)
    if task.numbers is not None:
        numbers = [raws[0] for _, raws in drawn.rows]
        return Labels(inputs, whole, *_number_labels(task, numbers, options.label_form, notes))
    return Labels(inputs, whole, *_text_labels(task, [raws for _, raws in drawn.rows], options, notes))


def _text_labels(
    task: Task, raws: Sequence[Sequence[str]], options: Options, notes: list[str]
) -> tuple[np.ndarray, tuple[str, ...], SoftLabels | None]:
    """Codes, texts and soft labels from the raw texts of each row: one label for each distinct choice of texts."""
    text_of = _label_texts(task, sorted({raw for row in raws for raw in row}), options.prompt, notes)
    distinct, codes = _coded([_weighted(_chosen(row, text_of, options), text_of) for row in raws])
    if all(len(label) == 1 for label in distinct):
        return codes, tuple(label[0][0] for label in distinct), None
    return (codes, *_soft_labels(distinct))


def _number_labels(
    task: Task, raws: Sequence[tuple[float, ...]], form: LabelForm | None, notes: list[str]
) -> tuple[np.ndarray, tuple[str, ...], SoftLabels | None, np.ndarray | None, LabelForm, np.ndarray | None]:
    """Codes, texts, soft labels, encoded numbers, their form, and the measured numbers."""
    assert task.numbers is not None
    warning = task.numbers.warn(np.array(raws, dtype=np.float64))
    notes += [warning] if warning else []
    form = form or task.label_form
    if form == "text":
        texts, codes = _coded([task.numbers.describe(raw) for raw in raws])
        return codes, tuple(texts), None, None, form, None
    distinct, codes = _coded(raws)
    values = np.array(distinct, dtype=np.float64)
    numbers = task.numbers.encode(values).astype(np.float32, copy=False)
    return (codes, *_soft_labels([((task.numbers.describe(raw), 1.0),) for raw in distinct]), numbers, form, values)


def _coded(values: Sequence[T]) -> tuple[list[T], np.ndarray]:
    """The U distinct values, sorted, and which one each of the N is, int64 (N,)."""
    distinct = sorted(set(values))  # type: ignore[type-var]
    code_of = {value: code for code, value in enumerate(distinct)}
    return distinct, np.array([code_of[value] for value in values], dtype=np.int64)


def _soft_labels(labels: Sequence[WeightedTexts]) -> tuple[tuple[str, ...], SoftLabels]:
    """The distinct texts of labels, sorted, and the labels as means of them."""
    texts = tuple(sorted({text for label in labels for text, _ in label}))
    number_of = {text: number for number, text in enumerate(texts)}
    entries = [(code, number_of[text], weight) for code, label in enumerate(labels) for text, weight in label]
    codes, numbers, weights = zip(*entries, strict=True)
    arrays = np.array(codes, np.int64), np.array(numbers, np.int64), np.array(weights, np.float32)
    return texts, SoftLabels(*arrays, len(labels))


def _label_texts(task: Task, raws: Sequence[str], prompt: str | None, notes: list[str]) -> dict[str, str]:
    """Raw label → text. Classes that cleaning would merge keep their raw names."""
    text_of = {raw: task.label_text(raw) for raw in raws}
    if not task.categorical:
        return text_of
    times = Counter(text_of.values())
    merged = [raw for raw in raws if times[text_of[raw]] > 1]
    if merged:
        notes.append(f"class names kept as they are, because cleaning would merge them: {', '.join(merged[:6])}")
        text_of.update((raw, raw) for raw in merged)
    return {raw: prompt.replace("{}", text) for raw, text in text_of.items()} if prompt else text_of


def _chosen(raws: Sequence[str], text_of: dict[str, str], options: Options) -> Sequence[str]:
    """Those of a row's texts that count."""
    if len(raws) == 1 or options.references in ("mean", "all"):
        return raws
    if options.references == "majority":
        most, _ = Counter(text_of[raw] for raw in raws).most_common(1)[0]
        return [next(raw for raw in raws if text_of[raw] == most)]
    if options.references == "one-per-image":
        return [min(raws, key=lambda raw: (hash64(str(options.seed).encode(), as_bytes(raw)), raw))]
    return raws[:1]


def _weighted(raws: Sequence[str], text_of: dict[str, str]) -> WeightedTexts:
    counts = Counter(text_of[raw] for raw in raws)
    return tuple(sorted((text, times / len(raws)) for text, times in counts.items()))


# ---- spans -----------------------------------------------------------------------------------------------------------


def _span_labels(drawn: DrawnRows, notes: list[str]) -> Labels | None:
    """Rows that are spans of the inputs: the answers, and others; None where labels are to be texts.

    They are the same for every checkpoint. Unless the user decides, rows are spans where half of the answers occur in
    their contexts. Of an input without an answer, all spans are others.
    """
    task, options = drawn.schema.task, drawn.options
    if task.answer_span_input is None or options.label_form not in (None, "spans"):
        return None
    label, asked = task.label.name, options.label_form == "spans"
    answers = {
        input: spans
        for input, given in sorted(drawn.answers.items())
        if (spans := find_spans(drawn.part_of(input, task.answer_span_input), given))
    }
    unanswered = {input for input, raws in drawn.rows if raws == [task.no_label_text]}
    labelled = {input for input, _ in drawn.rows} - unanswered
    if not asked and len(answers) < _ENOUGH * len(labelled):
        if answers:
            found = (
                f"the {label} occurs in the {task.answer_span_input} of {len(answers):,} of {len(labelled):,} rows only"
            )
            notes.append(f"{found}: {label}s are embedded as texts")
        return None
    rows: list[tuple[Any, ...]] = [
        (input, span, is_answer)
        for input, spans in answers.items()
        for span, is_answer in _drawn_spans(drawn.part_of(input, task.answer_span_input), spans, input, options)
    ]
    if all(is_answer for *_, is_answer in rows):
        if not asked:
            return None
        raise EmmsError(
            f"no {label} occurs in its {task.answer_span_input} among other words: there are no spans to choose from",
            f"--label-form text, which embeds the {label}s",
        )
    rows += [
        (input, span, False)
        for input in sorted(unanswered)
        for span in _spans_without_answer(drawn.part_of(input, task.answer_span_input), input, options)
    ]
    inputs, bounds, codes = zip(*rows, strict=True)
    return Labels(
        np.array(inputs, dtype=np.uint64),
        np.array(bounds, dtype=np.int64),
        np.array(codes, dtype=np.int64),
        (f"not the {label}", f"the {label}"),
        form="spans",
    )


def find_spans(text: str, answers: Sequence[tuple[str, int | None]]) -> list[Span]:
    """Where answers occur in a text, to the letter; those that do not are left out.

    Args:
        text: the text.
        answers: each answer, and the character at which it starts, as far as the dataset holds it.

    Returns:
        One span an answer that was found: at its start by the dataset, else nearest to that, else its first
        occurrence, as words of their own rather than inside a longer one.
    """
    found = (_find(text, answer.strip(), start) for answer, start in answers)
    return [span for span in found if span is not None]


def similar_spans(text: str, span: Span, taken: Sequence[Span]) -> list[Span]:
    """Runs of as many words as a span covers, from left to right.

    Words end before punctuation, as answers do: the end of a span would otherwise reveal whether it is one.

    Args:
        text: the text.
        span: one of the spans of it.
        taken: what the runs may not overlap, nor repeat word for word.
    """
    words = list(_words(text))
    count = max(1, sum(start < span[1] and stop > span[0] for start, stop in words))
    repeated = {text[start:stop] for start, stop in taken}
    runs = [(words[i][0], words[i + count - 1][1]) for i in range(len(words) - count + 1)]
    return [
        (start, stop)
        for start, stop in runs
        if text[start:stop] not in repeated and not any(start < end and stop > begin for begin, end in taken)
    ]


def _drawn_spans(text: str, answers: Sequence[Span], input: int, options: Options) -> list[tuple[Span, bool]]:
    """The spans of one input and whether each is the answer. The draw depends on the seed and the input alone."""
    chosen = _chosen_spans(answers, options)
    rows = dict.fromkeys(chosen, True)
    for answer in chosen:
        others = similar_spans(text, answer, answers)
        for turn in range(min(OTHER_SPANS, len(others))):
            rows.setdefault(others.pop(_random(options, input, answer, turn) % len(others)), False)
    return list(rows.items())


def _spans_without_answer(text: str, input: int, options: Options) -> list[Span]:
    """As many spans of an input that has no answer as another has with its answer, of one to three words."""
    words = list(_words(text))
    if not words:
        return []
    count = 1 + _random(options, input) % min(_MOST_WORDS, len(words))
    like = words[0][0], words[count - 1][1]
    others = similar_spans(text, like, ())
    turns = range(min(1 + OTHER_SPANS, len(others)))
    return [others.pop(_random(options, input, turn) % len(others)) for turn in turns]


def _random(options: Options, *parts: Any) -> int:
    """A number that depends on the seed and the parts alone."""
    return hash64(*(str(part).encode() for part in (options.seed, *parts)))


def _chosen_spans(answers: Sequence[Span], options: Options) -> Sequence[Span]:
    """Those of an input's answers that count. Spans have no mean: the most frequent one counts instead."""
    if options.references == "all":
        return sorted(set(answers))
    if options.references == "first":
        return answers[:1]
    if options.references == "one-per-image":
        return [min(answers, key=lambda span: (hash64(f"{options.seed} {span}".encode()), span))]
    return [span for span, _ in Counter(answers).most_common(1)]


def _find(text: str, answer: str, start: int | None) -> Span | None:
    if not answer:
        return None
    if start is not None and text[start : start + len(answer)] == answer:
        return start, start + len(answer)
    inside = [match.start() for match in re.finditer(re.escape(answer), text)]
    whole = [at for at in inside if not _in_word(text, at) and not _in_word(text, at + len(answer))]
    found = whole or inside
    if not found:
        return None
    nearest = min(found, key=lambda at: abs(at - start)) if start is not None else found[0]
    return nearest, nearest + len(answer)


def _in_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def _words(text: str) -> Iterator[Span]:
    for run in _RUN.finditer(text):
        start, stop = run.span()
        while start < stop and _is_punctuation(text[start]):
            start += 1
        while start < stop and _is_punctuation(text[stop - 1]):
            stop -= 1
        if start < stop:
            yield start, stop


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")
