"""What a `Ranking` does for whoever holds it in Python: rows by name, tables, files, cards, charts, the Hub.

The leaderboard Space is published with this module. What it needs beyond `ranking`, a method imports when it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from hf_emms.errors import EmmsError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame  # type: ignore[import-untyped]

    from hf_emms.ranking.records import Ranking, Row

_WRITES_ONE = "hf-emms rank … --output FILE.json writes a ranking"


class RankingMethods:
    """The base of `Ranking` that holds no data."""

    __slots__ = ()

    @property
    def _itself(self) -> Ranking:
        return cast("Ranking", self)

    def __len__(self) -> int:
        return len(self._itself.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._itself.rows)

    def __getitem__(self, which: str | int) -> Row:
        """The row of a checkpoint, or at a place.

        Raises:
            EmmsError: there is no such checkpoint.
            IndexError: there is no such place.
        """
        return self._itself.rows[which] if isinstance(which, int) else self._itself.row(which)

    def __contains__(self, checkpoint: object) -> bool:
        return any(checkpoint in (row, row.checkpoint) for row in self._itself.rows)

    def __str__(self) -> str:
        from hf_emms.ranking.text import to_text

        return to_text(self._itself).rstrip("\n")

    def __repr__(self) -> str:
        ranking = self._itself
        return f"Ranking of {len(ranking.rows)} for {ranking.dataset}, {ranking.split}, {ranking.n:,} rows\n{self}"

    def _repr_html_(self) -> str:
        """The table for a notebook."""
        from hf_emms.ranking.text import to_html

        return to_html(self._itself)

    def to_pandas(self) -> DataFrame:
        """One row a checkpoint, numbers unrounded.

        Raises:
            EmmsError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise EmmsError("pandas is not installed", "pip install pandas") from error
        return pd.DataFrame(self._itself.records())

    def save(self, path: str | PathLike[str]) -> Path:
        """Writes the whole ranking to a file, which `load` reads without loss.

        Args:
            path: ends in .json or .parquet.

        Raises:
            EmmsError: another suffix.
            OSError: the file cannot be written.
        """
        from hf_emms.files import write_atomic

        file = Path(path)
        if file.suffix not in (".json", ".parquet"):
            raise EmmsError(
                f"{str(path)!r} ends in neither .json nor .parquet", "ranking.to_pandas() writes other formats"
            )
        if file.suffix == ".json":
            write_atomic(file, self._itself.to_json())
        else:
            self._itself.to_parquet(file)
        return file

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Reads a ranking from a .json or .parquet file.

        Raises:
            EmmsError: no such file, or not a ranking.
        """
        file, ranking = Path(path), cast("type[Ranking]", cls)
        if file.suffix == ".parquet":
            return cast(Self, ranking.from_parquet(file))
        try:
            return cast(Self, ranking.from_json(file.read_bytes()))
        except OSError as error:
            raise EmmsError(f"cannot read {file}: {error.strerror or error}", _WRITES_ONE) from error
        except EmmsError as error:
            raise EmmsError(f"{file}: {error.message}", error.hint) from error

    def card(self, checkpoint: str | None = None, *, leaderboard: str | None = None) -> str:
        """The section of a model card, in Markdown; without a checkpoint, that of the dataset's card.

        Args:
            checkpoint: one of the ranking.
            leaderboard: the Space (ORG/NAME) that shows the ranking.

        Raises:
            EmmsError: the ranking has no score for the checkpoint.
        """
        from hf_emms.publish.cards import render_dataset_section, render_section

        if checkpoint is None:
            return render_dataset_section(self._itself, leaderboard=leaderboard)
        return render_section(self._itself, checkpoint, leaderboard=leaderboard)

    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Adds the ranking to a results dataset on the Hub, which is created where there is none.

        Args:
            repo_id: "ORG/emms-results"; the leaderboard Space reads it.
            private: of a new dataset.

        Returns:
            The address of the commit.

        Raises:
            EmmsError: no rights, or the Hub cannot be reached.
        """
        from hf_emms.publish.results import publish

        return publish([self._itself], repo_id, private=private).url

    def plot(
        self,
        kind: Literal["scores", "size"] = "scores",
        *,
        estimator: str | None = None,
        ax: Axes | None = None,
        path: str | PathLike[str] | None = None,
    ) -> Axes:
        """Draws the scores with their standard errors.

        Args:
            kind: "scores", one line a checkpoint, or "size", scores against the number of parameters.
            estimator: whose scores; by default the one that orders the rows.
            ax: to draw on; a new figure by default.
            path: a .png, .svg or .pdf to write as well.

        Returns:
            The axes of matplotlib.

        Raises:
            EmmsError: matplotlib is not installed, or there is nothing to draw.
        """
        from hf_emms.ranking.plot import draw

        name: Any = estimator or self._itself.estimators[0]
        return draw(self._itself, kind, name, ax, None if path is None else Path(path))
