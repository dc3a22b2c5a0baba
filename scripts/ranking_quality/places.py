"""Where the experiment keeps what it makes, and the demo scripts' sources that it shares."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"


def work() -> Path:
    """The folder of datasets, candidates and finished fine-tunings: HF_EMMS_QUALITY, else in the user's cache."""
    named = os.environ.get("HF_EMMS_QUALITY")
    folder = Path(named).expanduser() if named else Path.home() / ".cache" / "hf_emms_quality"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def use_demo_scripts() -> None:
    """Make the modules of scripts/demo importable; they fetch and read the packages."""
    folder = str(HERE.parent / "demo")
    if folder not in sys.path:
        sys.path.append(folder)


def fetch_sources() -> None:
    """Install the packages that hold data and weights, where they are not there yet."""
    use_demo_scripts()
    import sources

    sources.fetch()
