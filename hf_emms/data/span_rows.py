"""Questions whose answers stand in their contexts, as rows: the span that is the answer, and others that are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_emms.data.collect import Collector, hash64
from hf_emms.data.labels import Labels
from hf_emms.data.request import Request
from hf_emms.data.spans import Span, places_like
from hf_emms.errors import EmmsError

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
    task, request = collector.layout.task, collector.request
    if task.spans_of is None or request.label_form not in (None, "spans"):
        return None
    label, found = task.label.name, {number for number, spans in collector.spans.items() if spans}
    labelled = {number for number, raws in collector.rows if raws != [task.empty]}
    asked = request.label_form == "spans"
    if not asked and len(found) < _ENOUGH * len(labelled):
        if found:
            stand = f"the {label} stands in the {task.spans_of} of {len(found):,} of {len(labelled):,} rows only"
            notes.append(f"{stand}: {label}s are embedded as texts")
        return None
    rows = [
        (number, span, is_answer)
        for number in sorted(found)
        for span, is_answer in _drawn(collector.text_of(number), collector.spans[number], number, request)
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


def _drawn(text: str, answers: Sequence[Span], number: int, request: Request) -> list[tuple[Span, bool]]:
    """The spans of one input and whether each is the answer. The draw depends on the seed and the input alone."""
    chosen = _chosen(answers, request)
    rows = dict.fromkeys(chosen, True)
    for answer in chosen:
        places = places_like(text, answer, answers)
        for turn in range(min(OTHERS, len(places))):
            lot = hash64(str(request.seed).encode(), *(str(part).encode() for part in (number, answer, turn)))
            rows.setdefault(places.pop(lot % len(places)), False)
    return list(rows.items())


def _chosen(answers: Sequence[Span], request: Request) -> Sequence[Span]:
    """Those of an input's answers that count. Places have no mean: the most frequent one stands for it."""
    if request.references == "all":
        return sorted(set(answers))
    if request.references == "first":
        return answers[:1]
    if request.references == "one-per-image":
        return [min(answers, key=lambda span: (hash64(f"{request.seed} {span}".encode()), span))]
    return [span for span, _ in Counter(answers).most_common(1)]
