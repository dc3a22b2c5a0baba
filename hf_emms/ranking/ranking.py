"""A ranking as users see it in Python: rows by name, tables and files."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, Self, SupportsIndex, overload

from hf_emms.cache.files import read_limited, write_atomic
from hf_emms.errors import EmmsError, check_type
from hf_emms.formatting import pluralize
from hf_emms.options.calls import checked_call, unknown_attribute
from hf_emms.ranking import advice, files, text
from hf_emms.ranking.records import RankingData, Row
from hf_emms.ranking.verdict import pick

if TYPE_CHECKING:
    from pandas import DataFrame  # type: ignore[import-untyped]

# Expression → the attributes that users try for it.
_INSTEAD = {
    "ranking.best.checkpoint": ("best_checkpoint", "best_model", "best_estimator_", "best_params_"),
    "ranking.best.score": ("best_score", "best_score_"),
    "[row.checkpoint for row in ranking]": ("checkpoints", "models", "names", "keys"),
    "ranking.to_pandas()": ("to_df", "to_dataframe", "scores", "results", "cv_results_", "values", "items"),
    "ranking.top(5)": ("head",),
    'ranking.save("FILE.csv")': ("to_csv", "to_excel"),
    "json.loads(ranking.to_json())": ("to_dict", "as_dict"),
    "ranking.to_markdown() or print(ranking)": ("to_html", "to_text", "to_string"),
    'ranking.to_pandas().plot.barh("checkpoint", ranking.estimators[0])': ("plot", "plot_scores"),
    'hf_emms.confirm(ranking, save_model="FOLDER")': ("save_pretrained", "fit", "model"),
}


class Ranking(RankingData, frozen=True):
    """The checkpoints of a ranking in order: the fields of `RankingData`, with tables and files."""

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @overload
    def __getitem__(self, which: str | SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self, which: slice) -> list[Row]: ...
    def __getitem__(self, which: str | SupportsIndex | slice) -> Row | list[Row]:
        """Return the row of a checkpoint or at a position, or the rows of a slice.

        Raises:
            EmmsError: The row does not exist.
        """
        if isinstance(which, slice):
            return list(self.rows[which])
        if not isinstance(which, SupportsIndex):
            return self.row(which)
        place, count = operator.index(which), len(self.rows)
        if not -count <= place < count:
            last = f"ranking[{count - 1}] is the last" if count else None
            raise EmmsError(
                "unknown-row", f"the ranking has {pluralize(count, 'row')}, so row {place} does not exist", last
            )
        return self.rows[place]

    def __contains__(self, checkpoint: object) -> bool:
        """Return whether the ranking has a row, or a checkpoint by its name or the last part of it."""
        return bool(self.rows_called(checkpoint)) if isinstance(checkpoint, str) else checkpoint in self.rows

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise unknown_attribute(self, name, _INSTEAD)

    def __hash__(self) -> int:
        return hash((self.dataset, self.created, self.rows))

    def __str__(self) -> str:
        return text.to_text(self).rstrip("\n")

    def __repr__(self) -> str:
        best = self.best.checkpoint if self.best else None
        return f"Ranking(dataset={self.dataset!r}, split={self.split!r}, n={self.n}, rows={len(self)}, best={best!r})"

    def _repr_html_(self) -> str:
        return text.to_html(self)

    @property
    def best(self) -> Row | None:
        """The checkpoint to fine-tune: by validation score if checkpoints were fine-tuned, else by rank.

        Of a shared first rank it is the smallest, or the best by an estimator that ran the checkpoints themselves.
        Without a score above the baseline it is the first; None if every checkpoint failed.
        """
        return pick(self) or next(iter((*self.fine_tuned, *self.top(1))), None)

    @property
    def advice(self) -> str | None:
        """The checkpoints that share the first rank, and whether more rows may separate them; None without a tie.

        If no checkpoint explains more than its own noise, the text reports this instead.
        """
        return advice.advice(self)

    def to_pandas(self) -> DataFrame:
        """Return the table as a DataFrame with unrounded numbers."""
        import pandas as pd

        return pd.DataFrame(text.flat_records(self))

    @checked_call
    def top(self, count: int = 3) -> list[Row]:
        """Return the first `count` rows with a score."""
        check_type("count", count, SupportsIndex)
        return [row for row in self.rows if row.error is None][:count]

    def to_markdown(self) -> str:
        """Return the rounded table as Markdown."""
        return text.to_markdown(self)

    def to_json(self, *, indent: int | None = 2) -> str:
        """Return the complete ranking as JSON."""
        check_type("indent", indent, int, type(None))
        return files.to_json(self, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the ranking that `to_json` wrote.

        Raises:
            EmmsError: The text is not a ranking or is damaged. The message names the field.
        """
        check_type("text", text, str, bytes)
        return files.from_json(text, cls)

    @checked_call
    def save(self, path: str | PathLike[str]) -> Path:
        """Write the ranking to a file in the format of its suffix, and return the file.

        Args:
            path: The file. .json stores the complete ranking, which `load` reads. .csv stores the table with unrounded
                numbers, .md and .txt the rounded table.

        Raises:
            EmmsError: The suffix is unknown.
            OSError: The file cannot be written.
        """
        check_type("path", path, str, PathLike)
        path = Path(path)
        suffix = path.suffix.lower().removeprefix(".")
        if suffix not in files.WRITERS:
            raise EmmsError(
                "unknown-suffix",
                f"{str(path)!r} has an unknown suffix",
                f"use .{', .'.join(files.WRITERS)}; ranking.to_pandas() writes any other format",
            )
        write_atomic(path, files.WRITERS[suffix](self))
        return path

    @checked_call
    def card(self, checkpoint: str | None = None) -> str:
        """Return the Markdown section of a model card or, without `checkpoint`, of the dataset's card.

        Args:
            checkpoint: A checkpoint of the ranking, for its model card.

        Raises:
            EmmsError: The ranking does not contain the checkpoint, or has no score for it.
        """
        from hf_emms.publish.card_text import card

        return card(self, checkpoint)

    @checked_call
    def push_to_hub(self, repo_id: str, *, private: bool = False) -> str:
        """Add the ranking to a results dataset on the Hub, and return the URL of the commit.

        Args:
            repo_id: "ORG/emms-results", which the leaderboard Space reads. Created if needed.
            private: Whether a new dataset is private.

        Raises:
            EmmsError: No access, or the Hub is unreachable.
        """
        from hf_emms.publish.results import publish

        return publish([self], repo_id, private=private).url

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Return the ranking of a .json file.

        Raises:
            EmmsError: The file does not contain a ranking.
        """
        check_type("path", path, str, PathLike)
        path = Path(path)
        try:
            return cls.from_json(read_limited(path))
        except OSError as error:
            raise EmmsError(
                "cannot-read",
                f"cannot read {path}: {error.strerror or error}",
                "hf-emms rank … --output FILE.json writes a ranking",
            ) from error
        except EmmsError as error:
            raise EmmsError(error.code, f"{path}: {error.message}", error.hint) from error
