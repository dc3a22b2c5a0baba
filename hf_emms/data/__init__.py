"""From a dataset to a target: a seeded sample of inputs, label texts and groups."""

from hf_emms.data.load_sample import load_sample
from hf_emms.data.sample import Images, Pairs, Sample, SoftLabels, Spans

__all__ = ["Images", "Pairs", "Sample", "SoftLabels", "Spans", "load_sample"]
