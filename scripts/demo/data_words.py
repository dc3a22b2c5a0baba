"""Make the demo's datasets of pairs, of tagged words and of prompts, from the definitions of its other datasets."""

from __future__ import annotations

import re

from datasets import ClassLabel, Dataset, Features, List, Value

from scripts.demo import data, data_spans, sources
from scripts.demo.tables import write_dataset

PAIRS = 600
PROMPTS = 200
_LONGEST = 100  # characters of a definition that answers a prompt: a demo should take seconds
TAGS = ("O", "B-defined", "I-defined", "B-kind", "I-kind")
_WORD = re.compile(r"\w+(?:[-']\w+)*|[^\w\s]")
_TERMS = "WordNet 3.0 Copyright 2006 by Princeton University; its licence stands in hf_emms' NOTICE."


def pairs() -> None:
    """Two definitions, of things of the same kind or of different ones."""
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
        rows.append({"text1": by_class[name][turn], "text2": by_class[other][-1 - turn], "label": int(same)})
    features = Features(
        {"text1": Value("string"), "text2": Value("string"), "label": ClassLabel(names=["different", "same"])}
    )
    write_dataset(
        "wordnet-pairs",
        Dataset.from_list(rows, features=features),
        title="WordNet pairs",
        license="other",
        task="text-classification",
        origin="extended|other-wordnet",
        text=(
            f"{PAIRS} pairs of definitions from WordNet 3.0 (Princeton University), and whether both define things "
            f"of the same kind, of ten. {_TERMS}"
        ),
    )


def words() -> None:
    """Definitions whose words are tagged: the noun that is defined, and the kind of thing that it names."""
    rows = [tagged(row) for row in _rows("wordnet-spans") if row["answers"]["text"]]
    features = Features(
        {"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=list(TAGS)))}
    )
    write_dataset(
        "wordnet-words",
        Dataset.from_list(rows, features=features),
        title="WordNet words",
        license="other",
        task="token-classification",
        origin="extended|other-wordnet",
        text=(
            f"{len(rows)} definitions from WordNet 3.0 (Princeton University), whose words are tagged as those of the "
            f"noun that is defined and of its hypernym, in the columns of CoNLL-2003. {_TERMS}"
        ),
    )


def definitions() -> None:
    """Prompts for the definition of a noun; no checkpoint of the demo has seen these definitions."""
    by_noun = {
        synset.words[0]: synset.gloss
        for synset in data.target_synsets()
        if len(synset.gloss) <= _LONGEST and data_spans.is_askable(synset.words[0])
    }
    nouns = list(by_noun)[:PROMPTS]
    rows = {
        "prompt": [f'Define the word "{noun}".' for noun in nouns],
        "completion": [by_noun[noun] for noun in nouns],
    }
    write_dataset(
        "wordnet-definitions",
        Dataset.from_dict(rows, features=Features({name: Value("string") for name in rows})),
        title="WordNet definitions",
        license="other",
        task="text-generation",
        origin="extended|other-wordnet",
        text=(
            f"{PROMPTS} prompts for the definition of a noun, and the definition in WordNet 3.0 (Princeton University) "
            f"as the response. {_TERMS}"
        ),
    )


def tagged(row: dict) -> dict:
    """The words of a definition with their tags."""
    noun = row["context"].index(":")
    start = row["answers"]["answer_start"][0]
    spans = {"defined": (0, noun), "kind": (start, start + len(row["answers"]["text"][0]))}
    matches = list(_WORD.finditer(row["context"]))
    tags, before = [], "O"
    for match in matches:
        name = next((name for name, (left, right) in spans.items() if left <= match.start() < right), "O")
        tags.append("O" if name == "O" else f"{'I' if name == before else 'B'}-{name}")
        before = name
    return {"id": row["id"], "tokens": [match[0] for match in matches], "ner_tags": tags}


def _rows(name: str) -> Dataset:
    return Dataset.from_parquet(str(sources.DEMO / "datasets" / name / "data" / "test-00000-of-00001.parquet"))
