"""Ranking quality against real fine-tuning: docs/quality.md and its tables.

    python scripts/ranking_quality.py truth                  every missing fine-tuning (hours; continues where it ended)
    python scripts/ranking_quality.py truth --target trec
    python scripts/ranking_quality.py scores                 every estimator (minutes once features are in the cache)
    python scripts/ranking_quality.py collect                both into scripts/ranking_quality/results.json
    python scripts/ranking_quality.py report                 print the tables
    python scripts/ranking_quality.py report --write         put them into docs/quality.md

HF_EMMS_QUALITY names the work folder (default ~/.cache/hf_emms_quality). Sources come through scripts/demo/sources.py;
rows of CIFAR-10, TREC, SST-2 and XQuAD come from the Hub, or from copies under HF_EMMS_QUALITY_ROWS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ranking_quality.protocol import GOALS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "quality.md"
BEGIN, END = "<!-- tables -->", "<!-- /tables -->"


def main() -> None:
    """Parse the command line and run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for name, text in (("truth", "fine-tune every candidate on every target"), ("scores", "run every estimator")):
        step = steps.add_parser(name, help=text)
        step.add_argument("--target", action="append", choices=[goal.name for goal in GOALS])
        if name == "truth":
            step.add_argument("--again", action="store_true", help="also what the committed results have")
        else:
            step.add_argument("--missing", action="store_true", help="only candidates without scores")
    steps.add_parser("collect", help="write results.json")
    steps.add_parser("report", help="print the tables").add_argument("--write", action="store_true")
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> None:
    """Run one step; each imports only what it needs."""
    names = set(options.target) if getattr(options, "target", None) else None
    if options.step == "truth":
        from ranking_quality import truth

        truth.run(names, options.again)
    elif options.step == "scores":
        from ranking_quality import scores

        scores.run(names, options.missing)
    elif options.step == "collect":
        from ranking_quality.collect import collect

        collect()
    else:
        from ranking_quality.report import tables

        if options.write:
            page = PAGE.read_text(encoding="utf-8")
            before, after = page.split(BEGIN)[0], page.split(END)[1]
            PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n{END}{after}", encoding="utf-8")
        else:
            print(tables())


if __name__ == "__main__":
    main()
