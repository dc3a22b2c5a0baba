"""The metric as `evaluate` loads it, in this process and in separate processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pytest

NAMES = ["cat", "dog", "bird"]
TABLE = {name: np.random.default_rng(i).normal(size=6) for i, name in enumerate(NAMES)}

# The first lines of a separate process. They prevent evaluate from importing transformers, which takes seconds.
IMPORT_EVALUATE = """
import sys
sys.modules["transformers"] = None
import evaluate
del sys.modules["transformers"]
"""

# Further lines, in which hf_emms cannot be imported.
HIDE_HF_EMMS = """
import sys
class Hidden:
    def find_spec(self, name, *rest):
        if name.split(".")[0] == "hf_emms":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Features (300, 12) and two F-labels (300, 2, 5), float32."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 12)).astype(np.float32)
    z = np.stack([x @ rng.normal(size=(12, 5)) + s * rng.normal(size=(300, 5)) for s in (1, 3)], axis=1)
    return x, z.astype(np.float32)


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Load the metric by name, without evaluate's search for the Hub, which takes seconds."""
    monkeypatch.setattr(evaluate.config, "HF_EVALUATE_OFFLINE", True)
    return lambda **settings: evaluate.load("emms", **{"cache_dir": str(tmp_path / "metrics"), **settings})


def assert_close(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Check for equal names in the same order, and equal numbers to six digits."""
    assert list(found) == list(expected)
    for name, value in expected.items():
        exact = value is None or isinstance(value, str)
        assert found[name] == (value if exact else pytest.approx(value, rel=1e-6, abs=1e-6)), name
