"""What the experiment is: targets, candidates, halves, and how a fine-tuning runs. Numbers only, nothing heavy.

The halves were written down before any result was looked at. Choices (defaults, improvements) are made on "dev";
"held" is what is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Half = Literal["dev", "held"]

SEEDS = (0, 1)
BATCH = 32
EPOCHS = {"image-classification": 4, "image-to-text": 6, "text-classification": 4}
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 1_500, 400, 1_000
SIDE = 64  # pixels: what every image candidate is fed
WEIGHT_DECAY = 0.01
WARM_UP = 0.1  # share of the steps


@dataclass(frozen=True)
class Goal:
    """One target.

    Attributes:
        name: folder name.
        task: the Hub's task id.
        half: where it counts.
        measure: the score of its test rows, higher is better, in points (0 to 100).
        left_out: candidates that were trained on labels of this data.
    """

    name: str
    task: str
    half: Half
    measure: str
    left_out: tuple[str, ...] = ()


GOALS: tuple[Goal, ...] = (
    Goal("fashion", "image-classification", "dev", "accuracy", ("resnet-fashion",)),
    Goal("cifar10", "image-classification", "held", "accuracy"),
    Goal("emoji-groups", "image-classification", "held", "accuracy"),
    Goal("digits", "image-classification", "dev", "accuracy"),
    Goal("emoji-scenes", "image-to-text", "dev", "BLEU"),
    Goal("garment-scenes", "image-to-text", "held", "BLEU", ("resnet-fashion",)),
    Goal("glosses", "text-classification", "dev", "accuracy"),
    Goal("trec", "text-classification", "held", "accuracy"),
    Goal("sst2", "text-classification", "held", "accuracy"),
)


@dataclass(frozen=True)
class Entrant:
    """One candidate checkpoint.

    Attributes:
        name: short name.
        modality: "image" or "text".
        rates: peak learning rates of its body that are tried.
    """

    name: str
    modality: str
    rates: tuple[float, ...]


MICRO_RATES = (5e-4, 2e-3)
LARGE_RATES = (1e-4, 5e-4)

ENTRANTS: tuple[Entrant, ...] = (
    *(
        Entrant(name, "image", MICRO_RATES)
        for name in (
            "resnet-distilled",
            "swin-distilled",
            "resnet-drawings",
            "resnet-fashion",
            "resnet-drawings-short",
            "convnext-distilled-short",
            "vit-drawings",
            "mobilenet-drawings-short",
            "regnet-random",
            "vit-random",
        )
    ),
    Entrant("efficientnet-lite0", "image", LARGE_RATES),
    *(
        Entrant(name, "text", MICRO_RATES)
        for name in (
            "bert-distilled",
            "albert-distilled",
            "electra-distilled",
            "distilbert-distilled-short",
            "bert-masked-short",
            "bert-random",
        )
    ),
    Entrant("minilm-6-layers", "text", LARGE_RATES),
    Entrant("minilm-3-layers", "text", LARGE_RATES),
    Entrant("minilm-0-layers", "text", (5e-4, 2e-3)),
)

MODALITY = {
    "image-classification": "image",
    "image-to-text": "image",
    "text-classification": "text",
}


def pool(goal: Goal) -> tuple[Entrant, ...]:
    """The candidates of a target."""
    return tuple(e for e in ENTRANTS if e.modality == MODALITY[goal.task] and e.name not in goal.left_out)
