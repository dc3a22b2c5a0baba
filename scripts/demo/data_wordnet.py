"""Make the demo's datasets of questions, pairs, tagged words, prompts and searches from definitions of WordNet."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
from datasets import ClassLabel, Dataset, List, Value

from scripts.demo import data, sources, texts
from scripts.demo.tables import table_file, write_dataset

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
PAIRS = 600
PROMPTS = 200
DOCUMENTS = 600  # few enough for models of this size to find some
_LONGEST = 100  # characters of a definition that answers a prompt: a demo should take seconds
TAGS = ("O", "B-defined", "I-defined", "B-kind", "I-kind")
_LONG = re.compile(r"\w{4,}")
_WORD = re.compile(r"\w+(?:[-']\w+)*|[^\w\s]")


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
    write_dataset(
        "wordnet-spans",
        {**dict.fromkeys(("id", "title", "context", "question"), Value("string")), "answers": _ANSWERS},
        [tuple(row.values()) for row in rows],
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


# ---- pairs, words, prompts, searches ---------------------------------------------------------------------------------


def pairs() -> None:
    """Write pairs of definitions, of things of the same kind or of different kinds."""
    by_class: dict[str, list[str]] = {}
    glosses = _rows("wordnet-glosses")
    name_of = glosses.features["label"].int2str
    for row in glosses:
        by_class.setdefault(name_of(row["label"]), []).append(row["text"])
    names, rows = sorted(by_class), []
    for number in range(PAIRS):
        name, turn = names[number % len(names)], number // len(names)
        same = turn % 2 == 0
        other = name if same else names[(number + 1 + turn // 2 % (len(names) - 1)) % len(names)]
        rows.append((by_class[name][turn], by_class[other][-1 - turn], int(same)))
    write_dataset(
        "wordnet-pairs",
        {"text1": Value("string"), "text2": Value("string"), "label": ClassLabel(names=["different", "same"])},
        rows,
    )


def words() -> None:
    """Write definitions with tagged words: the defined noun and its hypernym."""
    rows = [_tagged(row) for row in _rows("wordnet-spans") if row["answers"]["text"]]
    write_dataset(
        "wordnet-words",
        {"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=list(TAGS)))},
        rows,
    )


def prompts() -> None:
    """Write prompts for the definition of a noun; training excludes these definitions."""
    write_dataset(
        "wordnet-definitions", {"prompt": Value("string"), "completion": Value("string")}, _questions_and_definitions()
    )


def preferences() -> None:
    """Write the same prompts with the definition as the chosen response, and its words in another order as rejected."""
    draw = np.random.default_rng(SEED)
    rows = []
    for prompt, definition in _questions_and_definitions():
        shuffled = definition
        while shuffled == definition:
            shuffled = " ".join(draw.permutation(definition.split()))
        rows.append((prompt, definition, shuffled))
    write_dataset("wordnet-preferences", {name: Value("string") for name in ("prompt", "chosen", "rejected")}, rows)


def _questions_and_definitions() -> list[tuple[str, str]]:
    by_noun = {
        synset.words[0]: synset.gloss
        for synset in data.target_synsets()
        if len(synset.gloss) <= _LONGEST and is_askable(synset.words[0])
    }
    return [(f'Define the word "{noun}".', by_noun[noun]) for noun in list(by_noun)[:PROMPTS]]


def search() -> None:
    """Write definitions of nouns, each of which has to find its words in a corpus, in the configurations of mteb.

    No checkpoint of the demo has seen the definitions.
    """
    synsets = data.target_synsets()
    asked = [synset for synset in synsets if _is_hard(synset)]
    corpus = sorted(list(dict.fromkeys(map(_joined_words, (*asked, *synsets))))[:DOCUMENTS])
    number_of = {words: number for number, words in enumerate(corpus)}
    tables = {
        "corpus": [{"_id": f"d{number}", "text": words} for number, words in enumerate(corpus)],
        "queries": [{"_id": f"q{number}", "text": synset.gloss} for number, synset in enumerate(asked)],
        "default": [
            {"query-id": f"q{number}", "corpus-id": f"d{number_of[_joined_words(synset)]}", "score": 1}
            for number, synset in enumerate(asked)
        ],
    }
    for name, rows in tables.items():
        path = table_file("wordnet-search", name, "test" if name == "default" else name)
        Dataset.from_list(rows).to_parquet(path)


def _joined_words(synset: sources.Synset) -> str:
    return ", ".join(synset.words)


def _is_hard(synset: sources.Synset) -> bool:
    """Return whether a synset has several words, and shares no long one with its definition."""
    defined, defining = (set(_LONG.findall(text.lower())) for text in (_joined_words(synset), synset.gloss))
    return len(synset.words) > 1 and not defined & defining


def _tagged(row: dict) -> tuple[str, list[str], list[str]]:
    """Return the id of a definition, its words, and their tags."""
    noun = row["context"].index(":")
    start = row["answers"]["answer_start"][0]
    spans = {"defined": (0, noun), "kind": (start, start + len(row["answers"]["text"][0]))}
    matches = list(_WORD.finditer(row["context"]))
    tags, before = [], "O"
    for match in matches:
        name = next((name for name, (left, right) in spans.items() if left <= match.start() < right), "O")
        tags.append("O" if name == "O" else f"{'I' if name == before else 'B'}-{name}")
        before = name
    return row["id"], [match[0] for match in matches], tags


def _rows(name: str) -> Dataset:
    return Dataset.from_parquet(str(table_file(name)))
