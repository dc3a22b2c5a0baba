"""Labels that repeat: one code a row, one embedding a distinct text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.words import counted


@dataclass(frozen=True)
class LabelTable:
    """K F-labels of N rows, stored once per distinct label text.

    Row ``i`` has the F-labels ``tables[k][codes[i]]`` for k in 0..K-1.

    Attributes:
        codes: int64, shape (N,): which of the U texts is the label of each row.
        tables: K float arrays of shape (U, D2_k); the widths may differ.
        names: K names of the F-labels (the encoders), for reports.
        texts: the U label texts, or empty where they are not known.
        categorical: whether the codes are classes (few, exchangeable) and not texts that happen to repeat.

    Raises:
        EmmsError: codes or tables of the wrong type or shape, or a code outside 0..U-1.
    """

    codes: np.ndarray
    tables: tuple[np.ndarray, ...]
    names: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    categorical: bool = True

    def __post_init__(self) -> None:
        codes = np.asarray(self.codes)
        if codes.ndim != 1 or codes.dtype.kind not in "iu":
            raise EmmsError(
                f"codes has dtype {codes.dtype} and shape {codes.shape}; LabelTable needs integers of shape (N,)",
                "codes = np.unique(labels, return_inverse=True)[1]",
            )
        object.__setattr__(self, "codes", codes.astype(np.int64, copy=False))
        object.__setattr__(self, "tables", tuple(np.asarray(table) for table in self.tables))
        if not self.tables:
            raise EmmsError("tables is empty; LabelTable needs at least one array of shape (U, D2)")
        texts = {table.shape[0] for table in self.tables if table.ndim == 2}
        if len(texts) != 1 or any(table.ndim != 2 or table.shape[1] == 0 for table in self.tables):
            shapes = [table.shape for table in self.tables]
            raise EmmsError(f"tables has shapes {shapes}; every table must be (U, D2) with the same U")
        if codes.size and (codes.min() < 0 or codes.max() >= self.n_texts):
            raise EmmsError(
                f"codes reach from {codes.min()} to {codes.max()} but tables has {counted(self.n_texts, 'row')}",
                "every code must be a row number of the tables",
            )

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def n_texts(self) -> int:
        return int(self.tables[0].shape[0])

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(int(table.shape[1]) for table in self.tables)

    def take(self, rows: Sequence[int] | np.ndarray | slice) -> LabelTable:
        """The same tables with the codes of some rows only."""
        return LabelTable(self.codes[rows], self.tables, self.names, self.texts, self.categorical)
