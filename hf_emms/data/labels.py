"""From the raw labels of a sample to its distinct labels: texts, mixtures of texts, numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_emms.data.collect import hash64
from hf_emms.data.request import Request
from hf_emms.data.target import Mixtures
from hf_emms.tasks import Task
from hf_emms.tasks.base import LabelForm

# A label as the texts that it is the weighted mean of, in order; most are one text of weight 1.
Blend = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Labels:
    """The distinct labels of a sample, and which one each row has; the fields are those of `Target`."""

    texts: tuple[str, ...]
    codes: np.ndarray
    mixtures: Mixtures | None = None
    numbers: np.ndarray | None = None
    form: LabelForm = "text"


def text_labels(task: Task, raws: Sequence[Sequence[str]], request: Request, notes: list[str]) -> Labels:
    """Labels that are texts.

    Args:
        task: what they are for.
        raws: the raw texts of each row, repeats included.
        request: which of several texts count.
        notes: what had to be decided is added here.

    Returns:
        One label for each distinct choice of texts; mixtures only where a label is more than one text.
    """
    text_of = _cleaned(task, sorted({raw for row in raws for raw in row}), request.prompt, notes)
    blends = [_blend(_chosen(row, text_of, request), text_of) for row in raws]
    distinct = sorted(set(blends))
    code_of = {blend: code for code, blend in enumerate(distinct)}
    codes = np.array([code_of[blend] for blend in blends], dtype=np.int64)
    if all(len(blend) == 1 for blend in distinct):
        return Labels(tuple(blend[0][0] for blend in distinct), codes)
    texts = tuple(sorted({text for blend in distinct for text, _ in blend}))
    place = {text: number for number, text in enumerate(texts)}
    entries = [(code, place[text], weight) for code, blend in enumerate(distinct) for text, weight in blend]
    return Labels(texts, codes, Mixtures.of(entries, len(distinct)))


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
    return Labels(texts, codes, Mixtures.of(entries, len(distinct)), numbers, chosen)


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


def _chosen(raws: Sequence[str], text_of: dict[str, str], request: Request) -> Sequence[str]:
    """Those of a row's texts that count."""
    if len(raws) == 1 or request.references in ("mean", "all"):
        return raws
    if request.references == "majority":
        most, _ = Counter(text_of[raw] for raw in raws).most_common(1)[0]
        return [next(raw for raw in raws if text_of[raw] == most)]
    if request.references == "one-per-image":
        return [min(raws, key=lambda raw: _lot(request.seed, raw))]
    return raws[:1]


def _lot(seed: int, text: str) -> tuple[Any, ...]:
    return hash64(str(seed).encode(), text.encode("utf-8", "surrogatepass")), text


def _blend(raws: Sequence[str], text_of: dict[str, str]) -> Blend:
    counts = Counter(text_of[raw] for raw in raws)
    return tuple(sorted((text, times / len(raws)) for text, times in counts.items()))
