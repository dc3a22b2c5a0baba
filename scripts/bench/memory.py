"""Peak memory that scoring adds to its input, each figure from a fresh process.

python -m scripts.bench memory [--rounds 3] [--rows 10000 200000 1000000]
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from hf_emms import Moments, emms
from scripts.bench.scoring import classes_problem
from scripts.bench.timing import fresh_process, memory_mb, reset_peak, spread

ROWS = 20_000  # of the problem in memory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 200_000, 1_000_000], help="of streams")


def run(options: argparse.Namespace) -> None:
    """Print a table of rows in memory and streamed."""
    print("\n### Peak memory added by scoring\n\n| what | rows | MB | rows/s |\n|---|---|---|---|")
    for method in ("emms_exact", "emms"):
        measured = [fresh_process("memory", method, ROWS)["mb"] for _ in range(options.rounds)]
        print(f"| classes shape, {method} | {ROWS:,} | {spread(measured, digits=',.0f')} | |")
    for rows in options.rows:
        streams = [fresh_process("memory", "stream", rows) for _ in range(options.rounds if rows < 1_000_000 else 1)]
        columns = [spread([stream[name] for stream in streams], digits=",.0f") for name in ("mb", "rate")]
        print(f"| streamed, D1=768 D2=1,024, emms | {rows:,} | {' | '.join(columns)} |")


def probe(what: str, rows: int) -> dict[str, float]:
    """MB that scoring adds to its input, and rows accumulated in a second."""
    x, labels = classes_problem(rows) if what != "stream" else (None, None)
    before, started = reset_peak(), time.perf_counter()
    if what == "stream":
        rate = stream(rows)
    else:
        emms(x, labels, method=what)
        rate = rows / (time.perf_counter() - started)
    return {"mb": memory_mb("VmHWM") - before, "rate": rate}


def stream(rows: int, batch: int = 1000, d1: int = 768) -> float:
    """Score a stream of made-up rows; returns how many a second were accumulated, making them up not counted."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(32, d1 + 1024)).astype(np.float32)
    moments = Moments(d1, [1024])
    seconds = 0.0
    for start in range(0, rows, batch):
        hidden = rng.normal(size=(batch, 32)).astype(np.float32)
        both = hidden @ mixing + rng.normal(size=(batch, d1 + 1024)).astype(np.float32)
        began = time.perf_counter()
        moments.update(both[:, :d1], both[:, d1:], groups=np.arange(start, start + batch))
        seconds += time.perf_counter() - began
    emms(moments)
    return rows / seconds


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], int(sys.argv[2]))))
