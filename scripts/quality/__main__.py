"""Ranking quality against real fine-tuning: the tables of docs/quality.md and of pages on tasks.

    python -m scripts.quality scores --pool sound          score the candidates (minutes once features are cached)
    python -m scripts.quality truth --pool images          fine-tune what was scored (hours; continues where it ended)
    python -m scripts.quality baselines --pool search      add scores of the literature's estimators to what is scored
    python -m scripts.quality queries                      measure how exact nDCG@10 is by the number of queries
    python -m scripts.quality replays FOLDER               replay rules on published losses of language models
    python -m scripts.quality report --write               print the tables, or put them into their pages

HF_EMMS_QUALITY names the work folder (default ~/.cache/hf_emms_quality); results are in scripts/quality/results/.
Sources come through scripts/demo/sources.py; rows of the Hub from the Hub, or from copies under HF_EMMS_QUALITY_ROWS.
Searches are folders of BEIR, OWNER--NAME, that lie under HF_EMMS_QUALITY_ROWS only; without them they are left out.
The pools of real checkpoints need the folders that HF_EMMS_QUALITY_WEIGHTS (converted weights) and
HF_EMMS_QUALITY_PHOTOS (clones of the repositories in scripts/quality/photos.py) name.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scripts.quality.pools import POOLS

STEPS = ("scores", "baselines", "truth", "queries", "replays", "report")


def main() -> None:
    """Parse the command line and run one step; each imports only what it needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for name, text in (
        ("scores", "score the candidates by every estimator"),
        ("baselines", "add scores of the literature's estimators to what is scored"),
        ("truth", "fine-tune every candidate on every target"),
    ):
        step = steps.add_parser(name, help=text)
        step.add_argument("--pool", action="append", choices=POOLS, help="several are possible; all by default")
        step.add_argument("--target", action="append", default=[], help="a target's name, likewise")
        if name == "truth":
            step.add_argument("--candidate", action="append", default=[], help="a candidate's name, likewise")
            step.add_argument("--budget", action="append", default=[], help="a budget's name, likewise")
            step.add_argument("--again", action="store_true", help="also what the results have")
    steps.add_parser("queries", help="measure how exact nDCG@10 is by the number of queries")
    steps.add_parser("replays", help="replay rules on published losses").add_argument("folder", type=Path)
    steps.add_parser("report", help="print the tables").add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.step in ("scores", "baselines", "truth"):
        import torch

        from scripts.quality import experiment

        torch.set_num_threads(1)
        for pool in (POOLS[name] for name in options.pool or POOLS):
            if options.step == "scores":
                experiment.score(pool, options.target)
            elif options.step == "baselines":
                experiment.add_baselines(pool, options.target)
            else:
                experiment.fine_tune(pool, options.target, options.budget, options.candidate, options.again)
    elif options.step == "queries":
        from scripts.quality import query_counts

        query_counts.measure()
    elif options.step == "replays":
        from scripts.quality import published_losses

        replays = published_losses.pools(options.folder)
        published_losses.RESULTS.write_text(json.dumps(replays, indent=1) + "\n")
    else:
        from scripts.quality import report

        if options.write:
            report.write_pages()
        else:
            for page, _, tables in report.pages():
                print(f"{page.name}\n\n{tables}\n")


if __name__ == "__main__":
    main()
