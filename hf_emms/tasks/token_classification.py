"""Sentences with a tag per word: named entities (BIO and its variants), parts of speech.

Each word is a row. Words with the most frequent tag, such as "O", are sampled.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_emms.errors import EmmsError, Note, Text, pluralize, setting_ref
from hf_emms.heads import Metric, WordsHead
from hf_emms.heads.metrics import ENTITY_F1, PLAIN_ENTITY_F1, UNSPACED, WORD_ACCURACY, split_tag
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
_FEW = 0.1
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_SPACES = re.compile(r"\s+")
_CUT_WORDS = "spans that end inside a word (`end` is exclusive)"


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


def words_with_tags(example: Example, left_out: Counter[str]) -> list[TaggedWord]:
    """Return the words of a sentence; a repeated sentence has the tags of its first occurrence."""
    words, start = [], 0
    for word, tag in zip(example.contents[-1].split(" "), example.labels, strict=False):
        if word:
            words.append(TaggedWord(start, start + len(word), tag))
        else:
            left_out["skipped empty words"] += 1
        start += len(word) + 1
    return words


def _spans(example: Example, left_out: Counter[str]) -> list[tuple[int, int, str]]:
    """Return the usable spans of a text, longest first."""
    text = example.contents[-1]
    usable = set()
    for label, start, stop in zip(example.labels, example.positions, example.stops, strict=True):
        if start is None or stop is None or not 0 <= start < stop <= len(text):
            left_out["skipped spans that are not in their text"] += 1
        elif text[start:stop].isspace():
            left_out["skipped spans of spaces"] += 1
        else:
            usable.add((start, stop, label))
    return sorted(usable, key=lambda span: (span[0] - span[1], span))


def _ends_in_word(text: str, stop: int) -> bool:
    pair = text[stop - 1 : stop + 1]
    return len(pair) == 2 and pair.isalnum() and not _UNSPACED.search(pair)


def with_exclusive_ends(examples: Sequence[Example]) -> tuple[Sequence[Example], list[str]]:
    """Return the examples with exclusive ends of spans, and a fact if the dataset has inclusive ends.

    Ends are inclusive if most exclusive ends would be inside a word, but few inclusive ends are.
    """
    spans = [
        (example.contents[-1], start, stop)
        for example in examples
        for start, stop in zip(example.positions, example.stops, strict=True)
        if start is not None and stop is not None and 0 <= start <= stop <= len(example.contents[-1])
    ]
    cut = sum(start == stop or _ends_in_word(text, stop) for text, start, stop in spans)
    cut_behind = sum(_ends_in_word(text, stop + 1) for text, _, stop in spans)
    if cut <= _MOST * len(spans) or cut_behind > _FEW * cut:
        return examples, []
    stops = ((None if stop is None else stop + 1 for stop in example.stops) for example in examples)
    moved = [replace(example, stops=tuple(ends)) for example, ends in zip(examples, stops, strict=True)]
    return moved, ["`end` is read as inclusive, because most spans would end inside a word otherwise"]


def words_in_spans(example: Example, left_out: Counter[str]) -> list[TaggedWord]:
    """Return words with BIO tags from labelled spans of characters; of overlapping spans, the longest counts."""
    text = example.contents[-1]
    tags: dict[int, tuple[int, str]] = {}
    for number, (start, stop, label) in enumerate(_spans(example, left_out)):
        if any(place in tags for place in range(start, stop)):
            left_out["skipped spans that overlap a longer one"] += 1
        else:
            tags.update((place, (number, label)) for place in range(start, stop))
            left_out[_CUT_WORDS] += _ends_in_word(text, stop)
    words, before = [], None
    for match in _WORD.finditer(text):
        start = match.start()
        # A span may end inside a word.
        for stop in range(start + 1, match.end() + 1):
            if stop == match.end() or tags.get(stop) != tags.get(start):
                entity = tags.get(start)
                prefix = "I" if entity == before else "B"
                words.append(TaggedWord(start, stop, f"{prefix}-{entity[1]}" if entity else OUTSIDE))
                start, before = stop, entity
    return words


def is_bio(tags: Sequence[str]) -> bool:
    """Return whether tags mark the beginning and the inside of entities, as BIO and BIOES do."""
    others = [tag for tag in tags if tag != OUTSIDE]
    return OUTSIDE in tags and bool(others) and all(split_tag(tag)[0] for tag in others)


def _are_plain_entities(counts: Counter[str]) -> bool:
    """Return whether tags are types of entities without BIO: several tags, and most words have O."""
    return len(counts) > 1 and counts[OUTSIDE] > _MOST * counts.total()


def label_of(tag: str, *, entities: bool, bio: bool) -> str:
    """Return the words for a tag: "person" for B-PER and I-PER alike."""
    if not entities:
        return _PARTS_OF_SPEECH.get(tag.upper(), clean_class_name(tag))
    if tag == OUTSIDE:
        return NO_ENTITY
    type = (split_tag(tag)[1] or "entity") if bio else tag
    return _ENTITIES.get(type.upper(), clean_class_name(type))


def word_metrics(references: Sequence[Any]) -> tuple[Metric, ...]:
    counts = Counter(tag for reference in references for tag in reference.tags)
    if is_bio(list(counts)):
        return (ENTITY_F1, WORD_ACCURACY)
    return (PLAIN_ENTITY_F1, WORD_ACCURACY) if _are_plain_entities(counts) else (WORD_ACCURACY,)


@dataclass(frozen=True)
class WordItems:
    """Makes rows of words from sentences, for ranking and fine-tuning.

    Attributes:
        read: Returns the words of an example, and counts what it skips.
        hint: Hint of the error if only one tag remains.
        prepare: Changes all examples before `read`, and returns facts.
    """

    read: Callable[[Example, Counter[str]], list[TaggedWord]]
    hint: str | Text
    prepare: Callable[[Sequence[Example]], tuple[Sequence[Example], list[str]]] | None = None

    def __call__(self, examples: Sequence[Example], options: SampleOptions) -> tuple[list[Item], list[Note | str]]:
        """Return words with labels, with warnings and facts.

        If most words have one tag, samples it: the same number per sentence as other words, at least one.

        Raises:
            EmmsError: All words have the same tag, because the others were skipped.
        """
        left_out: Counter[str] = Counter()
        examples, prepared = self.prepare(examples) if self.prepare is not None else (examples, [])
        sentences = [(example.id, self.read(example, left_out)) for example in examples]
        counts = Counter(word.tag for _, words in sentences for word in words)
        if not counts:
            return [], []
        said = [f"{reason}: {count:,}" for reason, count in left_out.items() if count]
        if len(counts) == 1 and said:
            raise EmmsError(f"All words have the tag {next(iter(counts))}; {'; '.join(said)}.", self.hint)
        bio = is_bio(list(counts))
        entities = bio or _are_plain_entities(counts)
        label_by_tag = {tag: _in_prompt(label_of(tag, entities=entities, bio=bio), options) for tag in counts}
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
            items += [Item(id, word.start, word.stop, label_by_tag[word.tag]) for word in kept]
            n_sentences += 1
        warnings: list[Note] = []
        notes = [f"{pluralize(len(items), 'word')} of {pluralize(n_sentences, 'sentence')}, each with its tag"]
        if sampled is not None:
            share = f"{times / counts.total():.0%} of the words"
            notes.append(f"tag {sampled} ({share}) is sampled: as many per sentence as other words, at least one")
        shared = [label for label, tags in sorted(Counter(label_by_tag.values()).items()) if tags > 1]
        if bio and shared and self.read is words_with_tags:  # tags of spans are not in the data
            first, second, *_ = sorted(tag for tag, label in label_by_tag.items() if label == shared[0])
            notes.append(f"positions in an entity are one label: {first} and {second} are {shared[0]!r}")
        labels = set(label_by_tag.values())
        missing = len(labels) - len({item.label for item in items})
        if missing:
            text = f"{missing} of {len(labels)} labels have no word: draw more with {setting_ref('max_samples')}."
            warnings.append(Note("labels-without-words", text))
        return items, [*warnings, *notes, *prepared, *said]

    def for_training(self, examples: Sequence[Example], options: SampleOptions) -> tuple[list[Item], list[Note | str]]:
        """Return all words with their tags, for fine-tuning."""
        items = [
            Item(example.id, word.start, word.stop, word.tag)
            for example in (self.prepare(examples)[0] if self.prepare is not None else examples)
            for word in self.read(example, Counter())
        ]
        return items, []


def _in_prompt(label: str, options: SampleOptions) -> str:
    return options.prompt.replace("{}", label) if options.prompt else label


_HEAD = WordsHead(word_metrics)
_TAGS = WordItems(words_with_tags, "Repair the data, or name another column: " + setting_ref("tags_column", ...))
_SPANS = WordItems(
    words_in_spans, "`start` and `end` count characters from 0; `end` is exclusive.", with_exclusive_ends
)

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
    items=_TAGS,
    training_items=_TAGS.for_training,
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
    items=_SPANS,
    training_items=_SPANS.for_training,
    counts_items=True,
)
