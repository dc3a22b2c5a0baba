"""From a dataset to a sample: a seeded choice of inputs, their label texts and groups."""

from __future__ import annotations

from hf_emms.cache import Cache
from hf_emms.data.columns import columns_of
from hf_emms.data.labels import SoftLabels, make_labels
from hf_emms.data.sample import Sample, assemble, check_size
from hf_emms.data.sample_cache import cached_sample, store_sample
from hf_emms.data.sampling import draw
from hf_emms.data.sources import find
from hf_emms.options import Options

__all__ = ["Sample", "SoftLabels", "load_sample"]


def load_sample(options: Options, cache: Cache | None = None) -> Sample:
    """Draws a seeded sample from a dataset and finds out what its columns are.

    Rows are drawn by content: the order of files and rows does not matter, except in streams. Without a split in the
    options or the preset, training splits come first.

    Args:
        options: which dataset, and how it is read. The dataset is a preset name, ``ORG/NAME[@REVISION]``,
            ``emms-demo/NAME``, a folder (images in class folders or with a metadata file; parquet, json, jsonl, csv,
            tsv; the Hub's layout), one such file, or a ``datasets`` object.
        cache: where samples of streams are looked for and written.

    Raises:
        EmmsError: the dataset, split, task or columns cannot be found; fewer than two labels; more than 5 % of the rows
            (and more than two) cannot be read.
    """
    ref = find(options)
    sample = cached_sample(cache, ref, options)
    if sample is None:
        source = ref.open()
        schema = columns_of(source, ref.preset, options)
        drawn = draw(source, schema, options)
        labels = make_labels(drawn, source.notes)
        sample = assemble(source, drawn, labels)
        store_sample(cache, ref, options, sample)
    check_size(sample, options)
    return sample
