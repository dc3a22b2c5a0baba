"""The targets of pairs of texts and of words: rows of the Hub in three splits that share no first text or sentence."""

from __future__ import annotations

from collections.abc import Callable

from scripts.quality.rows import Split, Table, hub_rows, split_rows

SEED = 60
SHARES = (0.5, 0.15, 0.35)
COUNTS = (1_500, 300, 800)


def med() -> Table:
    """MED: whether the second sentence follows from the first, for sentences that differ in one place."""
    rows = hub_rows("verypluming/MED", "data", "train")
    pairs = {"sentence1": rows["sentence1"], "sentence2": rows["sentence2"], "label": rows["gold_label"]}
    names = rows.features["gold_label"].names
    return split_rows(_lists(pairs), classes=names, seed=SEED, counts=COUNTS, group="sentence1")


def sts_images() -> Table:
    """Captions of pictures and how alike they are, from 0 to 5."""
    parts = [hub_rows("mteb/sts-images-2014-2015", "data", split) for split in ("train", "test")]
    pairs = {name: [value for part in parts for value in part[name]] for name in ("sentence1", "sentence2", "score")}
    return split_rows(pairs, seed=SEED, shares=SHARES, group="sentence1")


def covid() -> Table:
    """Questions about COVID-19 and whether they ask the same."""
    rows = hub_rows("deepset/covid-question-similarity", "en", "test")
    pairs = {"sentence1": rows["question_1"], "sentence2": rows["question_2"], "label": rows["similar"]}
    names = ("different", "similar")
    return split_rows(_lists(pairs), classes=names, seed=SEED, shares=SHARES, group="sentence1")


def wnut() -> Table:
    """WNUT-17: new and rare entities in posts."""
    parts = [hub_rows("leondz/wnut_17", "data", split) for split in ("train", "validation", "test")]
    return _sentences(parts, "ner_tags")


def ewt() -> Table:
    """English Web Treebank: universal parts of speech."""
    parts = [hub_rows("universal_dependencies/en_ewt", "data", split) for split in ("train", "validation", "test")]
    return _sentences(parts, "upos")


def _sentences(parts: list, column: str) -> Table:
    tokens = [sentence for part in parts for sentence in part["tokens"]]
    rows = {
        "tokens": tokens,
        "tags": [tags for part in parts for tags in part[column]],
        "text": [" ".join(sentence) for sentence in tokens],
    }
    names = parts[0].features[column].feature.names
    table = split_rows(rows, classes=names, seed=SEED, counts=COUNTS, group="text")
    return {
        name: Split({key: split.columns[key] for key in ("tokens", "tags")}, split.classes)
        for name, split in table.items()
    }


def _lists(rows: dict) -> dict[str, list]:
    return {name: list(values) for name, values in rows.items()}


MAKERS: dict[str, Callable[[], Table]] = {
    "med": med,
    "sts-images": sts_images,
    "covid": covid,
    "wnut": wnut,
    "ewt": ewt,
}
