"""Ranking quality against real fine-tuning: docs/quality.md and its tables.

    python -m scripts.quality truth                  every missing fine-tuning (hours; continues where it ended)
    python -m scripts.quality truth --target trec
    python -m scripts.quality scores                 every estimator (minutes once features are in the cache)
    python -m scripts.quality unanswerable           rows of questions without an answer, into unanswerable.json
    python -m scripts.quality collect                both into scripts/quality/results.json
    python -m scripts.quality report                 print the tables
    python -m scripts.quality report --write         put them into docs/quality.md

HF_EMMS_QUALITY names the work folder (default ~/.cache/hf_emms_quality). Sources come through scripts/demo/sources.py;
rows of CIFAR-10, TREC, SST-2 and XQuAD come from the Hub, or from copies under HF_EMMS_QUALITY_ROWS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.quality.protocol import TARGETS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quality.md"
BEGIN, END = "<!-- tables -->", "<!-- /tables -->"


def main() -> None:
    """Parse the command line and run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for name, text in (("truth", "fine-tune every candidate on every target"), ("scores", "run every estimator")):
        step = steps.add_parser(name, help=text)
        step.add_argument("--target", action="append", choices=[target.name for target in TARGETS])
        if name == "truth":
            step.add_argument("--again", action="store_true", help="also what the committed results have")
        else:
            step.add_argument("--missing", action="store_true", help="only candidates without scores")
    steps.add_parser("unanswerable", help="score the ways to make rows of questions without an answer")
    steps.add_parser("collect", help="write results.json")
    steps.add_parser("report", help="print the tables").add_argument("--write", action="store_true")
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> None:
    """Run one step; each imports only what it needs."""
    names = set(options.target) if getattr(options, "target", None) else None
    if options.step == "truth":
        from scripts.quality import truth

        truth.run(names, options.again)
    elif options.step == "scores":
        from scripts.quality import scores

        scores.run(names, options.missing)
    elif options.step == "unanswerable":
        from scripts.quality import unanswerable

        unanswerable.run()
    elif options.step == "collect":
        from scripts.quality.results import collect

        collect()
    else:
        from scripts.quality.report import tables

        if options.write:
            page = PAGE.read_text(encoding="utf-8")
            before, after = page.split(BEGIN)[0], page.split(END)[1]
            PAGE.write_text(f"{before}{BEGIN}\n\n{tables()}\n{END}{after}", encoding="utf-8")
        else:
            print(tables())


if __name__ == "__main__":
    main()
