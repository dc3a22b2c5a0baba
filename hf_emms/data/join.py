"""Pictures that stand in another configuration of a dataset, joined by their ids as they are needed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hf_emms.data.unfold import UnusableError
from hf_emms.errors import EmmsError


class Joined:
    """Looks pictures up by id. Nothing is copied: a map-style dataset is read by row number.

    Args:
        rows: a ``datasets.Dataset`` or ``IterableDataset``.
        key: its column of ids.
        picture: its column of pictures.

    Raises:
        EmmsError: it has no such columns.
    """

    def __init__(self, rows: Any, key: str, picture: str) -> None:
        import datasets

        if not {key, picture} <= set(rows.column_names):
            found = ", ".join(rows.column_names)
            raise EmmsError(
                f"pictures are expected in the columns {key!r} and {picture!r}; there are {found}",
                "pass a folder that holds pictures and texts together: --dataset ./FOLDER",
            )
        rows = rows.select_columns([key, picture])
        if isinstance(rows.features[picture], datasets.Image):
            rows = rows.cast_column(picture, datasets.Image(decode=False))
        self._rows, self._key, self._picture = rows, key, picture
        self._held: dict[Any, Any] = {}
        map_style = hasattr(rows, "num_rows")
        self._number = {id: number for number, id in enumerate(rows[key])} if map_style else {}

    def fetch(self, ids: Iterable[Any]) -> None:
        """Reads a stream until it has given the pictures of these ids, and holds them."""
        wanted = set(ids) - set(self._number) - set(self._held)
        for row in self._rows if wanted else ():
            if row[self._key] in wanted:
                self._held[row[self._key]] = row[self._picture]
                wanted.discard(row[self._key])
                if not wanted:
                    return

    def __call__(self, id: Any) -> Any:
        """The picture of an id, encoded.

        Raises:
            UnusableError: there is none.
        """
        if id in self._held:
            return self._held[id]
        if id not in self._number:
            raise UnusableError(f"there is no picture with the id {id!r}")
        return self._rows[self._number[id]][self._picture]
