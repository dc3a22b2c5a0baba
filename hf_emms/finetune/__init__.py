"""Fine-tuning of a ranking's shortlist: what its first checkpoints are worth is measured, not estimated."""
