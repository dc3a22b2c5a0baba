"""Make the demo's corpus of words and the definitions that search it, in the configurations of mteb."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence

from datasets import Dataset

from scripts.demo import data, sources
from scripts.demo.tables import write_card

NAME = "wordnet-search"
DOCUMENTS = 600  # few enough for models of this size to find some
_LONG = re.compile(r"\w{4,}")


def search() -> None:
    """Write definitions of nouns and the words that they define; no checkpoint of the demo has seen the definitions."""
    synsets = data.target_synsets()
    asked = [synset for synset in synsets if _is_hard(synset)]
    corpus = sorted(list(dict.fromkeys(map(_words, (*asked, *synsets))))[:DOCUMENTS])
    number_of = {words: number for number, words in enumerate(corpus)}
    tables = {
        "corpus": [{"_id": f"d{number}", "text": words} for number, words in enumerate(corpus)],
        "queries": [{"_id": f"q{number}", "text": synset.gloss} for number, synset in enumerate(asked)],
        "default": [
            {"query-id": f"q{number}", "corpus-id": f"d{number_of[_words(synset)]}", "score": 1}
            for number, synset in enumerate(asked)
        ],
    }
    folder = sources.DEMO / "datasets" / NAME
    shutil.rmtree(folder, ignore_errors=True)
    sizes = {name: _write(name, rows) for name, rows in tables.items()}
    head = {
        "license": "other",
        "license_name": "wordnet",
        "license_link": "https://wordnet.princeton.edu/license-and-commercial-use",
        "language": ["en"],
        "pretty_name": "WordNet search",
        "size_categories": ["n<1K"],
        "task_categories": ["text-retrieval"],
        "tags": ["hf-emms-demo"],
        "configs": [
            {"config_name": name, "data_files": [{"split": _split(name), "path": f"{name}/{_split(name)}-*"}]}
            for name in tables
        ],
        "dataset_info": {
            "features": Dataset.from_list(tables["default"]).features._to_yaml_list(),
            "splits": [{"name": "test", "num_bytes": sizes["default"], "num_examples": len(asked)}],
        },
        "source_datasets": ["extended|other-wordnet"],
    }
    text = (
        f"{len(asked)} definitions of nouns from WordNet 3.0 (Princeton University), each of which has to find the "
        f"words that it defines among those of {len(corpus):,} synsets: a reverse dictionary. No long word is in both. "
        "In the configurations corpus, queries and default, as mteb writes them. WordNet 3.0 Copyright 2006 by "
        "Princeton University; its licence stands in hf_emms' NOTICE."
    )
    write_card(folder, head, f"# WordNet search\n\n{text}\n\nPart of the embedded demo of hf_emms; not a benchmark.")


def _split(name: str) -> str:
    return "test" if name == "default" else name


def _write(name: str, rows: Sequence[dict]) -> int:
    """Write the table of a configuration; returns its bytes."""
    path = sources.DEMO / "datasets" / NAME / name / f"{_split(name)}-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    Dataset.from_list(list(rows)).to_parquet(path)
    return path.stat().st_size


def _words(synset: sources.Synset) -> str:
    return ", ".join(synset.words)


def _is_hard(synset: sources.Synset) -> bool:
    """Whether a synset has several words, and shares no long one with its definition."""
    defined, defining = (set(_LONG.findall(text.lower())) for text in (_words(synset), synset.gloss))
    return len(synset.words) > 1 and not defined & defining
