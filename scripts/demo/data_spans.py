"""Make the demo's question-answering dataset: the definition of a noun contains its hypernym."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass

from datasets import List, Value

from scripts.demo import data, sources, texts
from scripts.demo.tables import WORDNET_TERMS, write_dataset

SEED = 24
FILES = (5, 20, 13, 6)  # lexicographer files: animal, plant, food, artifact
ROWS_PER_FILE = 116
UNANSWERABLE_PER_FILE = 9
MAX_PER_ANSWER = 6  # rare answers cannot be learned, frequent ones can be guessed
_QUOTED = 'What kind of thing does the word "{noun}" name?'
_TEMPLATES = ("What kind of thing is {article} {noun}?", "What is {article} {noun} a kind of?", _QUOTED)
# the hypernym is in front of these words
_DETAILS = re.compile(
    r"\b(that|which|who|having|with|without|used|whose|where|when|for|by|in|from|on|to|containing)\b|;"
)
_ANSWERS = {"text": List(Value("string")), "answer_start": List(Value("int32"))}
_UNWANTED_NOUNS = {"kaffir cat"}


@dataclass(frozen=True)
class Definition:
    """The definition of a noun, and the position of its hypernym."""

    noun: str
    kind: str
    gloss: str
    answer: str
    key: str

    @property
    def context(self) -> str:
        """The entry of the dictionary."""
        return f"{self.noun}: {self.gloss}"

    @property
    def start(self) -> int:
        """Start of the answer in the context, in characters."""
        return len(self.noun) + len(": ") + _find(self.answer, self.gloss)

    def ask(self) -> str:
        """Return a question for the hypernym."""
        article = "an" if self.noun[0] in "aeiou" else "a"
        # names of dishes and drinks often have no article, like their definitions
        bare = self.kind == "food" and not re.match(r"(a|an|any) ", self.gloss)
        template = _QUOTED if bare else _TEMPLATES[_hash(self.key)[0] % len(_TEMPLATES)]
        return template.format(article=article, noun=self.noun)


def spans() -> None:
    """Write questions on WordNet definitions in SQuAD's format; one in thirteen is unanswerable."""
    chosen = definitions()
    rows = [_row(definition, definition) for definition in chosen]
    for at, kind in enumerate(data.GLOSS_CLASSES[number] for number in FILES):
        of_kind = [definition for definition in chosen if definition.kind == kind]
        # a noun of another file, so that the definition does not contain an answer
        strange = [definition for definition in chosen if definition.kind == data.GLOSS_CLASSES[FILES[at - 1]]]
        rows += [_row(of_kind[i], strange[-1 - i]) for i in range(UNANSWERABLE_PER_FILE)]
    rows.sort(key=lambda row: _hash(row["context"]))
    unanswerable = sum(not row["answers"]["text"] for row in rows)
    write_dataset(
        "wordnet-spans",
        {**dict.fromkeys(("id", "title", "context", "question"), Value("string")), "answers": _ANSWERS},
        [tuple(row.values()) for row in rows],
        title="WordNet hypernym spans",
        task="question-answering",
        origin="extended|other-wordnet",
        text=(
            f"{len(rows)} questions in the columns of SQuAD for the kind of thing that a noun names. The context is "
            "its definition in WordNet 3.0 (Princeton University); the answer is the word for its hypernym there. "
            f"{unanswerable} rows ask for a noun that the context does not define and have empty lists, as in SQuAD "
            "2.0. Nouns are of the lexicographer files animal, plant, food and artifact; definitions with unsuitable "
            f"words are left out. {WORDNET_TERMS}"
        ),
    )


def definitions(rows_per_file: int = ROWS_PER_FILE, per_answer: int = MAX_PER_ANSWER) -> list[Definition]:
    """Return the definitions of the dataset, which the training of text checkpoints excludes.

    Args:
        rows_per_file: Definitions of each lexicographer file, at most.
        per_answer: Definitions with the same answer, at most.
    """
    seen = set(texts.training_glosses()[: max(texts.TEACHER_GLOSSES, texts.MASKED_GLOSSES)])
    by_key = {synset.key: synset for synset in sources.wordnet()}
    pool = []
    for synset in sorted(by_key.values(), key=lambda synset: _hash(synset.key)):
        if synset.lexicographer in FILES and synset.gloss not in seen and data.usable(synset):
            answer = _hypernym_in_gloss(synset, by_key)
            if answer is not None and is_askable(synset.words[0]):
                kind = data.GLOSS_CLASSES[synset.lexicographer]
                pool.append(Definition(synset.words[0], kind, synset.gloss, answer, synset.key))
    kinds = [data.GLOSS_CLASSES[number] for number in FILES]
    return [definition for kind in kinds for definition in _common(pool, kind, rows_per_file, per_answer)]


def _common(pool: list[Definition], kind: str, rows: int, per_answer: int) -> list[Definition]:
    """Return rows of one kind with its most frequent answers."""
    of_kind = list({definition.noun: definition for definition in pool if definition.kind == kind}.values())
    chosen: list[Definition] = []
    for answer, _ in Counter(definition.answer for definition in of_kind).most_common():
        chosen += [definition for definition in of_kind if definition.answer == answer][:per_answer]
    return chosen[:rows]


def is_askable(noun: str) -> bool:
    """Return whether a noun is suitable: not a name, and not a plural by its ending."""
    return noun.islower() and noun not in _UNWANTED_NOUNS and not re.search(r"[^sui]s$", noun)


def _hypernym_in_gloss(synset: sources.Synset, by_key: dict[str, sources.Synset]) -> str | None:
    """Return the first word for a hypernym at the start of the gloss that is not part of the noun."""
    details = _DETAILS.search(synset.gloss)
    head = synset.gloss[: details.start()] if details else synset.gloss
    for key in synset.hypernyms:
        for word in by_key[key].words:
            in_noun = set(word.split()) & set(re.split(r"[ -]", synset.words[0]))
            if not in_noun and word.islower() and _find(word, head) is not None:
                return word
    return None


def _find(word: str, gloss: str) -> int | None:
    """Return the position of a word in a gloss, but not of a part of a word ("rod" in "rod-shaped")."""
    match = re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", gloss)
    return None if match is None else match.start()


def _row(context: Definition, asked: Definition) -> dict:
    answered = context is asked
    return {
        "id": _hash(context.key + asked.key).hex()[:24],
        "title": context.kind,
        "context": context.context,
        "question": asked.ask(),
        "answers": {
            "text": [context.answer] if answered else [],
            "answer_start": [context.start] if answered else [],
        },
    }


def _hash(text: str) -> bytes:
    return hashlib.blake2b(f"{SEED}/{text}".encode()).digest()
