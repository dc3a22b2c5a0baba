"""How people read a measured number: its unit, its direction, and a sentence of help. Stored numbers stay."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

# Standard errors below this need a third decimal, or they would be shown as 0.
_SMALL_ERROR = 0.005
DOWN = "↓"


@dataclass(frozen=True)
class Quantity:
    """What an estimator or a metric measures, as the field writes it.

    Attributes:
        unit: stands behind a number in a sentence and in a heading; empty for none.
        higher_is_better: the direction of the number as it is written. Stored numbers are turned: higher is better.
        name: what it is called where the stored number is another ("word error rate" of "1 - WER").
        written: the number that people read, from the stored number; by default the number, or its negative where
            lower is better.
        decimals: fewest decimals that are shown.
        help: what it is, in a sentence or two.
        low: the least number that can be stored.
        high: the largest.
    """

    unit: str = ""
    higher_is_better: bool = True
    name: str = ""
    written: Callable[[float], float] | None = None
    decimals: int = 2
    help: str = ""
    low: float = -math.inf
    high: float = math.inf

    def value(self, stored: float) -> float:
        """Return the number that people read."""
        if self.written is not None:
            return self.written(stored)
        return stored if self.higher_is_better else -stored

    def error(self, stored: float, stderr: float) -> float:
        """Return the standard error of `value`, from that of the stored number."""
        reach = self.value(stored + stderr / 2) - self.value(stored - stderr / 2)
        return abs(reach)

    def decimals_for(self, smallest_error: float | None) -> int:
        """Return how many decimals are shown where the smallest standard error is this."""
        return self.decimals + (smallest_error is not None and 0 < smallest_error < _SMALL_ERROR)

    @property
    def arrow(self) -> str:
        """An arrow where lower is better; else empty."""
        return "" if self.higher_is_better else DOWN

    @property
    def direction(self) -> str:
        unit = f"{self.unit}, " if self.unit else ""
        return f"{unit}{'higher' if self.higher_is_better else 'lower'} is better"

    @property
    def in_words(self) -> str:
        """The unit, and that lower is better where it is: " bits per byte (lower is better)"."""
        unit = f"{'' if self.unit == '%' else ' '}{self.unit}" if self.unit else ""
        return unit + ("" if self.higher_is_better else " (lower is better)")


SCORE = Quantity(decimals=4)


def points(share: float) -> float:
    return 100 * share


BITS_PER_BYTE = Quantity(
    "bits per byte",
    higher_is_better=False,
    help="How many bits a model needs for a byte of the texts that it should write: 8 where it knows nothing.",
)
POINTS = Quantity(written=points, decimals=1, help="In points: 100 is perfect.", low=0, high=1)
ERROR_RATE = Quantity(
    "%", higher_is_better=False, written=lambda stored: -100 * stored, decimals=1, help="Words that are wrong, of 100."
)
_WRONG_WORDS = replace(ERROR_RATE, name="word error rate", written=lambda stored: 100 * (1 - stored), high=1)
# Metrics after fine-tuning that are no share from 0 to 1, or that people write in another way, by their stored names.
METRICS = {
    "byte likelihood": Quantity(
        "bits per byte",
        higher_is_better=False,
        name="loss",
        written=lambda stored: -math.log2(max(stored, 1e-300)),
        help=BITS_PER_BYTE.help,
        low=0,
        high=1,
    ),
    "1 - WER": _WRONG_WORDS,
    "1 - CER": replace(_WRONG_WORDS, name="character error rate", help="Characters that are wrong, of 100."),
    "R²": replace(POINTS, low=-math.inf),
    "Spearman": replace(POINTS, low=-1),
    "CIDEr": replace(POINTS, high=10),
}


def quantity_of_metric(metric: str) -> Quantity:
    """Return how people read a score after fine-tuning, stored as a share under this name: in points by default."""
    return METRICS.get(metric, POINTS)
