"""Ranking quality against real fine-tuning: docs/quality.md and its tables.

    python -m scripts.quality truth                  every missing fine-tuning (hours; continues where it ended)
    python -m scripts.quality truth --pool images --target flowers
    python -m scripts.quality scores                 every estimator (minutes once features are in the cache)
    python -m scripts.quality similarity             CKA of the candidates' features, for the replay of confirmed runs
    python -m scripts.quality other-features --pool images    EMMS with gradients, after LoRA, on other picture sizes
    python -m scripts.quality unanswerable           rows of questions without an answer, into unanswerable.json
    python -m scripts.quality collect                all of it into scripts/quality/results/
    python -m scripts.quality orders                 whether R² orders checkpoints as the score does
    python -m scripts.quality report                 print the tables
    python -m scripts.quality report --write         put them into docs/quality.md

HF_EMMS_QUALITY names the work folder (default ~/.cache/hf_emms_quality). Sources come through scripts/demo/sources.py;
rows of CIFAR-10, TREC, SST-2, CLINC and XQuAD come from the Hub, or from copies under HF_EMMS_QUALITY_ROWS. The pools
of real checkpoints need the folders that HF_EMMS_QUALITY_WEIGHTS (converted weights) and HF_EMMS_QUALITY_PHOTOS (clones
of the repositories in scripts/quality/photos.py) name.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.quality.protocol import POOLS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quality.md"
BEGIN, END = "<!-- tables -->", "<!-- /tables -->"


def main() -> None:
    """Parse the command line and run one step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for name, text in (
        ("truth", "fine-tune every candidate on every target"),
        ("scores", "run every estimator"),
        ("similarity", "how alike candidates see a target"),
        ("other-features", "run EMMS on other features of the candidates"),
    ):
        step = steps.add_parser(name, help=text)
        step.add_argument("--pool", action="append", choices=POOLS)
        step.add_argument("--target", action="append", help="a target's name; several are possible")
        if name == "truth":
            step.add_argument("--candidate", action="append", help="a candidate's name; several are possible")
            step.add_argument("--budget", action="append", help="a budget's name; several are possible")
            step.add_argument("--again", action="store_true", help="also what the committed results have")
            step.add_argument("--first-seed", action="store_true", help="leave further seeds out")
            step.add_argument("--share", default="0/1", help="K/N: the Kth (from 0) of N processes that share the work")
        elif name == "other-features":
            step.add_argument("--kind", action="append", choices=("gradients", "lora", "sides"), help="all by default")
        elif name == "scores":
            step.add_argument("--missing", action="store_true", help="only candidates without scores")
    steps.add_parser("unanswerable", help="score the ways to make rows of questions without an answer")
    steps.add_parser("collect", help="write the results")
    steps.add_parser("orders", help="compare the orders by R² and by score")
    steps.add_parser("report", help="print the tables").add_argument("--write", action="store_true")
    options = parser.parse_args()
    run(options)


def run(options: argparse.Namespace) -> None:
    """Run one step; each imports only what it needs."""
    names = set(options.target) if getattr(options, "target", None) else None
    pools = [POOLS[name] for name in getattr(options, "pool", None) or POOLS]
    if options.step == "truth":
        from scripts.quality import truth

        share, among = map(int, options.share.split("/"))
        budgets = set(options.budget) if options.budget else None
        for pool in pools:
            candidates = set(options.candidate) if options.candidate else None
            how = {
                "candidates": candidates,
                "again": options.again,
                "share": (share, among),
                "first_seed": options.first_seed,
            }
            truth.run(pool, names, budgets, **how)
    elif options.step == "scores":
        from scripts.quality import scores

        for pool in pools:
            scores.run(pool, names, options.missing)
    elif options.step == "similarity":
        from scripts.quality import similarity

        for pool in pools:
            similarity.run(pool, names)
    elif options.step == "other-features":
        from scripts.quality import other_features

        kinds = set(options.kind) if options.kind else None
        for pool in pools:
            other_features.run(pool, names, kinds)
    elif options.step == "unanswerable":
        from scripts.quality import unanswerable

        unanswerable.run()
    elif options.step == "collect":
        from scripts.quality.results import collect

        for pool in pools:
            collect(pool)
    elif options.step == "orders":
        from scripts.quality import orders

        print(orders.report())
    else:
        from scripts.quality import report, report_real

        parts = [*report_real.tables(), *report.tables()]
        tables = "\n\n".join(f"### {title}\n\n{table}" for title, table in parts)
        if options.write:
            report.replace_between(PAGE, BEGIN, END, f"\n\n{tables}\n\n")
        else:
            print(tables)


if __name__ == "__main__":
    main()
