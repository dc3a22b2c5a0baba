"""Ranking quality against real fine-tuning: the tables of docs/evidence.md and of pages on tasks.

    python -m scripts.quality scores --pool sound          score the candidates (minutes once features are cached)
    python -m scripts.quality truth --pool images          fine-tune the scored candidates (hours; it can be continued)
    python -m scripts.quality queries                      measure how exact nDCG@10 is by the number of queries
    python -m scripts.quality sentences FOLDER…            compare sentences of documents with queries
    python -m scripts.quality funnel images                measure 80 micro checkpoints (two hours; it can be continued)
    python -m scripts.quality report --write               print the tables, or write them into their pages

HF_EMMS_QUALITY is the work folder (default ~/.cache/hf_emms_quality); results are in scripts/quality/results/.
scripts/demo/sources.py fetches the sources. Rows of Hub datasets come from the Hub, or from copies below
HF_EMMS_QUALITY_ROWS. Searches are BEIR folders, OWNER--NAME, below HF_EMMS_QUALITY_ROWS; missing ones are left out.
The pools of real checkpoints need HF_EMMS_QUALITY_WEIGHTS, a folder with converted weights, and HF_EMMS_QUALITY_PHOTOS,
a folder with clones of the repositories in scripts/quality/photos.py. The funnel needs HF_EMMS_QUALITY_ROWS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.demo import sources
from scripts.quality.pools import POOLS

STEPS = ("scores", "truth", "queries", "sentences", "funnel", "report")


def main() -> None:
    """Parse the command line and run one step; each step imports what it needs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    scores = steps.add_parser("scores", help="score the candidates with every estimator")
    truth = steps.add_parser("truth", help="fine-tune every candidate on every target")
    for step in (scores, truth):
        step.add_argument("--pool", action="append", choices=POOLS, help="can be repeated; default: all")
        step.add_argument("--target", action="append", default=[], help="name of a target, likewise")
    truth.add_argument("--candidate", action="append", default=[], help="name of a candidate, likewise")
    truth.add_argument("--budget", action="append", default=[], help="name of a budget, likewise")
    truth.add_argument("--again", action="store_true", help="repeat stored runs")
    steps.add_parser("queries", help="measure how exact nDCG@10 is by the number of queries")
    sentences = steps.add_parser("sentences", help="compare sentences of documents with real queries")
    sentences.add_argument("folders", type=Path, nargs="+")
    funnel = steps.add_parser("funnel", help="pretrain, score and fine-tune a pool of micro checkpoints")
    funnel.add_argument("modality", choices=("images", "texts"))
    steps.add_parser("report", help="print the tables").add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.step in ("scores", "truth"):
        import torch

        from scripts.quality import experiment

        torch.set_num_threads(1)
        for pool in (POOLS[name] for name in options.pool or POOLS):
            if options.step == "scores":
                experiment.score(pool, options.target)
            else:
                experiment.fine_tune(pool, options.target, options.budget, options.candidate, options.again)
    elif options.step == "funnel":
        import torch

        from scripts.quality.funnel_pool import funnel_pool

        torch.set_num_threads(1)
        if options.modality == "images":
            sources.fetch_files()
        funnel_pool(options.modality).run()
    elif options.step == "queries":
        from scripts.quality import query_counts

        query_counts.measure()
    elif options.step == "sentences":
        from scripts.quality import sentence_queries

        sentence_queries.measure(options.folders)
    else:
        from scripts.quality import report

        if options.write:
            report.write_pages()
        else:
            for page, _, tables in report.pages():
                print(f"{page.name}\n\n{tables}\n")


if __name__ == "__main__":
    main()
