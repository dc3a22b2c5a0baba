"""Whether the versions that pyproject.toml allows work: the lowest and the newest, in environments of their own.

    python -m scripts.bounds                                     both, on this Python
    python -m scripts.bounds --python 3.13 --resolution highest  one, on a Python that uv finds

Each is installed by uv (`pip install uv`), then runs the demo, a ranking that is confirmed by fine-tuning, and the
metric. Takes gigabytes of downloads.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_RESOLUTIONS = ("lowest-direct", "highest")
_RANK = (
    "rank --dataset demo_glosses --max-samples 100 --encoder emms-demo/encoder-minilm-static --estimator emms "
    "-c emms-demo/bert-distilled --confirm 1 --steps 4 --learning-rate 0.001 --confirm-samples 100"
)
_METRIC = """
import evaluate, hf_emms, numpy
random = numpy.random.default_rng(0)
features = random.normal(size=(60, 8))
print(evaluate.load("emms").compute(predictions=features, references=features[:, :3] + random.normal(size=(60, 3))))
"""


def main() -> int:
    """Tries what the command line names; 1 where anything fails."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bounds", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable, help="version or path [default: this one]")
    parser.add_argument("--resolution", choices=_RESOLUTIONS, help="[default: both]")
    arguments = parser.parse_args()
    chosen = [arguments.resolution] if arguments.resolution else _RESOLUTIONS
    failed = [resolution for resolution in chosen if not _works(resolution, arguments.python)]
    print(f"failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _works(resolution: str, python: str) -> bool:
    """Whether what runs in a new environment ends well."""
    with tempfile.TemporaryDirectory(prefix="bounds-") as place:
        folder = Path(place)
        bin = folder / "environment" / "bin"
        install = ["uv", "pip", "install", "--quiet", "--python", str(bin / "python"), "--resolution", resolution]
        commands = [
            ["uv", "venv", "--quiet", "--python", python, str(folder / "environment")],
            [*install, f"{_ROOT}[finetune]"],
            ["uv", "pip", "freeze", "--python", str(bin / "python")],
            [str(bin / "hf-emms"), "demo"],
            [str(bin / "hf-emms"), *_RANK.split()],
            [str(bin / "python"), "-c", _METRIC],
        ]
        homes = {"HF_HOME": str(folder / "home"), "HF_EMMS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
        for command in commands:
            print(f"{resolution}: {' '.join(command)[:120]}", flush=True)
            if subprocess.run(command, cwd=folder, env={**os.environ, **homes}, check=False).returncode:
                return False
    return True


if __name__ == "__main__":
    sys.exit(main())
