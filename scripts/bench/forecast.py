"""Compare forecast and measured seconds of fine-tuning on embedded data; the goal is a factor of two.

    python -m scripts.bench forecast [DATASET …]

Each case ranks a checkpoint, forecasts a run at one learning rate, and trains it.
"""

from __future__ import annotations

import argparse
import os
import tempfile

import hf_emms
from hf_emms.ranking.progress import Progress
from hf_emms.run.confirm import options_for, prepared, start_session

CASES = {
    "demo_fashion": "resnet-fashion",
    "demo_captions": "resnet-distilled",
    "demo_glosses": "bert-distilled",
    "demo_words": "bert-distilled",
    "demo_pairs": "bert-distilled",
    "demo_spans": "bert-distilled",
    "demo_sounds": "ast-words",
    "demo_vqa": "vilt-vqa",
    "demo_boxes": "owlvit-scenes",
    "demo_definitions": "llama-glosses-short",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("datasets", nargs="*", default=list(CASES), help=f"of {', '.join(CASES)}")


def run(options: argparse.Namespace) -> None:
    """Print forecast and measured seconds of each case."""
    print("\n### Forecasts of fine-tunings, elapsed seconds\n")
    print("| dataset | checkpoint | forecast | measured | measured / forecast |\n|---|---|---|---|---|")
    right = 0
    for dataset in options.datasets:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["HF_EMMS_CACHE"] = cache
            checkpoint = CASES[dataset]
            ranking = hf_emms.rank(dataset, f"emms-demo/{checkpoint}", encoders="demo", progress=False)
            settings = options_for(ranking, confirm=1, learning_rates=("1e-3",))
            work = prepared(ranking, start_session(ranking, settings, Progress()))
            expected = sum(checkpoint.seconds(work.splits) for checkpoint in work.planned_runs())
            confirmed = hf_emms.confirm(ranking, top=1, learning_rates=["1e-3"], progress=False)
        taken = sum(run.seconds for run in confirmed.rows[0].fine_tuned.runs)
        right += 0.5 <= taken / expected <= 2
        print(f"| {dataset} | {checkpoint} | {expected:.1f} | {taken:.1f} | {taken / expected:.2f}× |", flush=True)
    print(f"\nWithin a factor of two: {right} of {len(options.datasets)}.")
