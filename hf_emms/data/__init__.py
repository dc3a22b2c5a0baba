"""From a dataset to a sample: a seeded choice of inputs, their label texts and groups."""

from hf_emms.data.inputs import Images, Pairs, Spans
from hf_emms.data.labels import SoftLabels
from hf_emms.data.load_sample import load_sample
from hf_emms.data.sample import Sample

__all__ = ["Images", "Pairs", "Sample", "SoftLabels", "Spans", "load_sample"]
