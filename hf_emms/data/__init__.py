"""From a dataset to a target: a seeded sample of inputs, label texts and groups."""

from hf_emms.data.load import load_target
from hf_emms.data.target import Images, Mixtures, Pairs, Spans, Target

__all__ = ["Images", "Mixtures", "Pairs", "Spans", "Target", "load_target"]
