"""How to display a stored number: unit, direction and a sentence of help."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

# Standard errors below this need one more decimal, or they would be displayed as 0.
_SMALL_ERROR = 0.005
DOWN = "↓"


@dataclass(frozen=True)
class Quantity:
    """The unit and direction of an estimator or a metric.

    Attributes:
        unit: The unit in sentences and headings, or empty.
        higher_is_better: Direction of the displayed number. For stored numbers, higher is always better.
        name: Display name if it differs from the stored metric ("word error rate" for "1 - WER").
        written: Converts the stored number to the displayed number. By default the sign changes if lower is better.
        decimals: Minimum of displayed decimals.
        help: One or two sentences of help.
        low: Smallest possible stored number.
        high: Largest possible stored number.
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
        """Convert a stored number to the displayed number."""
        if self.written is not None:
            return self.written(stored)
        return stored if self.higher_is_better else -stored

    def error(self, stored: float, stderr: float) -> float:
        """Convert the standard error of a stored number to the standard error of `value`."""
        reach = self.value(stored + stderr / 2) - self.value(stored - stderr / 2)
        return abs(reach)

    def decimals_for(self, smallest_error: float | None) -> int:
        """Return the decimals to display, given the smallest standard error."""
        return self.decimals + (smallest_error is not None and 0 < smallest_error < _SMALL_ERROR)

    @property
    def arrow(self) -> str:
        """An arrow if lower is better, else empty."""
        return "" if self.higher_is_better else DOWN

    @property
    def direction(self) -> str:
        unit = f"{self.unit}, " if self.unit else ""
        return f"{unit}{'higher' if self.higher_is_better else 'lower'} is better"

    @property
    def in_words(self) -> str:
        """The unit and, if lower is better, a remark: " bits per byte (lower is better)"."""
        unit = f"{'' if self.unit == '%' else ' '}{self.unit}" if self.unit else ""
        return unit + ("" if self.higher_is_better else " (lower is better)")


SCORE = Quantity(decimals=4)


def points(share: float) -> float:
    return 100 * share


BITS_PER_BYTE = Quantity(
    "bits per byte",
    higher_is_better=False,
    help="Bits per byte of the responses. A model that knows nothing needs 8.",
)
POINTS = Quantity(written=points, decimals=1, help="In points. 100 is perfect.", low=0, high=1)
PREFERENCES = replace(POINTS, unit="%", help="Pairs of 100 whose chosen response is preferred. 50 is chance.")
ERROR_RATE = Quantity(
    "%", higher_is_better=False, written=lambda stored: -100 * stored, decimals=1, help="Wrong words per 100 words."
)
_WRONG_WORDS = replace(ERROR_RATE, name="word error rate", written=lambda stored: 100 * (1 - stored), high=1)
# Metrics after fine-tuning that are not shares from 0 to 1, or that are displayed differently, by their stored names.
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
    "1 - CER": replace(_WRONG_WORDS, name="character error rate", help="Wrong characters per 100 characters."),
    "preference accuracy": PREFERENCES,
    "R²": replace(POINTS, low=-math.inf),
    "Spearman": replace(POINTS, low=-1),
}


def quantity_of_metric(metric: str) -> Quantity:
    """Return how to display a fine-tuned score with this name, by default in points."""
    return METRICS.get(metric, POINTS)
