"""A sweep of 12 checkpoints over 6 datasets against six `hf-emms rank` commands.

    python -m scripts.bench sweep [--rounds 2] [--rows 200]

The checkpoints are those of the race's benchmark with one, two and three layers and four strengths of noise; a dataset
is some of the demo's glosses as a CSV file. Both ways run as commands, in turn, each without a cache, with the default
estimators and the demo's label encoders, and give the same scores. Seconds count processes with all that they import.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
import transformers

from hf_emms.data import load_sample
from hf_emms.options import Options
from hf_emms.publish.destinations import ResultsFolder
from hf_emms.ranking import Ranking, ranked
from scripts.bench.race import NOISES, variants
from scripts.bench.timing import ROOT, Seconds, ratios, spread, timed
from scripts.demo import sources

CHECKPOINTS, DATASETS = 12, 6
# Rows of rankings to which one is added.
STORED = (1_000, 10_000)


def datasets(folder: Path, rows: int) -> list[str]:
    """Writes the CSV files; returns their paths."""
    sample = load_sample(Options("demo_glosses", max_samples=DATASETS * rows))
    lines = [
        (sample.inputs[i], sample.label_texts[code]) for i, code in zip(sample.input_of_row, sample.codes, strict=True)
    ]
    files = []
    for number in range(DATASETS):
        file = folder / f"glosses{number}.csv"
        with file.open("w", newline="") as stream:
            csv.writer(stream).writerows([("text", "label"), *lines[number::DATASETS]])
        files.append(str(file))
    return files


def command(*words: str) -> Seconds:
    """Seconds of one command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    subprocess.run([sys.executable, "-m", "hf_emms", *words], env=environment, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(time.perf_counter() - started, cpu)


def added(several: Sequence[Seconds]) -> Seconds:
    """Seconds of commands one after the other."""
    return Seconds(*map(sum, zip(*several, strict=True)))


def scores(files: Sequence[Path]) -> dict[tuple[str, str], float]:
    """(dataset, checkpoint) → score, of rankings."""
    rankings = [Ranking.from_json(file.read_bytes()) for file in files]
    return {(one.dataset, row.checkpoint): row.scores["emms_knn"].value for one in rankings for row in one.rows}


def storing(folder: Path, rows: int) -> Seconds:
    """Seconds of adding a row to a stored ranking that has so many."""
    ranking = next(Ranking.from_json(file.read_bytes()) for file in folder.rglob("*.json"))
    model, rng = ranking.rows[0], np.random.default_rng(0)
    made = []
    for number in range(rows + 1):
        score = model.scores["emms_knn"]
        folds = tuple((-rng.random(len(score.folds))).tolist())
        changed = dataclasses.replace(score, value=sum(folds) / len(folds), folds=folds)
        made.append(
            msgspec.structs.replace(model, checkpoint=f"org/{number}", scores=model.scores | {"emms_knn": changed})
        )
    first, last = (msgspec.structs.replace(ranking, rows=ranked(part, "emms_knn")) for part in (made[1:], made[:1]))
    store = ResultsFolder(folder / f"stored{rows}")
    store.add(first)
    return timed(lambda: store.add(last))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=int, default=200, help="of each dataset")


def run(options: argparse.Namespace) -> None:
    """Print a list of figures."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints = [one for one in variants(sources.minilm(), folder) if not one.endswith(f"noise{NOISES[-1]}")]
        checkpoints = checkpoints[:CHECKPOINTS]
        files = datasets(folder, options.rows)
        shared = [*(word for one in checkpoints for word in ("-c", one)), "-e", "demo", "--no-cache"]
        one_by_one, swept = [], []
        for current in range(options.rounds):
            own = folder / f"round{current}"
            ranked = [own / f"ranking{place}.json" for place in range(DATASETS)]
            pairs = list(zip(files, ranked, strict=True))
            one_by_one.append(added([command("rank", "--dataset", data, "-o", str(to), *shared) for data, to in pairs]))
            swept.append(command("sweep", "--datasets", ",".join(files), "-o", str(own / "swept"), *shared))
            assert scores(ranked) == scores(list((own / "swept").rglob("*.json")))
        stored = {rows: storing(own / "swept", rows) for rows in STORED}
    title = f"{CHECKPOINTS} checkpoints × {DATASETS} datasets of {options.rows} texts"
    print(f"\n### {title}: `sweep` against {DATASETS} `rank` commands\n")
    print("| | `rank`, seconds | `sweep`, seconds | sweep / rank |\n|---|---|---|---|")
    for clock in ("wall", "cpu"):
        cells = [f"{median(getattr(one, clock) for one in each):.1f}" for each in (one_by_one, swept)]
        print(f"| {clock} | {' | '.join(cells)} | {spread(ratios(swept, one_by_one, clock), '×', '.2f', bold=True)} |")
    words = ", ".join(f"{rows:,} rows: {one.cpu:.2f} s" for rows, one in stored.items())
    print(f"\nCPU time of adding a row to a stored ranking of {words}")
