"""Every test of fine-tuning has an empty cache: none finds what another has trained."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def empty_cache(emms_cache: Path) -> None:
    pass
