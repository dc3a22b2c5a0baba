"""Make the demo's datasets of pairs, tagged words, prompts and searches, from the definitions of WordNet."""

from __future__ import annotations

import re
import shutil

from datasets import ClassLabel, Dataset, List, Value

from scripts.demo import data, data_spans, sources
from scripts.demo.tables import WORDNET_LICENSE, WORDNET_TERMS, write_dataset, write_dataset_card

PAIRS = 600
PROMPTS = 200
DOCUMENTS = 600  # few enough for models of this size to find some
_LONGEST = 100  # characters of a definition that answers a prompt: a demo should take seconds
TAGS = ("O", "B-defined", "I-defined", "B-kind", "I-kind")
_LONG = re.compile(r"\w{4,}")
_WORD = re.compile(r"\w+(?:[-']\w+)*|[^\w\s]")
_ORIGIN = "extended|other-wordnet"


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
        title="WordNet pairs",
        task="text-classification",
        origin=_ORIGIN,
        text=(
            f"{PAIRS} pairs of definitions from WordNet 3.0 (Princeton University), and whether both define things "
            f"of the same kind, of ten. {WORDNET_TERMS}"
        ),
    )


def words() -> None:
    """Write definitions with tagged words: the defined noun and its hypernym."""
    rows = [_tagged(row) for row in _rows("wordnet-spans") if row["answers"]["text"]]
    write_dataset(
        "wordnet-words",
        {"id": Value("string"), "tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=list(TAGS)))},
        rows,
        title="WordNet words",
        task="token-classification",
        origin=_ORIGIN,
        text=(
            f"{len(rows)} definitions from WordNet 3.0 (Princeton University), whose words are tagged as those of the "
            f"noun that is defined and of its hypernym, in the columns of CoNLL-2003. {WORDNET_TERMS}"
        ),
    )


def definitions() -> None:
    """Write prompts for the definition of a noun; training excludes these definitions."""
    by_noun = {
        synset.words[0]: synset.gloss
        for synset in data.target_synsets()
        if len(synset.gloss) <= _LONGEST and data_spans.is_askable(synset.words[0])
    }
    nouns = list(by_noun)[:PROMPTS]
    write_dataset(
        "wordnet-definitions",
        {"prompt": Value("string"), "completion": Value("string")},
        [(f'Define the word "{noun}".', by_noun[noun]) for noun in nouns],
        title="WordNet definitions",
        task="text-generation",
        origin=_ORIGIN,
        text=(
            f"{PROMPTS} prompts for the definition of a noun, and the definition in WordNet 3.0 (Princeton University) "
            f"as the response. {WORDNET_TERMS}"
        ),
    )


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
    folder = sources.DEMO / "datasets" / "wordnet-search"
    shutil.rmtree(folder, ignore_errors=True)
    files = {}
    for name, rows in tables.items():
        files[name] = folder / name / f"{_split(name)}-00000-of-00001.parquet"
        files[name].parent.mkdir(parents=True)
        Dataset.from_list(rows).to_parquet(files[name])
    configs = [
        {"config_name": name, "data_files": [{"split": _split(name), "path": f"{name}/{_split(name)}-*"}]}
        for name in tables
    ]
    text = (
        f"{len(asked)} definitions of nouns from WordNet 3.0 (Princeton University), each of which has to find the "
        f"words that it defines among those of {len(corpus):,} synsets: a reverse dictionary. No long word is in both. "
        f"In the configurations corpus, queries and default, as mteb writes them. {WORDNET_TERMS}"
    )
    table, license = Dataset.from_list(tables["default"]), {"license": "other", **WORDNET_LICENSE}
    write_dataset_card(
        folder, "WordNet search", license, "text-retrieval", text, configs, table, files["default"], _ORIGIN
    )


def _split(name: str) -> str:
    return "test" if name == "default" else name


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
    return Dataset.from_parquet(str(sources.DEMO / "datasets" / name / "data" / "test-00000-of-00001.parquet"))
