"""The tests mirror the package; `helpers` is what they share, `hub` the stand-in Hub."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
