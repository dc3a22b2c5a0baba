"""CPU seconds of the embedded image checkpoints with decoded pictures cached from one to the next, against without.

    python -m scripts.bench shared [--rounds 5] [--rows 640]

The checkpoints share one image processor, as those of one family on the Hub do. Both ways run in turn; their
features are equal bit by bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from hf_emms.data import load_sample
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.hub import resolve
from hf_emms.inputs import IMAGE
from hf_emms.inputs.image import PixelCache, with_pixel_cache
from hf_emms.options import Options
from hf_emms.presets import dataset_preset
from scripts.bench.timing import interleave, ratios, spread

DATASETS = ("demo_fashion", "demo_captions")


def features(names: Sequence[str], inputs: Sequence[Any]) -> list[np.ndarray]:
    """Of each checkpoint, one after the other."""
    made = []
    for name in names:
        extractor = IMAGE.load_extractor(plan_extraction(resolve(name, "model"), IMAGE, "benchmark"), device="cpu")
        rows = np.empty((len(inputs), extractor.width), np.float32)
        for positions, batch in extractor.batches(inputs):
            rows[positions] = batch
        extractor.close()
        made.append(rows)
    return made


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=640)


def run(options: argparse.Namespace) -> None:
    """Print a table."""
    print("\n### Pictures through ten checkpoints with the same image processor\n")
    print("| dataset | pictures | CPU seconds | with cached pictures | ratio [min … max] |\n|---|---|---|---|---|")
    for dataset in DATASETS:
        names, inputs = (
            dataset_preset(dataset).checkpoints,
            load_sample(Options(dataset, max_samples=options.rows)).inputs,
        )
        contestants = {
            "plain": lambda names=names, inputs=inputs: features(names, inputs),
            "cached": lambda names=names, inputs=inputs: features(names, with_pixel_cache(inputs, PixelCache())),
        }
        pairs = zip(*(run() for run in contestants.values()), strict=True)
        assert all(np.array_equal(one, other) for one, other in pairs)
        seconds = interleave(contestants, options.rounds)
        cells = [f"{median(one.cpu for one in own):.2f}" for own in seconds.values()]
        cells.append(spread(ratios(seconds["plain"], seconds["cached"], "cpu"), "×", ".2f", bold=True))
        print(f"| {dataset} | {len(inputs):,} | {' | '.join(cells)} |")
