"""What evaluate adds to the scoring.

    python -m scripts.bench metric [--rounds 7]

The same arrays, N=5,000, D1=768, D2=1,024, float32, by `method="emms"`, through `hf_emms.emms`, through `compute`,
through `add_batch` and `compute`, and through the base class of evaluate, which makes every number a Python object.
Peak memory is that of a fresh process each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from typing import Any

import numpy as np

from scripts.bench.timing import fresh_process, interleave, memory_mb, ratios, spread

BATCH = 500
MEMORY_ROWS = (50_000, 200_000)


def problem(n: int = 5000, d1: int = 768, d2: int = 1024) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(n, 64)).astype(np.float32)
    x = hidden @ rng.normal(size=(64, d1)).astype(np.float32) + rng.normal(size=(n, d1)).astype(np.float32)
    z = hidden @ rng.normal(size=(64, d2)).astype(np.float32) + rng.normal(size=(n, d2)).astype(np.float32)
    return x, z


def plain_metric(folder: str) -> Any:
    """A metric as evaluate's guide has it: rows arrive in ``_compute`` as lists of Python floats."""
    import datasets
    import evaluate

    from hf_emms import emms

    class Plain(evaluate.Metric):
        def _info(self) -> evaluate.MetricInfo:
            number = datasets.List(datasets.Value("float32"))
            features = datasets.Features({"predictions": number, "references": number})
            return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            x, z = np.asarray(predictions, np.float32), np.asarray(references, np.float32)
            return {"score": emms(x, z, method="emms").score}

    return Plain(cache_dir=folder)


def in_batches(metric: Any, x: np.ndarray, z: np.ndarray) -> Any:
    for start in range(0, len(x), BATCH):
        metric.add_batch(predictions=x[start : start + BATCH], references=z[start : start + BATCH])
    return metric.compute(method="emms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)


def run(options: argparse.Namespace) -> None:
    """Print a table of times and one of memory."""
    os.environ["HF_EVALUATE_OFFLINE"] = "1"
    import evaluate

    from hf_emms import emms

    x, z = problem()
    with tempfile.TemporaryDirectory() as folder:
        metric, plain = evaluate.load("emms", cache_dir=folder), plain_metric(folder)
        contestants = {
            "hf_emms.emms": lambda: emms(x, z, method="emms"),
            "compute": lambda: metric.compute(predictions=x, references=z, method="emms"),
            f"add_batch of {BATCH}, compute": lambda: in_batches(metric, x, z),
            "evaluate's base class": lambda: plain.compute(predictions=x, references=z),
        }
        seconds = interleave(contestants, options.rounds)
    print("\n### metric: N=5,000 D1=768 D2=1,024 float32\n\n| run | seconds | run / hf_emms.emms |\n|---|---|---|")
    for name, own in seconds.items():
        print(f"| {name} | {spread([one.wall for one in own])} | {spread(ratios(own, seconds['hf_emms.emms']))} |")
    print("\n| rows through add_batch, D1=256 D2=128 | their bytes, MB | peak above the import, MB |\n|---|---|---|")
    for rows in MEMORY_ROWS:
        peak = fresh_process("metric", rows)
        print(f"| {rows:,} | {rows * (256 + 128) * 4 / 1e6:.0f} | {peak} |")


def probe(rows: int) -> int:
    """Peak MB of rows through `add_batch` and `compute`, above that of the imports."""
    import evaluate

    with tempfile.TemporaryDirectory() as folder:
        metric, rng = evaluate.load("emms", cache_dir=folder), np.random.default_rng(0)
        before = memory_mb("VmHWM")
        for _ in range(0, rows, BATCH):
            x = rng.normal(size=(BATCH, 256)).astype(np.float32)
            metric.add_batch(predictions=x, references=x[:, :128] + rng.normal(size=(BATCH, 128)).astype(np.float32))
        metric.compute(method="emms")
        return round(memory_mb("VmHWM") - before)


if __name__ == "__main__":
    print(probe(int(sys.argv[1])))
