"""The values by which the browser filters and orders the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leaderboard.lines import Line
from leaderboard.selection import SIZES

# Tables with more rows are filtered and ordered by the server, which sends the first rows only.
MOST_ROWS = 1000


def of_filters(lines: Sequence[Line]) -> dict[str, Any]:
    """Return the facts of checkpoints by which filters decide, a list for each, and the order of the rows."""
    return {
        "sizes": SIZES,
        "parameters": [line.row.parameters for line in lines],
        "library": [[line.facts.library] for line in lines],
        "license": [[line.facts.license] for line in lines],
        "language": [line.facts.languages for line in lines],
        "seen": [bool(line.seen) for line in lines],
        "orders": {"rank": [*range(len(lines))]},
        "bands": [None] * len(lines),
    }
