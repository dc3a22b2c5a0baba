"""Samples of datasets by keyword arguments, with all rows by default."""

from __future__ import annotations

from typing import Any

from hf_emms import data
from hf_emms.data import Sample
from hf_emms.errors import EmmsError, Note
from hf_emms.options import Options
from tests.helpers.rows import error_of


def load_sample(dataset: Any, *, max_samples: int | None = None, **settings: Any) -> Sample:
    """Load a sample with these settings."""
    return data.load_sample(Options.of(dataset, max_samples=max_samples, **settings).sample)


def codes(sample: Sample) -> list[str]:
    """The codes of a sample's notes."""
    return [note.code for note in sample.notes if isinstance(note, Note)]


def reasons(sample: Sample) -> tuple[str, ...]:
    """Why the first rows were skipped."""
    assert sample.reading is not None
    return sample.reading.reasons


def refused(dataset: Any, **settings: Any) -> EmmsError:
    """Return the error of loading a dataset with these settings."""
    return error_of(lambda: load_sample(dataset, **settings))
