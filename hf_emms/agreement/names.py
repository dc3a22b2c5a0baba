"""Which name of a table means which checkpoint, or dataset, of a ranking, and whose scores compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hf_emms.errors import EmmsError
from hf_emms.ranking import Ranking, Row

_SHORTEST_SHA = 7


def matched(rows: Sequence[Row], names: Iterable[str]) -> dict[str, str]:
    """Pairs checkpoints of a ranking with the names of a table.

    The same text always means the same checkpoint. Otherwise ``ORG/NAME`` means ``ORG/NAME@REVISION`` where only one
    state of it is there on either side, and two revisions have to agree, be it by the commit of the row. Upper and
    lower case differ, as they do on the Hub's pages.

    Returns:
        checkpoint → name.
    """
    free = dict.fromkeys(names)
    pairs = {}
    for row in rows:
        if row.checkpoint in free:
            pairs[row.checkpoint] = row.checkpoint
            del free[row.checkpoint]
    left = [row for row in rows if row.checkpoint not in pairs]
    for row in left:
        alike = [name for name in free if _means(name, row)]
        rivals = [other for other in left if any(_means(name, other) for name in alike)]
        if len(alike) == 1 and len(rivals) == 1:
            pairs[row.checkpoint] = alike[0]
    return pairs


def stopped_early(rows: Iterable[Row]) -> str | None:
    """Whose scores are of part of the rows, because a race stopped them; None where all saw all."""
    names = [row.checkpoint for row in rows if row.n is not None]
    many = "scores are of fewer rows, which compare roughly at most"
    return f"{', '.join(names)} stopped early in a race: their {many}" if names else None


def dataset_of(ranking: Ranking, names: Iterable[str | None]) -> str | None:
    """The name that a table has for a ranking's dataset; None in a table that names none.

    Raises:
        EmmsError: the table has other datasets only.
    """
    known = list(names)
    if known == [None]:
        return None
    for wanted in (ranking.dataset, ranking.dataset_id):
        if wanted in known:
            return wanted
    ours = {_loose(ranking.dataset), _loose(ranking.dataset_id)}
    alike = [name for name in known if name is not None and _loose(name) in ours]
    if len(alike) == 1:
        return alike[0]
    raise EmmsError(
        f"the truth has nothing on {ranking.dataset!r} ({ranking.dataset_id})",
        f"it has: {', '.join(map(str, known))}",
    )


def _means(name: str, row: Row) -> bool:
    ours, _, our_revision = _path(row.checkpoint).partition("@")
    theirs, _, their_revision = _path(name).partition("@")
    if ours != theirs:
        return False
    if not their_revision or their_revision == our_revision:
        return True
    if len(their_revision) >= _SHORTEST_SHA and (row.revision or "").startswith(their_revision):
        return True
    return not our_revision and not _is_sha(their_revision)


def _is_sha(revision: str) -> bool:
    return len(revision) >= _SHORTEST_SHA and all(digit in "0123456789abcdef" for digit in revision)


def _path(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _loose(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].lower().replace("-", "_")
