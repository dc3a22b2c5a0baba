"""From a dataset to a target: a seeded sample of inputs, label texts and groups."""

from hf_emms.data.load import load_target
from hf_emms.data.target import Images, Mixtures, Pairs, Target

__all__ = ["Images", "Mixtures", "Pairs", "Target", "load_target"]
