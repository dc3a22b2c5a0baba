"""Seconds of the embedded image checkpoints with pictures kept from one to the next, against without.

    python scripts/bench_shared.py [--rounds 5] [--rows 640]

The checkpoints share one image processor, as those of one family on the Hub do. Both ways take turns; features are
compared bit by bit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from hf_emms.data import load_sample
from hf_emms.features.images import PixelStore, keeping
from hf_emms.features.load import load_extractor
from hf_emms.hub import resolve
from hf_emms.presets import dataset_preset

DATASETS = ("demo_fashion", "demo_captions")


def features(names: Sequence[str], inputs: Sequence[Any]) -> list[np.ndarray]:
    """Of each checkpoint, one after the other."""
    made = []
    for name in names:
        extractor = load_extractor(resolve(name, "model"), "image", "image-classification", device="cpu")
        rows = np.empty((len(inputs), extractor.width), np.float32)
        for positions, batch in extractor.batches(inputs):
            rows[positions] = batch
        extractor.close()
        made.append(rows)
    return made


def compare(rounds: int = 5, rows: int = 640) -> list[str]:
    """Lines of a markdown table."""
    lines = ["| dataset | pictures | CPU seconds | with kept pictures | ratio [min … max] |", "|---|---|---|---|---|"]
    for dataset in DATASETS:
        names, inputs = dataset_preset(dataset).checkpoints, load_sample(dataset, max_samples=rows).inputs
        features(names[:1], inputs)
        spent = []
        for _ in range(rounds):
            began = time.process_time()
            plain = features(names, inputs)
            middle = time.process_time()
            kept = features(names, keeping(inputs, PixelStore()))
            spent.append((middle - began, time.process_time() - middle))
            assert all(np.array_equal(one, other) for one, other in zip(plain, kept, strict=True))
        ratios = [first / second for first, second in spent]
        seconds = " | ".join(f"{median(side):.2f}" for side in zip(*spent, strict=True))
        spread = f"**{median(ratios):.2f}×** [{min(ratios):.2f} … {max(ratios):.2f}]"
        lines.append(f"| {dataset} | {len(inputs):,} | {seconds} | {spread} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=640)
    options = parser.parse_args()
    print("\n".join(compare(options.rounds, options.rows)))


if __name__ == "__main__":
    main()
