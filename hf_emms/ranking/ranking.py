"""A ranking for its users in Python: rows by name, tables, files, charts."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, SupportsIndex, overload

import msgspec

from hf_emms.cache.files import write_atomic
from hf_emms.errors import EmmsError, check_type, pluralize
from hf_emms.ranking import advice, columns, files, text
from hf_emms.ranking.records import RankingData, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame  # type: ignore[import-untyped]


class Ranking(RankingData, frozen=True):
    """Checkpoints in order: the fields of `RankingData`, with tables, files and charts of them."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @overload
    def __getitem__(self, which: str | SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self, which: slice) -> list[Row]: ...
    def __getitem__(self, which: str | SupportsIndex | slice) -> Row | list[Row]:
        """Return the row of a checkpoint or at a place, an EmmsError where there is none; or the rows of a slice."""
        if isinstance(which, slice):
            return list(self.rows[which])
        if not isinstance(which, SupportsIndex):
            return self.row(which)
        place, count = operator.index(which), len(self.rows)
        if not -count <= place < count:
            last = f"ranking[{count - 1}] is the last" if count else None
            raise EmmsError(f"the ranking has {pluralize(count, 'row')}: there is no row {place}", last)
        return self.rows[place]

    def __hash__(self) -> int:
        return hash((self.dataset, self.created, self.rows))

    def __contains__(self, checkpoint: object) -> bool:
        if not isinstance(checkpoint, str):
            return checkpoint in self.rows
        try:
            return self.row(checkpoint) is not None
        except EmmsError:
            return False

    def __str__(self) -> str:
        return text.to_text(self).rstrip("\n")

    def __repr__(self) -> str:
        best = self.best.checkpoint if self.best else None
        return f"Ranking(dataset={self.dataset!r}, split={self.split!r}, n={self.n}, rows={len(self)}, best={best!r})"

    def _repr_html_(self) -> str:
        return text.to_html(self)

    @property
    def advice(self) -> str | None:
        """Which checkpoints share the first rank, and whether more rows may tell them apart; None without a tie.

        Where no checkpoint explains anything beyond its own noise, it says that.
        """
        return advice.advice(self)

    def records(self) -> list[dict[str, Any]]:
        """Return each row as a flat dictionary, all with the same keys, numbers unrounded."""
        return columns.flat_records(self)

    def to_pandas(self) -> DataFrame:
        """Return a table with a row for each checkpoint, numbers unrounded; an EmmsError where pandas is missing."""
        try:
            import pandas as pd
        except ImportError as error:
            raise EmmsError("pandas is not installed", "pip install pandas") from error
        return pd.DataFrame(self.records())

    def top(self, count: int = 3) -> list[Row]:
        """Return the first `count` rows that have a score."""
        check_type("count", count, SupportsIndex)
        return [row for row in self.rows if row.error is None][:count]

    def to_csv(self, path: str | PathLike[str] | None = None) -> str:
        """Return the table as CSV text with unrounded numbers, and write it to `path` unless that is None."""
        check_type("path", path, str, PathLike, type(None))
        content = text.to_csv(self)
        if path is not None:
            write_atomic(Path(path), content)
        return content

    def to_markdown(self, path: str | PathLike[str] | None = None) -> str:
        """Return the rounded table in Markdown, and write it to `path` unless that is None."""
        check_type("path", path, str, PathLike, type(None))
        content = text.to_markdown(self)
        if path is not None:
            write_atomic(Path(path), content)
        return content

    def to_dict(self) -> dict[str, Any]:
        """Return the whole ranking in plain Python values, as `to_json` writes them."""
        return msgspec.json.decode(self.to_json())

    def to_json(self, *, indent: int | None = files.INDENT) -> str:
        """Return the whole ranking as JSON text, without loss."""
        check_type("indent", indent, int, type(None))
        return files.to_json(self, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the ranking that `to_json` wrote.

        Raises:
            EmmsError: not a ranking, damaged, or written by a newer version; the message says where in the file.
        """
        check_type("text", text, str, bytes)
        return files.from_json(text, cls)

    def save(self, path: str | PathLike[str], *, merge: bool = False) -> Path:
        """Write the ranking to a file in the format of its suffix; return the file.

        Args:
            path: .json and .parquet hold the whole ranking, which `load` reads without loss; .csv and .tsv a row for
                each checkpoint, numbers unrounded; .md and .txt the rounded table.
            merge: keep what the file holds: rows and fine-tuned scores are added to the same ranking, whoever else adds
                to it meanwhile. Where the file holds another ranking (another dataset, revision, task or setting),
                it stays, and the file that is returned lies beside it.

        Raises:
            EmmsError: another suffix.
            OSError: the file cannot be written.
        """
        check_type("path", path, str, PathLike)
        path = Path(path)
        suffix = path.suffix.lower().removeprefix(".")
        if merge and suffix in ("json", "parquet"):
            return files.add_to_file(self, path, type(self).save)
        if suffix == "parquet":
            files.to_parquet(self, path)
        elif suffix in files.WRITERS:
            write_atomic(path, files.WRITERS[suffix](self))
        else:
            raise EmmsError(
                f"{str(path)!r} does not end in the suffix of a format that hf_emms writes",
                f"use .{', .'.join(files.WRITERS)} or .parquet; ranking.to_pandas() writes any other format",
            )
        return path

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Return the ranking of a .json or .parquet file; an EmmsError where the file holds none."""
        check_type("path", path, str, PathLike)
        path = Path(path)
        if path.suffix.lower() == ".parquet":
            return files.from_parquet(path, cls)
        try:
            return cls.from_json(path.read_bytes())
        except OSError as error:
            raise EmmsError(
                f"cannot read {path}: {error.strerror or error}", "hf-emms rank … --output FILE.json writes a ranking"
            ) from error
        except EmmsError as error:
            raise EmmsError(f"{path}: " + error.problem, error.remedy) from error

    def plot(
        self,
        kind: Literal["scores", "size"] = "scores",
        *,
        estimator: str | None = None,
        ax: Axes | None = None,
        path: str | PathLike[str] | None = None,
    ) -> Axes:
        """Draw the scores with their standard errors, on matplotlib's axes.

        Args:
            kind: "scores", a line for each checkpoint, or "size", scores against the number of parameters.
            estimator: by default the estimator that orders the rows.
            ax: to draw on; a new figure by default.
            path: a .png, .svg or .pdf to write as well.

        Raises:
            EmmsError: matplotlib is not installed, or there is nothing to draw.
        """
        from hf_emms.ranking.plot import draw

        check_type("path", path, str, PathLike, type(None))
        check_type("estimator", estimator, str, type(None))
        return draw(self, kind, estimator or self.estimators[0], ax, None if path is None else Path(path))
