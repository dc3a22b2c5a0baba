"""Benchmarks: how fast hf_emms is on this machine, each module one of them."""
