"""The targets of the pools of real checkpoints: more rows than the micro pool's, 2,000 to test where there are."""

from __future__ import annotations

from collections.abc import Callable

from scripts.demo import data
from scripts.quality import photos
from scripts.quality.rows import Table, hub_rows, split_rows
from scripts.quality.targets import TREC_CLASSES, cifar10_rows, digits, emoji_groups, fashion_rows, sst2_rows, trec_rows

SEED = 50
# rows to train on, to choose rates by, and to report
COUNTS = (2_500, 500, 2_000)


def cifar10() -> Table:
    """CIFAR-10 rows."""
    rows, names = cifar10_rows()
    return split_rows(rows, classes=names, seed=SEED, counts=COUNTS)


def fashion() -> Table:
    """FashionMNIST rows."""
    return split_rows(fashion_rows(), classes=data.FASHION_CLASSES, seed=SEED, counts=COUNTS)


def trec() -> Table:
    """TREC questions and the coarse type of their answer."""
    return split_rows(trec_rows(), classes=TREC_CLASSES, seed=SEED, counts=(3_000, 500, 2_000))


def sst2() -> Table:
    """SST-2 sentences and their sentiment."""
    return split_rows(sst2_rows(), classes=("negative", "positive"), seed=SEED, counts=(3_000, 500, 2_000))


def clinc() -> Table:
    """CLINC requests and their intent, one of 150."""
    parts = [hub_rows("clinc/clinc_oos", "full", split) for split in ("train", "validation", "test")]
    rows = {
        "text": [text for part in parts for text in part["text"]],
        "label": [label for part in parts for label in part["intent"]],
    }
    names = parts[0].features["intent"].names
    return split_rows(rows, classes=names, seed=SEED, counts=(4_500, 750, 3_000))


MAKERS: dict[str, Callable[[], Table]] = {
    "flowers": photos.flowers,
    "birds": photos.birds,
    "monkeys": photos.monkeys,
    "grocery": photos.grocery,
    "cifar10-real": cifar10,
    "emoji-groups-real": emoji_groups,
    "fashion-real": fashion,
    "digits-real": digits,
    "trec-real": trec,
    "clinc-real": clinc,
    "sst2-real": sst2,
}
