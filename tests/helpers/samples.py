"""Samples of datasets by keyword, all rows where a test does not say how many."""

from __future__ import annotations

from typing import Any

from hf_emms import data
from hf_emms.cache import Cache
from hf_emms.data import Sample
from hf_emms.options import Options


def load_sample(dataset: Any, *, max_samples: int | None = None, cache: Cache | None = None, **settings: Any) -> Sample:
    """`hf_emms.data` of a dataset with these settings."""
    return data.load_sample(Options.of(dataset, max_samples=max_samples, **settings).sample, cache)
