"""Reads the start of a stream: enough rows for a sample, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hf_emms.data.columns import feature_of, value_of
from hf_emms.data.rows import RowSchema, UnusableError
from hf_emms.data.sampling import MAX_SKIPPED, encoded, hash64, too_many
from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.options import Options

# A stream is shuffled within a buffer that is read before the first row comes out, and held in memory: smaller for
# pictures, and for small samples.
_BUFFER = {"image": 1_000, "text": 10_000}
_BUFFER_PER_ROW = 20
# How many rows are read for one that is wanted, before a class that did not come is given up.
_PATIENCE = 10
# A row of ten questions on one picture counts as no more than these: a sample should not be of few pictures.
_MOST_OF_A_ROW = 4


def read_prefix(rows: Any, layout: RowSchema, options: Options) -> tuple[Any, str]:
    """Reads enough of a stream into memory to draw a sample from.

    Args:
        rows: a ``datasets.IterableDataset`` with the needed columns, pictures encoded.
        layout: how its rows are read.
        options: how many rows; balanced sampling reads on for classes that have not come yet.

    Returns:
        A ``datasets.Dataset`` in memory, and a note that says how it came about.

    Raises:
        EmmsError: the options has no number of rows.
    """
    wanted = options.max_samples
    if wanted is None:
        raise EmmsError("a stream is read up to a number of rows", "add --max-samples 1000, or leave --streaming out")
    import datasets

    task, features = layout.task, rows.features
    label = layout.label_columns[0]
    buffer = min(_BUFFER["image" if task.modality.startswith("image") else "text"], _BUFFER_PER_ROW * wanted)
    shuffled = rows.shuffle(seed=options.seed, buffer_size=buffer)
    margin = wanted + int(2 * MAX_SKIPPED * wanted) + 1
    if task.categorical and options.sampling != "proportional" and not layout.multi_label:
        classes = getattr(feature_of(features, label), "num_classes", None)
        kept, read = _evenly(shuffled, lambda row: layout.name(value_of(row, label)), classes, wanted)
    elif task.categorical:
        kept, read = _first(shuffled, margin, lambda row: 1)
    else:
        seen: set[int] = set()
        kept, read = _first(shuffled, margin, lambda row: _worth(row, layout, options, seen))
    note = f"streamed: drawn from the first {pluralize(read, 'row')} of a shuffled stream, not from the whole split"
    return datasets.Dataset.from_list([dict(row) for row in kept], features=features), note


def _first(rows: Iterable[Mapping[str, Any]], wanted: int, worth: Any) -> tuple[list[Mapping[str, Any]], int]:
    """Rows until their worths add up to what is wanted."""
    kept: list[Mapping[str, Any]] = []
    total = 0
    for row in rows:
        kept.append(row)
        total += worth(row)
        if total >= wanted:
            break
    return kept, len(kept)


def _worth(row: Mapping[str, Any], layout: RowSchema, options: Options, seen: set[int]) -> int:
    """How many rows of the sample one dataset row makes, as far as it is worth to count on them."""
    if layout.spread:
        return min(layout.count(row), _MOST_OF_A_ROW)
    try:
        contents = layout.parts(row, 0)
        labels = layout.labels(row, 0)
    except UnusableError:
        return 0
    if options.references == "all":
        return len(labels)
    before = len(seen)
    seen.add(hash64(*map(encoded, contents)))
    return len(seen) - before


def _evenly(
    rows: Iterable[Mapping[str, Any]], name: Callable[[Mapping[str, Any]], str | None], classes: int | None, wanted: int
) -> tuple[list[Mapping[str, Any]], int]:
    """Rows until each class has its share or patience runs out; some beyond the share are kept as a reserve."""
    share = -(-wanted // classes) if classes else max(1, wanted // 2)
    enough = share * classes if classes else wanted
    kept: list[Mapping[str, Any]] = []
    reserve: list[Mapping[str, Any]] = []
    unlabelled: list[Mapping[str, Any]] = []
    held: Counter[str] = Counter()
    read = 0
    for read, row in enumerate(rows, start=1):
        label = name(row)
        if label is None:
            unlabelled.append(row)
        elif held[label] < share:
            held[label] += 1
            kept.append(row)
        elif len(reserve) < wanted:
            reserve.append(row)
        if len(kept) >= enough or read >= _PATIENCE * wanted:
            break
    # A few are left out; where there are many, the reader of these rows has to see them.
    return kept + reserve + unlabelled * too_many(len(unlabelled), read), read
