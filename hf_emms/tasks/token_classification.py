"""Sentences with a tag per word: named entities (BIO and its variants), parts of speech.

Each word is a row. Words with the most frequent tag, such as "O", are sampled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from typing import Any

from hf_emms.formatting import pluralize
from hf_emms.heads import Metric, WordsHead
from hf_emms.heads.metrics import ENTITY_F1, UNSPACED, WORD_ACCURACY, has_prefix, split_tag
from hf_emms.inputs import TEXT, WORDS, UnusableError, hash64
from hf_emms.options import SampleOptions
from hf_emms.tasks.task import TEXT_SOURCES, Column, Example, Item, Task, clean_class_name

OUTSIDE = "O"
NO_ENTITY = "no entity"
# Abbreviations of entities and of universal parts of speech (universaldependencies.org) → words.
_ENTITIES = {
    **{"PER": "person", "PERS": "person", "PS": "person", "LOC": "location", "LC": "location", "ORG": "organization"},
    **{"OG": "organization", "MISC": "other name", "GPE": "country, city or state", "NORP": "nationality or group"},
    **{"FAC": "building or facility", "DT": "date", "TI": "time", "QT": "quantity", "PROD": "product"},
}
_PARTS_OF_SPEECH = {
    **{"ADJ": "adjective", "ADP": "adposition", "ADV": "adverb", "AUX": "auxiliary verb", "NOUN": "noun"},
    **{"CCONJ": "coordinating conjunction", "SCONJ": "subordinating conjunction", "DET": "determiner"},
    **{"INTJ": "interjection", "NUM": "numeral", "PART": "particle", "PRON": "pronoun", "PROPN": "proper noun"},
    **{"PUNCT": "punctuation", "SYM": "symbol", "VERB": "verb", "X": "other word"},
}
# A tag is sampled if more than this share of all words has it.
_MOST = 0.5
# Spans in the preview.
_SHOWN = 3
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
_SPACES = re.compile(r"\s+")

Span = tuple[int, int, str]
"""The first character, the end (exclusive) and the label of a part of a text."""


@dataclass(frozen=True)
class TaggedWord:
    """A word of a text with its tag; `stop` is exclusive."""

    start: int
    stop: int
    tag: str


def join_words(words: Any) -> Any:
    """Join words to a text; spaces inside words become no-break spaces."""
    if not isinstance(words, (list, tuple)):
        return words
    text = " ".join(_SPACES.sub("\u00a0", str(word or "").strip()) for word in words)
    if not text.strip():
        raise UnusableError("the sentence has no words")
    return text


def check_tags(contents: Sequence[Any], tags: Sequence[Any]) -> None:
    """Raise an `UnusableError` if a sentence does not have one tag per word."""
    count = contents[0].count(" ") + 1
    if count != len(tags):
        raise UnusableError(f"the sentence has {pluralize(count, 'word')} and {pluralize(len(tags), 'valid tag')}")


def words_with_tags(example: Example) -> list[TaggedWord]:
    """Return the words of a sentence; a repeated sentence has the tags of its first occurrence."""
    words, start = [], 0
    for word, tag in zip(example.contents[-1].split(" "), example.labels, strict=False):
        if word:
            words.append(TaggedWord(start, start + len(word), tag))
        start += len(word) + 1
    return words


def spans_by_character(example: Example) -> dict[int, Span]:
    """Return character → the labeled span that contains it. Of overlapping spans, the longest counts."""
    text = example.contents[-1]
    spans = {
        (start, stop, label)
        for start, stop, label in zip(example.positions, example.stops, example.labels, strict=True)
        if start is not None and stop is not None and 0 <= start < stop <= len(text)
    }
    span_of: dict[int, Span] = {}
    for span in sorted(spans, key=lambda span: (span[0] - span[1], span)):
        start, stop, _ = span
        if start not in span_of and stop - 1 not in span_of:
            span_of.update(dict.fromkeys(range(start, stop), span))
    return span_of


def words_in_spans(example: Example) -> list[TaggedWord]:
    """Convert labeled spans of a text to words with BIO tags."""
    span_of = spans_by_character(example)
    words, before = [], None
    for match in _WORD.finditer(example.contents[-1]):
        for span, characters in groupby(range(*match.span()), span_of.get):
            start, *others = characters
            tag = OUTSIDE if span is None else f"{'I' if span == before else 'B'}-{span[2]}"
            words.append(TaggedWord(start, start + 1 + len(others), tag))
            before = span
    return words


def are_entities(counts: Counter[str]) -> bool:
    """Return whether tags are entities: they have prefixes as in BIO and BIOES, or most words have the tag O."""
    others = counts.keys() - {OUTSIDE}
    if OUTSIDE not in counts or not others:
        return False
    return all(map(has_prefix, others)) or counts[OUTSIDE] > _MOST * counts.total()


def label_of(tag: str, *, entities: bool) -> str:
    """Return the words for a tag: "person" for B-PER and I-PER alike."""
    if not entities:
        return _PARTS_OF_SPEECH.get(tag.upper(), clean_class_name(tag))
    if tag == OUTSIDE:
        return NO_ENTITY
    type = split_tag(tag)[1] or "entity"
    return _ENTITIES.get(type.upper(), clean_class_name(type))


def word_metrics(references: Sequence[Any]) -> tuple[Metric, ...]:
    counts = Counter(tag for reference in references for tag in reference.tags)
    return (ENTITY_F1, WORD_ACCURACY) if are_entities(counts) else (WORD_ACCURACY,)


Reader = Callable[[Example], list[TaggedWord]]
"""Returns the words of an example."""


def word_items(examples: Sequence[Example], options: SampleOptions, read: Reader) -> tuple[list[Item], list[str]]:
    """Return words with labels, and facts.

    If most words have one tag, samples it: the same number per sentence as other words, at least one.
    """
    sentences = [(example.id, read(example)) for example in examples]
    counts = Counter(word.tag for _, words in sentences for word in words)
    if not counts:
        return [], []
    entities = are_entities(counts)
    labels = {tag: label_of(tag, entities=entities) for tag in counts}
    if options.label_template:
        labels = {tag: options.label_template.replace("{}", label) for tag, label in labels.items()}
    frequent, times = counts.most_common(1)[0]
    sampled = frequent if times > _MOST * counts.total() else None
    items: list[Item] = []
    n_sentences = 0
    for id, words in sentences:
        kept = [word for word in words if word.tag != sampled]
        drawn = sorted(
            (word for word in words if word.tag == sampled),
            key=lambda word: hash64(f"{options.seed} {id} {word.start}".encode()),
        )
        kept += drawn[: max(1, len(kept))]
        if items and options.max_samples is not None and len(items) + len(kept) > options.max_samples:
            break
        items += [Item(id, word.start, word.stop, labels[word.tag]) for word in kept]
        n_sentences += 1
    notes = [f"{pluralize(len(items), 'word')} of {pluralize(n_sentences, 'sentence')}, each with its tag"]
    if sampled is not None:
        share = f"{times / counts.total():.0%} of the words"
        notes.append(f"tag {sampled} ({share}) is sampled: as many per sentence as other words, at least one")
    return items, notes


def span_items(examples: Sequence[Example], options: SampleOptions) -> tuple[list[Item], list[str]]:
    """Return the items of words in spans, and how many spans are outside their text or overlap a longer one."""
    items, notes = word_items(examples, options, words_in_spans)
    spans = ((example.contents[-1], *span) for example in examples for span in {*spans_by_character(example).values()})
    first = [f"{text[start:stop]!r} ({label})" for text, start, stop, label in islice(sorted(spans), _SHOWN)]
    notes.append(f"first spans: {', '.join(first)}")
    skipped = sum(len(example.labels) - len({*spans_by_character(example).values()}) for example in examples)
    if skipped:
        notes.append(f"skipped spans that are not in their text, or overlap a longer one: {skipped:,}")
    return items, notes


def all_words(examples: Sequence[Example], options: SampleOptions, read: Reader) -> tuple[list[Item], list[str]]:
    """Return all words with their tags, for fine-tuning."""
    return [Item(example.id, word.start, word.stop, word.tag) for example in examples for word in read(example)], []


_HEAD = WordsHead(word_metrics)

TOKEN_CLASSIFICATION = Task(
    id="token-classification",
    input=WORDS,
    inputs=(Column("tokens", ("tokens", "words", "token", "sentence"), ("strings",), TEXT, join_words, is_list=True),),
    label=Column(
        "tags",
        ("ner_tags", "ner", "pos_tags", "upos", "xpos", "pos", "chunk_tags", "tags", "labels"),
        ("classes", "strings", "integers"),
    ),
    categorical=True,
    label_text=clean_class_name,
    head=_HEAD,
    aliases=("named-entity-recognition", "part-of-speech", "ner", "pos"),
    source_tags=TEXT_SOURCES,
    check=check_tags,
    items=partial(word_items, read=words_with_tags),
    training_items=partial(all_words, read=words_with_tags),
    counts_items=True,
)

SPAN_CLASSIFICATION = Task(
    id="span-classification",
    input=WORDS,
    inputs=(Column("text", ("text", "sentence", "source_text", "full_text"), ("string",), TEXT),),
    label=Column(
        "entities",
        tuple(
            f"{column}.{field}"
            for column in ("entities", "spans", "ner", "labels", "annotations", "privacy_mask", "label")
            for field in ("label", "type", "entity", "tag", "category", "entity_group")
        ),
        ("classes", "strings"),
    ),
    # Many texts have no entity, so they are not drawn by their rarest class.
    categorical=False,
    label_text=clean_class_name,
    head=_HEAD,
    hub_tags=("token-classification",),
    source_tags=TEXT_SOURCES,
    no_label_text=NO_ENTITY,
    label_position="start",
    label_end="end",
    items=span_items,
    training_items=partial(all_words, read=words_in_spans),
    counts_items=True,
)
