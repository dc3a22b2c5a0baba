"""What evaluate costs beside the scoring: `python scripts/bench_metric.py`.

The same arrays, N=5,000, D1=768, D2=1,024, float32, through `hf_emms.emms`, through `compute`, through `add_batch` and
`compute`, and through the base class of evaluate, which makes every number a Python object. Contestants run in turn;
what is compared is the ratio within each round, as median [min … max]. Peak memory is that of a fresh process each, as
Linux tells it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 7
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
            return {"score": emms(np.asarray(predictions, np.float32), np.asarray(references, np.float32)).score}

    return Plain(cache_dir=folder)


def in_batches(metric: Any, x: np.ndarray, z: np.ndarray) -> Any:
    for start in range(0, len(x), BATCH):
        metric.add_batch(predictions=x[start : start + BATCH], references=z[start : start + BATCH])
    return metric.compute()


def timed(contestants: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for current in range(rounds + 1):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            if current:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} [{min(values):.3g} … {max(values):.3g}]"


def bench_metric(rounds: int = ROUNDS) -> None:
    """Prints the table of times and that of memory."""
    os.environ["HF_EVALUATE_OFFLINE"] = "1"
    import evaluate

    from hf_emms import emms

    x, z = problem()
    with tempfile.TemporaryDirectory() as folder:
        metric, plain = evaluate.load("emms", cache_dir=folder), plain_metric(folder)
        contestants = {
            "hf_emms.emms": lambda: emms(x, z),
            "compute": lambda: metric.compute(predictions=x, references=z),
            f"add_batch of {BATCH}, compute": lambda: in_batches(metric, x, z),
            "evaluate's base class": lambda: plain.compute(predictions=x, references=z),
        }
        seconds = timed(contestants, rounds)
    print("\n### metric: N=5,000 D1=768 D2=1,024 float32\n\n| run | seconds | run / hf_emms.emms |\n|---|---|---|")
    for name, values in seconds.items():
        ratio = [a / b for a, b in zip(values, seconds["hf_emms.emms"], strict=True)]
        print(f"| {name} | {spread(values)} | {spread(ratio)} |")
    print("\n| rows through add_batch, D1=256 D2=128 | their bytes, MB | peak above the import, MB |\n|---|---|---|")
    for rows in MEMORY_ROWS:
        command = [sys.executable, __file__, "memory", str(rows)]
        peak = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        print(f"| {rows:,} | {rows * (256 + 128) * 4 / 1e6:.0f} | {peak} |")


def peak_mb() -> float:
    """Peak resident memory. getrusage would count that of the process which started this one, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def memory_probe(rows: int) -> None:
    """Runs in a process of its own."""
    import evaluate

    with tempfile.TemporaryDirectory() as folder:
        metric, rng = evaluate.load("emms", cache_dir=folder), np.random.default_rng(0)
        before = peak_mb()
        for _ in range(0, rows, BATCH):
            x = rng.normal(size=(BATCH, 256)).astype(np.float32)
            metric.add_batch(predictions=x, references=x[:, :128] + rng.normal(size=(BATCH, 128)).astype(np.float32))
        metric.compute()
        print(round(peak_mb() - before))


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        memory_probe(int(sys.argv[2]))
    else:
        bench_metric()
