"""Compare a serial sweep with two processes of this machine and with Ray, and measure the overhead per unit.

    python -m scripts.bench parts [--rounds N]

Twelve checkpoints of the demo on two datasets, one thread each, with an empty cache: on the demo's data, whose units
take less than a second, and on two files of 8,000 sentences each. The overhead of a unit is its elapsed time without
the seconds of its row. The goals are 0.6 of the serial time on two idle cores, and 0.5 s per unit
after the first unit of a process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hf_emms.ranking import Ranking
from hf_emms.run.units import rank_part

DATASETS = ["demo_glosses", "demo_pairs"]
ROWS = 8000
CHECKPOINTS = [
    f"emms-demo/{name}"
    for name in (
        *("bert-distilled", "albert-distilled", "electra-distilled", "distilbert-distilled-short", "bert-random"),
        *("bert-masked-short", "gpt2-random", "gpt2-captions", "llama-glosses", "llama-glosses-short"),
        *("twotower-distilled", "twotower-short"),
    )
]
SETTINGS: dict[str, Any] = {"max_samples": ROWS, "encoders": "emms-demo/encoder-minilm-static"}
CONTESTANTS: dict[str, dict[str, Any]] = {
    "serial": {"workers": 1},
    "workers=2": {"workers": 2},
    "Ray": {"engine": "ray"},
}

_CODE = """
import json, sys, time
import hf_emms
datasets, checkpoints, settings = json.loads(sys.argv[1])
if settings.get("engine") == "ray":
    import ray
    ray.init("local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
started = time.perf_counter()
hf_emms.sweep(datasets, checkpoints, progress=False, **settings)
print(time.perf_counter() - started)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3, help="rounds, in which the contestants run in turn")


def run(options: argparse.Namespace) -> None:
    """Print the elapsed seconds of each contestant, and the overhead per unit."""
    with tempfile.TemporaryDirectory() as folder:
        for title, datasets in {"the demo's data": DATASETS, f"files of {ROWS:,} rows": _files(Path(folder))}.items():
            _compare(title, datasets, options.rounds)
    first, later = unit_overheads()
    print(f"\nOverhead of the first unit of a process {first:.2f} s, of later units {statistics.median(later):.2f} s")
    print(f"(at most {max(later):.2f} s).")


def _files(folder: Path) -> list[str]:
    """Write two files of sentences about ten subjects; return their paths."""
    draw = random.Random(0)
    words = [f"{start}{end}" for start in ("ba", "ke", "li", "mo", "tu") for end in ("nar", "sel", "tin", "vok", "ruz")]
    for name in ("first", "second"):
        lines = [f"{' '.join(draw.choices(words, k=20))} {n % 10},class {n % 10}" for n in range(ROWS)]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *lines]))
    return [str(folder / f"{name}.csv") for name in ("first", "second")]


def _compare(title: str, datasets: Sequence[str], rounds: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(rounds):
        for name, settings in CONTESTANTS.items():
            seconds[name].append(_elapsed(datasets, settings))
    print(f"\n### Parts: elapsed seconds of 12 checkpoints on 2 datasets, {title}\n")
    print("| | seconds | of serial |\n|---|---|---|")
    for name, times in seconds.items():
        ratios = [time / serial for time, serial in zip(times, seconds["serial"], strict=True)]
        shares = f"{statistics.median(ratios):.2f} [{min(ratios):.2f} … {max(ratios):.2f}]"
        print(f"| {name} | {statistics.median(times):.1f} | {shares} |")


def unit_overheads() -> tuple[float, list[float]]:
    """Return the overhead in seconds of the first unit of this process, and of later ones."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_EMMS_CACHE"] = folder
        overheads = []
        for checkpoint in CHECKPOINTS:
            started = time.perf_counter()
            ranking = Ranking.from_json(rank_part({"dataset": DATASETS[0], **SETTINGS}, [checkpoint]))
            row = ranking.rows[0].seconds
            overheads.append(time.perf_counter() - started - (row.features or 0.0) - (row.scoring or 0.0))
        return overheads[0], overheads[1:]


def _elapsed(datasets: Sequence[str], settings: dict[str, Any]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "HF_EMMS_CACHE": f"{folder}/cache", "OMP_NUM_THREADS": "1"}
        words = json.dumps([datasets, CHECKPOINTS, {**SETTINGS, **settings, "output": f"{folder}/results"}])
        done = subprocess.run(
            [sys.executable, "-c", _CODE, words], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        return float(done.stdout.split()[-1])
