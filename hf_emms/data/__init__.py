"""From a dataset to a target: a seeded sample of inputs, label texts and groups."""

from hf_emms.data.load_sample import load_target
from hf_emms.data.sample import Images, Mixtures, Pairs, Spans, Target

__all__ = ["Images", "Mixtures", "Pairs", "Spans", "Target", "load_target"]
