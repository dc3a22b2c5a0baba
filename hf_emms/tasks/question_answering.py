"""Questions about a context. If contexts contain the answers, rows are spans of contexts: answers and other spans.

The other spans resemble answers: they have the same number of words, end before punctuation, and do not overlap an
answer.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from hf_emms.formatting import pluralize
from hf_emms.heads import SpansHead
from hf_emms.heads.metrics import UNSPACED
from hf_emms.heads.spans import ANSWER, NO_ANSWER, OTHER_ANSWER
from hf_emms.inputs import TEXT, TEXT_PAIR, hash64
from hf_emms.options import SampleOptions
from hf_emms.tasks.task import Column, Example, Item, Task, clean_answer

# A start and an exclusive end, in characters.
Span = tuple[int, int]

# Number of other spans per answer.
OTHER_SPANS = 3
# Maximum words of a span for a question without an answer.
_MAX_WORDS = 3
# Share of answers in their contexts from which questions are ranked by spans.
_ENOUGH = 0.5
_WORD = re.compile(rf"[{UNSPACED}]|[^\s{UNSPACED}]+")


def answer_spans(examples: Sequence[Example], options: SampleOptions) -> tuple[list[Item] | None, list[str]]:
    """Return spans of the contexts, each labeled as answer or not.

    Returns None instead of spans if texts have to be ranked. Also returns facts for the preview.

    Uses spans if half of the answers are in their contexts. A question without an answer gets other spans only. All
    checkpoints get the same spans.
    """
    if options.label_form not in (None, "spans"):
        return None, []
    spans_of = {example.id: find_spans(example.contents[1], example.labels, example.positions) for example in examples}
    answered = [example for example in examples if spans_of[example.id]]
    unanswered = [example for example in examples if not example.labels]
    n_labeled = len(examples) - len(unanswered)
    if len(answered) < _ENOUGH * n_labeled:
        fact = f"only {len(answered):,} of {n_labeled:,} answers are in their contexts: answers are embedded as texts"
        return None, [fact] * bool(answered)
    items = [item for example in answered for item in _with_answer(example, spans_of[example.id], options)]
    if all(item.label == ANSWER for item in items):
        return None, []
    items += [item for example in unanswered for item in _without_answer(example, options)]
    return items, _notes(items, examples, len(unanswered))


def all_answers(examples: Sequence[Example], options: SampleOptions) -> tuple[list[Item] | None, list[str]]:
    """Return the spans of `answer_spans` and all further answers of each question, for fine-tuning; or None."""
    items, notes = answer_spans(examples, options)
    if items is None:
        return None, notes
    spans = {(item.example, item.start, item.stop) for item in items}
    others = [
        Item(example.id, *span, OTHER_ANSWER)
        for example in examples
        for span in sorted(set(find_spans(example.contents[1], example.labels, example.positions)))
        if (example.id, *span) not in spans
    ]
    return items + others, notes


def find_spans(text: str, answers: Sequence[str], starts: Sequence[int | None]) -> list[Span]:
    """Return the spans of answers in a text; skip answers that it does not contain.

    Prefers the start that the dataset specifies, then the first occurrence as whole words, then the first one.
    """
    spans = (_find_span(text, answer.strip(), start) for answer, start in zip(answers, starts, strict=True))
    return [span for span in spans if span is not None]


def similar_spans(text: str, span: Span, taken: Sequence[Span]) -> list[Span]:
    """Return other spans of a text with the same number of words as an answer.

    Words end before punctuation, as answers do. Otherwise the end of a span would reveal whether it is an answer.
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


def _with_answer(example: Example, answers: Sequence[Span], options: SampleOptions) -> list[Item]:
    chosen = _chosen(answers, options)
    labels = dict.fromkeys(chosen, ANSWER)
    for answer in chosen:
        others = similar_spans(example.contents[1], answer, answers)
        for turn in range(min(OTHER_SPANS, len(others))):
            other = others.pop(_random(options, example.id, answer, turn) % len(others))
            labels.setdefault(other, NO_ANSWER)
    return [Item(example.id, *span, label) for span, label in labels.items()]


def _without_answer(example: Example, options: SampleOptions) -> list[Item]:
    """Return spans of at most three words for a question without an answer, the same number as for other questions."""
    text = example.contents[1]
    words = list(_words(text))
    if not words:
        return []
    count = 1 + _random(options, example.id) % min(_MAX_WORDS, len(words))
    others = similar_spans(text, (words[0][0], words[count - 1][1]), ())
    turns = range(min(1 + OTHER_SPANS, len(others)))
    drawn = [others.pop(_random(options, example.id, turn) % len(others)) for turn in turns]
    return [Item(example.id, *span, NO_ANSWER) for span in drawn]


def _chosen(answers: Sequence[Span], options: SampleOptions) -> Sequence[Span]:
    """Choose the answers of a question that become rows. By default, this is the most frequent one."""
    if options.references == "all":
        return sorted(set(answers))
    if options.references == "first":
        return answers[:1]
    return [span for span, _ in Counter(answers).most_common(1)]


def _random(options: SampleOptions, *parts: Any) -> int:
    """Return a pseudorandom number from the seed and the parts."""
    return hash64(*(str(part).encode() for part in (options.seed, *parts)))


def _notes(items: Sequence[Item], examples: Sequence[Example], n_unanswered: int) -> list[str]:
    used = {item.example for item in items}
    n_contexts = len({example.contents[1] for example in examples if example.id in used})
    notes = [
        f"{pluralize(len(items), 'span')} of {pluralize(n_contexts, 'context')}, for "
        f"{pluralize(len(used), 'question')}: the answer and up to {OTHER_SPANS} other spans of as many words"
    ]
    if n_unanswered:
        notes.append(f"questions without an answer: {n_unanswered:,}; none of their spans is the answer")
    left_out = len(examples) - len(used)
    if left_out:
        notes.append(f"skipped questions, whose answers are not in their contexts: {left_out:,}")
    return notes


def _find_span(text: str, answer: str, start: int | None) -> Span | None:
    if not answer:
        return None
    if start is not None and text[start : start + len(answer)] == answer:
        return start, start + len(answer)
    anywhere = [match.start() for match in re.finditer(re.escape(answer), text)]
    as_words = [at for at in anywhere if not _is_inside_word(text, at) and not _is_inside_word(text, at + len(answer))]
    first = next(iter(as_words or anywhere), None)
    return None if first is None else (first, first + len(answer))


def _is_inside_word(text: str, at: int) -> bool:
    return 0 < at < len(text) and text[at - 1].isalnum() and text[at].isalnum()


def _words(text: str) -> Iterator[Span]:
    for word in _WORD.finditer(text):
        start, stop = word.span()
        while start < stop and _is_punctuation(text[start]):
            start += 1
        while start < stop and _is_punctuation(text[stop - 1]):
            stop -= 1
        if start < stop:
            yield start, stop


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


QUESTION_ANSWERING = Task(
    id="question-answering",
    input=TEXT_PAIR,
    inputs=(
        Column("question", ("question", "questions", "query"), ("string", "strings"), TEXT),
        Column("context", ("context", "passage", "paragraph", "document", "text"), ("string",), TEXT),
    ),
    label=Column(
        "answer",
        ("answers", "answers.text", "answer", "answer_text", "answers.answer"),
        ("string", "strings"),
    ),
    categorical=False,
    label_text=clean_answer,
    head=SpansHead(),
    aliases=("extractive-qa", "qa"),
    source_tags=("fill-mask", "feature-extraction"),
    group_by="context",
    no_label_text="no answer",
    items=answer_spans,
    training_items=all_answers,
    label_position="answer_start",
)
