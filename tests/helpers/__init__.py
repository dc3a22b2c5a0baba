"""Helpers for tests: inputs, tiny checkpoints, running commands, servers and a browser."""
