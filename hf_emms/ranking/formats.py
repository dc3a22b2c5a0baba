"""What single values of a ranking look like in the tables for people."""

from __future__ import annotations

from typing import Any

from hf_emms.errors import EmmsError, printable
from hf_emms.formatting import MISSING
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.ranking.records import FineTuned, Row
from hf_emms.scoring import Score


def title_of(estimator: str) -> str:
    """What people call an estimator; its name where no installed package has it."""
    try:
        return ESTIMATORS[estimator].title
    except (KeyError, EmmsError):  # of a package that is not here, or cannot be imported
        return estimator


def single_line(value: Any) -> str:
    """A value on one line; what could steer a terminal is shown escaped."""
    return "" if value is None else printable(" ".join(str(value).split()))


def format_text(value: Any) -> str:
    """A text or whole number as it is; a dash where it is missing or empty."""
    return single_line(value) if value else MISSING


def format_rank(row: Row) -> str:
    """A rank: "=2" where it is shared."""
    if row.rank is None:
        return MISSING
    return f"={row.rank}" if row.tied else str(row.rank)


def format_number(value: float | None) -> str:
    """A score with four decimals, or four digits where it is large."""
    if value is None:
        return MISSING
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.4g}"


def format_score(score: Score | None) -> str:
    """A score with its standard error, where it has one."""
    if score is None:
        return MISSING
    return format_number(score.value) + (f" ± {score.stderr:.4f}" if score.stderr is not None else "")


def format_points(share: float | None) -> str:
    """A share in points: 0.912 is "91.2"."""
    return MISSING if share is None else f"{100 * share:.1f}"


def format_percent(share: float | None) -> str:
    """A share in per cent: 0.125 is "12%"."""
    return MISSING if share is None else f"{share:.0%}"


def format_finetuned(result: FineTuned | None) -> str:
    """What fine-tuning measured, in points, with its spread."""
    if result is None or result.value is None:
        return MISSING if result is None else "failed"
    return format_points(result.value) + (f" ± {format_points(result.spread)}" if result.spread is not None else "")
