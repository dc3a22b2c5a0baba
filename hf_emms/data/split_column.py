"""A column that says which split each row belongs to, in a dataset that has no other splits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from hf_emms.data.files.open_split import OpenSplit, choose_split
from hf_emms.data.files.split_names import SPLIT_WORDS
from hf_emms.errors import pluralize, setting_ref

_NAMES = ("split", "splits", "set", "subset", "partition", "usage", "data_split", "dataset_split", "fold", "phase")
# Columns that may say it in another way: numbers of folds, a mark of the rows for training.
_QUESTIONABLE = ("fold", "folds", "kfold", "cv_fold", "is_train", "is_training", "is_test", "is_validation", "in_train")
_SURE_NAMES = ("split", "splits", "partition", "data_split", "dataset_split")
_MAX_SPLITS = 8


def with_split_column(opened: OpenSplit, asked: str | None, used: Collection[str]) -> OpenSplit:
    """Return the rows of a split, where a column that is not `used` otherwise names the splits of all rows.

    Raises:
        EmmsError: there is no split of the name that is `asked` for.
    """
    has_splits = len(opened.splits) > 1
    column = None if has_splits or opened.streaming else _column_of_splits(opened, used)
    if column is None:
        if opened.splits:  # files
            choose_split(opened.name, opened.splits, asked)
        free = [name for name in opened.rows.column_names if name not in used]
        asked_about = [name for name in free if name.lower() in _QUESTIONABLE]
        if not has_splits and not opened.streaming:
            asked_about += [name for name in free if name.lower() in _SURE_NAMES and _has_few_values(opened, name)]
        notes = [_question(name) for name in asked_about]
        if not has_splits and opened.streaming:
            split_columns = [name for name in free if name.lower() in _NAMES and _is_text(opened.rows.features[name])]
            notes += [
                f"column {name!r} may say the split of each row; a stream is of all rows" for name in split_columns
            ]
        return replace(opened, notes=(*opened.notes, *notes))
    values = _values(opened, column)
    names = sorted({value for value in values if value is not None})
    split, _ = choose_split(opened.name, names, asked)
    rows = [number for number, value in enumerate(values) if value == split]
    others = ", ".join([name for name in names if name != split] + ["an empty cell"] * (None in values))
    note = f"column {column!r} says the split: {pluralize(len(rows), 'row')} of {split}, not those of {others}"
    return replace(
        opened,
        split=split,
        splits=tuple(names),
        rows=opened.rows.select(rows),
        total=len(rows),
        file=None,
        notes=(*opened.notes, note),
    )


def _has_few_values(opened: OpenSplit, name: str) -> bool:
    """Return whether a column has several values, and no more than a dataset has splits."""
    cells = opened.rows.select_columns([name]).with_format("arrow")[:].column(name)
    return 1 < len(cells.unique()) <= _MAX_SPLITS


def _question(name: str) -> str:
    """Return a note on a column that may tell which rows belong to which split."""
    if "fold" not in name.lower():
        return f"column {name!r} may say which rows are for training; rows of all its values are read"
    return f"column {name!r} may number folds; to keep the rows of a fold together: {setting_ref('group_column', name)}"


def _column_of_splits(opened: OpenSplit, used: Collection[str]) -> str | None:
    for name in opened.rows.column_names:
        if name.lower() in _NAMES and name not in used and _is_text(opened.rows.features[name]):
            values = {value for value in _values(opened, name) if value is not None}
            if len(values) > 1 and all(value.lower() in SPLIT_WORDS for value in values):
                return str(name)
    return None


def _is_text(feature: object) -> bool:
    return hasattr(feature, "names") or getattr(feature, "dtype", "") in ("string", "large_string", "string_view")


def _values(opened: OpenSplit, name: str) -> list[str | None]:
    feature = opened.rows.features[name]
    cells = opened.rows.select_columns([name]).with_format("arrow")[:].column(name).to_pylist()
    if hasattr(feature, "names"):
        cells = [None if cell is None or cell < 0 else feature.names[cell] for cell in cells]
    stripped = [cell.strip() or None if cell is not None else None for cell in cells]
    spelling: dict[str, str] = {}
    return [None if cell is None else spelling.setdefault(cell.lower(), cell) for cell in stripped]
