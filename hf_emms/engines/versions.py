"""Versions of the packages that a score may depend on."""

from __future__ import annotations

from importlib import metadata

from hf_emms import __version__
from hf_emms.plugins import plugin_versions

_PACKAGES = ("torch", "transformers", "datasets", "numpy")


def versions() -> dict[str, str]:
    """Package → installed version: ours, those below it, and those that add to it."""
    return {"hf_emms": __version__, **{name: metadata.version(name) for name in _PACKAGES}, **plugin_versions()}
