"""Text question-answering targets: hypernyms in WordNet definitions, and XQuAD's questions on single sentences."""

from __future__ import annotations

import re
from collections.abc import Callable

from ranking_quality.places import use_demo_scripts
from ranking_quality.rows import Table, hub_rows, split_rows

use_demo_scripts()

import data_spans  # noqa: E402

SEED = 42
PER_FILE, PER_ANSWER = 1_000, 20
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“])")


def wordnet_spans() -> Table:
    """What kind of thing a noun names, answered in its definition, which no candidate was trained on."""
    chosen = data_spans.definitions(PER_FILE, PER_ANSWER)
    rows = {
        "context": [one.context for one in chosen],
        "question": [one.ask() for one in chosen],
        "answers": [{"text": [one.answer], "answer_start": [one.start]} for one in chosen],
    }
    return split_rows(rows, seed=SEED)


def xquad() -> Table:
    """XQuAD's English questions, each on the sentence that holds its answer: small candidates read 64 tokens."""
    rows: dict[str, list] = {"context": [], "question": [], "answers": []}
    paragraphs: list[str] = []
    for row in hub_rows("google/xquad", "xquad.en", "validation"):
        answer, start = row["answers"]["text"][0], row["answers"]["answer_start"][0]
        sentence, begin = _sentence(row["context"], start, start + len(answer))
        paragraphs.append(row["context"])
        rows["context"].append(sentence)
        rows["question"].append(row["question"])
        rows["answers"].append({"text": [answer], "answer_start": [start - begin]})
    table = split_rows(rows | {"paragraph": paragraphs}, seed=SEED, shares=(0.6, 0.12, 0.28), group="paragraph")
    for split in table.values():
        del split.columns["paragraph"]
    return table


def _sentence(context: str, start: int, end: int) -> tuple[str, int]:
    """The sentences that a span stands in, and where they begin."""
    breaks = [found.end() for found in SENTENCE_END.finditer(context)]
    begin = max((at for at in breaks if at <= start), default=0)
    stop = min((at for at in breaks if at >= end), default=len(context))
    return context[begin:stop].rstrip(), begin


ANSWER_TARGETS: dict[str, Callable[[], Table]] = {"wordnet-spans": wordnet_spans, "xquad": xquad}
