"""Make the demo's dataset of prompts and responses: nouns, and what a dictionary says of them."""

from __future__ import annotations

from datasets import Dataset, Features, Value

from scripts.demo import data, data_spans
from scripts.demo.tables import write_dataset

NAME = "wordnet-definitions"
ROWS = 200
_LONGEST = 100  # characters of a definition: a demo should take seconds


def definitions() -> None:
    """Prompts for the definition of a noun; no checkpoint of the demo has seen these definitions."""
    by_noun = {
        synset.words[0]: synset.gloss
        for synset in data.target_synsets()
        if len(synset.gloss) <= _LONGEST and data_spans.is_askable(synset.words[0])
    }
    nouns = list(by_noun)[:ROWS]
    rows = {
        "prompt": [f'Define the word "{noun}".' for noun in nouns],
        "completion": [by_noun[noun] for noun in nouns],
    }
    write_dataset(
        NAME,
        Dataset.from_dict(rows, features=Features({name: Value("string") for name in rows})),
        title="WordNet definitions",
        license="other",
        task="text-generation",
        origin="extended|other-wordnet",
        text=(
            f"{ROWS} prompts for the definition of a noun, and the definition in WordNet 3.0 (Princeton University) as "
            "the response. WordNet 3.0 Copyright 2006 by Princeton University; its licence stands in hf_emms' NOTICE."
        ),
    )
