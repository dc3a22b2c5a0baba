"""Hostile inputs: what hf_emms does with files, words and checkpoints that are not as they should be."""
