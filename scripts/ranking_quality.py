"""Ranking quality against real fine-tuning.

    python scripts/ranking_quality.py truth                  run every missing fine-tuning (hours; resumable)
    python scripts/ranking_quality.py truth --target trec
"""

from __future__ import annotations

import argparse

from ranking_quality import truth
from ranking_quality.protocol import GOALS


def main() -> None:
    """Parse the command line and run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("truth", help="fine-tune every candidate on every target")
    step.add_argument("--target", action="append", choices=[goal.name for goal in GOALS])
    options = parser.parse_args()
    if options.step == "truth":
        truth.run(set(options.target) if options.target else None)


if __name__ == "__main__":
    main()
