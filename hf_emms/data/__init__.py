"""Read a dataset and draw a seeded sample of inputs with their labels and groups."""

from __future__ import annotations

from itertools import islice

import numpy as np

from hf_emms.data.assembly import assemble
from hf_emms.data.files.limits import check_width
from hf_emms.data.files.open_split import reading_error
from hf_emms.data.files.sources import DatasetSource, open_dataset
from hf_emms.data.labels import make_labels
from hf_emms.data.match import UnclearColumnsError, read_schema
from hf_emms.data.sample import Sample, SoftLabels
from hf_emms.data.sampling import draw
from hf_emms.data.search.pairs import search_pairs
from hf_emms.data.search.sample import search_sample
from hf_emms.data.search.tables import search_tables
from hf_emms.errors import EmmsError
from hf_emms.options import SampleOptions, ScoringOptions

# Readings that are tried for the command in an error.
_MAX_TRIED = 20

__all__ = ["DatasetSource", "Sample", "SoftLabels", "load_sample", "open_dataset"]


def load_sample(options: SampleOptions, source: DatasetSource | None = None, *, training: bool = False) -> Sample:
    """Return a seeded sample of a dataset. Its task and columns are inferred unless the options name them.

    Draws rows by their content, so the order of files and rows does not matter, except in streams. If neither the
    options nor the preset name a split, prefers a training split.

    Args:
        options: The dataset is a preset name, ``ORG/NAME[@REVISION]``, ``emms-demo/NAME``, a folder (media or texts in
            class folders, or with a metadata file; tables of the formats in docs/rank-texts.md; the Hub's layout), such
            a file, or data in memory.
        source: The result of `open_dataset` for the same dataset, which saves requests to the Hub.
        training: Whether to make the items for fine-tuning, see `Task.training_items`.

    Raises:
        EmmsError: The dataset, split, task or a column does not exist; no reading or several readings fit; the sample
            has fewer than two labels; more than 5 % of the rows (and more than two) are unusable.
    """
    source = source or open_dataset(options)
    try:
        return _read(source, options, training=training)
    except UnclearColumnsError as unclear:
        task = source.preset.task if source.preset else None
        choices = islice(unclear.choices(options, task), _MAX_TRIED)
        chosen = next((each for each in choices if _reads(source, each)), None)
        raise unclear.with_hint(options, task, chosen) from None
    except UnicodeDecodeError as error:  # pyarrow checks texts when they become Python objects
        raise reading_error(error, source.name, options.config) from error


def _read(source: DatasetSource, options: SampleOptions, *, training: bool) -> Sample:
    tables = search_tables(source, options)
    if tables is not None:
        return search_sample(tables, options, training=training)
    split = source.open(options)
    check_width(repr(source.name), len(split.rows.features or ()))
    schema = read_schema(split, source.preset, options)
    if schema.task.input.is_collection:
        return search_sample(search_pairs(split, schema), options, training=training)
    drawn = draw(split, schema, options)
    return assemble(split, drawn, make_labels(drawn, training=training))


def _reads(source: DatasetSource, options: SampleOptions) -> bool:
    """Return whether a suggested reading reads the rows, so that the command in an error runs."""
    try:
        sample = _read(source, options, training=False)
    except EmmsError:
        return False
    return len(np.unique(sample.groups)) >= ScoringOptions().folds
