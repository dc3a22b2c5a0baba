"""The results dataset's card: what the viewer needs at its top, and a table of the rankings between our markers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from hf_emms.cards import rendered_template, splice
from hf_emms.errors import EmmsError
from hf_emms.ranking import Ranking, is_commit

LAYOUT_VERSION = 1


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the table."""

    path: str
    task: str
    dataset: str
    split: str
    n: int
    checkpoints: int
    created: str
    config: str | None = None
    best: str | None = None
    dataset_on_hub: bool = False
    best_on_hub: bool = False


def listed(ranking: Ranking, path: str) -> Listed:
    """The line of a ranking."""
    best = ranking.best
    return Listed(
        path=path,
        task=ranking.task,
        dataset=ranking.dataset_id,
        split=ranking.split,
        n=ranking.n,
        checkpoints=sum(row.rank is not None for row in ranking.rows),
        created=ranking.created,
        config=ranking.config,
        best=best.checkpoint if best else None,
        dataset_on_hub=is_commit(ranking.dataset_revision),
        best_on_hub=best is not None and is_commit(best.revision),
    )


def updated(readme: bytes | None, repo_id: str, new: Sequence[Listed]) -> bytes:
    """The card with some rankings added to its table, or brought up to date in it.

    Raises:
        EmmsError: the card's markers or data are broken, or written by a newer version.
    """
    known = {one.path: one for one in _unpacked(splice.data_of(readme or b""))}
    known |= {one.path: one for one in new}
    lines = [known[path] for path in sorted(known)]
    data = splice.with_data({"version": LAYOUT_VERSION, "rankings": msgspec.to_builtins(lines)})
    table = rendered_template("results_table.md.jinja", lines=lines).strip("\n")
    section = f"{splice.START}\n{data}\n\n{table}\n{splice.END}\n"
    return splice.put(readme or rendered_template("results_readme.md.jinja", repo_id=repo_id).encode(), section)


class _PackedListing(msgspec.Struct):
    version: int
    rankings: list[Any]


def _unpacked(data: Any) -> tuple[Listed, ...]:
    if data is None:
        return ()
    try:
        packed = msgspec.convert(data, _PackedListing)
        if packed.version > LAYOUT_VERSION:
            raise EmmsError(
                f"the results' card was written by a newer hf_emms (layout {packed.version})",
                "pip install --upgrade hf-emms",
            )
        return msgspec.convert(packed.rankings, tuple[Listed, ...])
    except msgspec.ValidationError as error:
        raise EmmsError(
            f"the data in the results' card is damaged: {error}", "remove the lines between its markers"
        ) from error
