"""Text targets: WordNet glosses by lexicographer file, TREC questions, SST-2 sentences."""

from __future__ import annotations

from collections.abc import Callable

from ranking_quality.places import use_demo_scripts
from ranking_quality.rows import Table, hub_rows, split_rows

use_demo_scripts()

import data  # noqa: E402

SEED = 41
TREC_CLASSES = ("abbreviation", "entity", "description", "human", "location", "number")


def glosses() -> Table:
    """The demo's 2,000 glosses: the only ones that no candidate was distilled on."""
    names = list(data.GLOSS_CLASSES.values())
    synsets = data.target_synsets()
    rows = {
        "text": [synset.gloss for synset in synsets],
        "label": [names.index(data.GLOSS_CLASSES[synset.lexicographer]) for synset in synsets],
    }
    return split_rows(rows, classes=names, seed=SEED, shares=(0.60, 0.15, 0.25))


def trec() -> Table:
    """TREC questions and the coarse type of their answer."""
    parts = [hub_rows("CogComp/trec", "default", split) for split in ("train", "test")]
    rows = {
        "text": [text for part in parts for text in part["text"]],
        "label": [label for part in parts for label in part["coarse_label"]],
    }
    return split_rows(rows, classes=TREC_CLASSES, seed=SEED)


def sst2() -> Table:
    """SST-2 sentences and their sentiment."""
    parts = [hub_rows("nyu-mll/glue", "sst2", split) for split in ("train", "validation")]
    rows = {
        "text": [text for part in parts for text in part["sentence"]],
        "label": [label for part in parts for label in part["label"]],
    }
    return split_rows(rows, classes=("negative", "positive"), seed=SEED)


TEXT_TARGETS: dict[str, Callable[[], Table]] = {"glosses": glosses, "trec": trec, "sst2": sst2}
