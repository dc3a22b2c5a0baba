"""From the raw labels of a sample to its distinct labels: texts, mixtures of texts, numbers.

Questions whose answers stand in their contexts, as rows: the span that is the answer, and others that are not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_emms.data.sample import SoftLabels
from hf_emms.data.sampling import Collector, hash64
from hf_emms.data.spans import Span, places_like
from hf_emms.errors import EmmsError
from hf_emms.options import LabelForm, Options
from hf_emms.tasks import Task

# A label as the texts that it is the weighted mean of, in order; most are one text of weight 1.
Blend = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Labels:
    """The distinct labels of a sample, and which one each row has; the fields are those of `Target`."""

    texts: tuple[str, ...]
    codes: np.ndarray
    mixtures: SoftLabels | None = None
    numbers: np.ndarray | None = None
    form: LabelForm = "text"


def text_labels(task: Task, raws: Sequence[Sequence[str]], options: Options, notes: list[str]) -> Labels:
    """Labels that are texts.

    Args:
        task: what they are for.
        raws: the raw texts of each row, repeats included.
        options: which of several texts count.
        notes: what had to be decided is added here.

    Returns:
        One label for each distinct choice of texts; mixtures only where a label is more than one text.
    """
    text_of = _cleaned(task, sorted({raw for row in raws for raw in row}), options.prompt, notes)
    blends = [_blend(_chosen(row, text_of, options), text_of) for row in raws]
    distinct = sorted(set(blends))
    code_of = {blend: code for code, blend in enumerate(distinct)}
    codes = np.array([code_of[blend] for blend in blends], dtype=np.int64)
    if all(len(blend) == 1 for blend in distinct):
        return Labels(tuple(blend[0][0] for blend in distinct), codes)
    texts = tuple(sorted({text for blend in distinct for text, _ in blend}))
    place = {text: number for number, text in enumerate(texts)}
    entries = [(code, place[text], weight) for code, blend in enumerate(distinct) for text, weight in blend]
    return Labels(texts, codes, SoftLabels.of(entries, len(distinct)))


def number_labels(task: Task, raws: Sequence[tuple[float, ...]], form: LabelForm | None, notes: list[str]) -> Labels:
    """Labels that are numbers: as their texts, as columns of numbers, or both.

    Args:
        task: what they are for.
        raws: the measured numbers of each row.
        form: which F-labels they make; None leaves it to the task.
        notes: what is doubtful about them is added here.
    """
    assert task.numbers is not None
    doubt = task.numbers.doubt(np.array(raws, dtype=np.float64))
    notes += [doubt] if doubt else []
    chosen = form or task.form
    said = [task.numbers.describe(raw) for raw in raws]
    texts = tuple(sorted(set(said)))
    place = {text: number for number, text in enumerate(texts)}
    if chosen == "text":
        return Labels(texts, np.array([place[text] for text in said], dtype=np.int64))
    distinct = sorted(set(raws))
    code_of = {raw: code for code, raw in enumerate(distinct)}
    codes = np.array([code_of[raw] for raw in raws], dtype=np.int64)
    numbers = task.numbers.encode(np.array(distinct, dtype=np.float64)).astype(np.float32, copy=False)
    entries = [(code, place[task.numbers.describe(raw)], 1.0) for raw, code in code_of.items()]
    return Labels(texts, codes, SoftLabels.of(entries, len(distinct)), numbers, chosen)


def _cleaned(task: Task, raws: Sequence[str], prompt: str | None, notes: list[str]) -> dict[str, str]:
    """Raw label → text. Classes that cleaning would merge keep their raw names."""
    cleaned = {raw: task.label_text(raw) for raw in raws}
    if not task.categorical:
        return cleaned
    times = Counter(cleaned.values())
    merged = [raw for raw in raws if times[cleaned[raw]] > 1]
    if merged:
        notes.append(f"class names kept as they are, because cleaning would merge them: {', '.join(merged[:6])}")
        cleaned.update((raw, raw) for raw in merged)
    return {raw: prompt.replace("{}", text) for raw, text in cleaned.items()} if prompt else cleaned


def _chosen(raws: Sequence[str], text_of: dict[str, str], options: Options) -> Sequence[str]:
    """Those of a row's texts that count."""
    if len(raws) == 1 or options.references in ("mean", "all"):
        return raws
    if options.references == "majority":
        most, _ = Counter(text_of[raw] for raw in raws).most_common(1)[0]
        return [next(raw for raw in raws if text_of[raw] == most)]
    if options.references == "one-per-image":
        return [min(raws, key=lambda raw: _lot(options.seed, raw))]
    return raws[:1]


def _lot(seed: int, text: str) -> tuple[Any, ...]:
    return hash64(str(seed).encode(), text.encode("utf-8", "surrogatepass")), text


def _blend(raws: Sequence[str], text_of: dict[str, str]) -> Blend:
    counts = Counter(text_of[raw] for raw in raws)
    return tuple(sorted((text, times / len(raws)) for text, times in counts.items()))


# Spans that are not the answer, for each that is.
OTHERS = 3
_ENOUGH = 0.5


@dataclass(frozen=True)
class SpanRows:
    """Rows that are spans.

    Attributes:
        numbers: uint64, shape (N,): the input that each is a span of, as in `Collector.inputs`.
        spans: int64, shape (N, 2): where it stands there, in characters from and up to.
        labels: whether it is the answer.
    """

    numbers: np.ndarray
    spans: np.ndarray
    labels: Labels


def span_rows(collector: Collector, notes: list[str]) -> SpanRows | None:
    """The rows of a sample as spans, the same for every checkpoint; None where its labels are to be texts.

    Unless the user says, they are spans where half of the answers stand in their contexts.

    Args:
        collector: what was read.
        notes: what was decided is added here.

    Raises:
        EmmsError: spans are asked for, and there are none.
    """
    task, options = collector.layout.task, collector.options
    if task.spans_of is None or options.label_form not in (None, "spans"):
        return None
    label, found = task.label.name, {number for number, spans in collector.spans.items() if spans}
    labelled = {number for number, raws in collector.rows if raws != [task.empty]}
    asked = options.label_form == "spans"
    if not asked and len(found) < _ENOUGH * len(labelled):
        if found:
            stand = f"the {label} stands in the {task.spans_of} of {len(found):,} of {len(labelled):,} rows only"
            notes.append(f"{stand}: {label}s are embedded as texts")
        return None
    rows = [
        (number, span, is_answer)
        for number in sorted(found)
        for span, is_answer in _drawn(collector.text_of(number), collector.spans[number], number, options)
    ]
    if all(is_answer for *_, is_answer in rows):
        if not asked:
            return None
        raise EmmsError(
            f"no {label} stands in its {task.spans_of} beside other words: there are no spans to tell apart",
            f"--label-form text, which embeds the {label}s",
        )
    texts = (f"not the {label}", f"the {label}")
    return SpanRows(
        np.array([number for number, *_ in rows], dtype=np.uint64),
        np.array([span for _, span, _ in rows], dtype=np.int64),
        Labels(texts, np.array([is_answer for *_, is_answer in rows], dtype=np.int64), form="spans"),
    )


def _drawn(text: str, answers: Sequence[Span], number: int, options: Options) -> list[tuple[Span, bool]]:
    """The spans of one input and whether each is the answer. The draw depends on the seed and the input alone."""
    chosen = _chosen_spans(answers, options)
    rows = dict.fromkeys(chosen, True)
    for answer in chosen:
        places = places_like(text, answer, answers)
        for turn in range(min(OTHERS, len(places))):
            lot = hash64(str(options.seed).encode(), *(str(part).encode() for part in (number, answer, turn)))
            rows.setdefault(places.pop(lot % len(places)), False)
    return list(rows.items())


def _chosen_spans(answers: Sequence[Span], options: Options) -> Sequence[Span]:
    """Those of an input's answers that count. Places have no mean: the most frequent one stands for it."""
    if options.references == "all":
        return sorted(set(answers))
    if options.references == "first":
        return answers[:1]
    if options.references == "one-per-image":
        return [min(answers, key=lambda span: (hash64(f"{options.seed} {span}".encode()), span))]
    return [span for span, _ in Counter(answers).most_common(1)]
