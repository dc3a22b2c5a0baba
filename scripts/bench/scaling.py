"""How `--engine ray` grows: measured on one and two workers here, simulated from measured parts beyond that.

    python -m scripts.bench scaling measure --output parts.json      # some minutes
    python -m scripts.bench scaling simulate [--parts parts.json]    # seconds; default: the parts of docs/scaling.md

`measure` times whole rankings on Ray clusters of one and two worker processes in turn, and each part of one by itself.
`simulate` schedules the tasks of a large ranking over GPUs, with the parts as measured and the assumptions below.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import numpy as np

from scripts.bench.timing import spread, timed

PARTS = Path(__file__).with_name("parts.json")
WIDTH, INPUTS = 768, 5_000  # of a base-sized checkpoint, and of the default sample

# What cannot be measured here.
GPU_SPEEDUP = 100.0  # as in hf_emms.run.preflight: a data-centre GPU against one CPU core
LINK_BYTES = 1.25e9  # a second and node: 10 Gbit/s
GPUS_A_NODE = 8
# Requests in five minutes of a free account (huggingface.co/docs/hub/rate-limits); others have more.
LIMITS = {"API": 1_000, "files": 5_000}
# Requests from resolving a checkpoint to its weights, by the limit that they count for; counted on the tests' Hub.
HUB_REQUESTS = {"API": 3, "files": 11}
CHECKPOINTS, DATASETS = 1_000, 10
GPUS = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Parts:
    """What one checkpoint costs, by part. Bytes and seconds are of `INPUTS` inputs and `WIDTH` features.

    Attributes:
        speedup: seconds on one worker / on two, one a round.
        overhead: seconds on one worker / in this process without Ray, one a round.
        input_parameter_seconds: one text through one parameter on one core.
        load_seconds: a checkpoint of `load_bytes` from the page cache into memory.
        load_bytes: its weights.
        start_seconds: a worker starts and imports what it needs; on a GPU every task has a fresh one.
        task_seconds: the driver's share of one task: handing it over and taking its result.
        features_bytes: of one checkpoint.
        features_seconds: they are written to the cache.
        score_seconds: all default estimators.
    """

    speedup: list[float]
    overhead: list[float]
    input_parameter_seconds: float
    load_seconds: float
    load_bytes: int
    start_seconds: float
    task_seconds: float
    features_bytes: int
    features_seconds: float
    score_seconds: float


def best(call: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    """Seconds of the quickest of three calls: of this process's own work, unless another clock counts more."""
    seconds = []
    for _ in range(3):
        started = clock()
        call()
        seconds.append(clock() - started)
    return min(seconds)


def children_seconds() -> float:
    """Processor seconds of the processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ---- measured --------------------------------------------------------------------------------------------------


def measure(checkpoints: int, texts: int, rounds: int) -> Parts:
    with tempfile.TemporaryDirectory() as name:
        os.environ["HF_EMMS_CACHE"] = str(Path(name, "cache"))
        folders = _checkpoints(Path(name), checkpoints)
        speedup, overhead = _workers(folders, texts, rounds)
        return Parts(speedup, overhead, *_extraction(folders[0], texts), **_small_parts(Path(name)))


def _checkpoints(root: Path, count: int) -> list[Path]:
    from scripts.bench.extraction import write_checkpoint

    folders = [root / f"checkpoint-{number}" for number in range(count)]
    for folder in folders:
        write_checkpoint(folder)
    return folders


def _workers(folders: list[Path], texts: int, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds on one worker over those on two, and over those without Ray; clusters take turns."""
    import datasets
    import ray

    import hf_emms
    from scripts.bench.extraction import made_up_texts

    rows = [{"text": text, "label": number % 5} for number, text in enumerate(made_up_texts(texts))]
    names = datasets.ClassLabel(names=[f"class {number}" for number in range(5)])
    dataset = datasets.Dataset.from_list(rows, datasets.Features(text=datasets.Value("string"), label=names))

    def rank(engine: str, count: int = len(folders)) -> None:
        ids = [str(folder) for folder in folders[:count]]
        ranking = hf_emms.rank(dataset, ids, encoders="demo", cache=False, engine=engine)
        assert all(row.error is None for row in ranking.rows)

    seconds: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for _ in range(rounds):
        for workers in seconds:
            if workers:
                ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
            rank("ray" if workers else "local", max(1, workers))  # imports, once a worker
            seconds[workers].append(timed(lambda workers=workers: rank("ray" if workers else "local")).wall)
            ray.shutdown()
    pairs = list(zip(seconds[1], seconds[2], seconds[0], strict=True))
    return [one / two for one, two, _ in pairs], [one / alone for one, _, alone in pairs]


def _extraction(folder: Path, texts: int) -> tuple[float, float, int]:

    from hf_emms.features.extraction_plan import plan_extraction
    from hf_emms.hub import Repo
    from hf_emms.inputs import TEXT
    from scripts.bench.extraction import made_up_texts

    def load() -> Any:
        return TEXT.load_extractor(
            plan_extraction(Repo(str(folder), "model", "local", folder), TEXT, "benchmark"), device="cpu"
        )

    extractor, inputs = load(), made_up_texts(texts)
    seconds = best(lambda: list(extractor.batches(inputs)))
    weights = (folder / "model.safetensors").stat().st_size
    return seconds / texts / extractor.parameters, best(load), weights


def _small_parts(folder: Path) -> dict[str, Any]:
    import ray

    from hf_emms.cache import Cache
    from hf_emms.options import Options
    from hf_emms.run.engines.checkpoint import score_estimators, scoring_inputs
    from hf_emms.run.engines.extraction import Shard
    from hf_emms.scoring.labels import LabelTable

    rng = np.random.default_rng(0)
    features = rng.normal(size=(INPUTS, WIDTH)).astype(np.float32)
    settings, rows = Options("unused"), np.arange(INPUTS)
    tables = tuple(rng.normal(size=(100, 384)) for _ in range(3))
    labels = LabelTable(rng.integers(0, 100, INPUTS), tables)
    part = Shard((), rows, rows, rows.astype(np.uint64))
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    nothing = ray.remote(_nothing)
    ray.get(nothing.remote())
    count = 300
    wall = time.perf_counter
    task = best(lambda: ray.get([nothing.remote() for _ in range(count)]), wall) / count
    ray.shutdown()
    cache = Cache(folder / "cache")
    store = best(lambda: cache.put("features", {"id": "bench"}, {"features": features}), wall)
    program = [sys.executable, "-c", "import hf_emms.run.engines.ray, hf_emms.features.load"]
    return {
        "start_seconds": best(lambda: subprocess.run(program, check=True), children_seconds),
        "task_seconds": task,
        "features_bytes": features.nbytes,
        "features_seconds": store,
        "score_seconds": best(
            lambda: score_estimators(scoring_inputs(features, None, part, labels, settings), settings)
        ),
    }


def _nothing() -> None:
    pass


# ---- simulated -------------------------------------------------------------------------------------------------


def sizes(count: int) -> np.ndarray:
    """Parameters of made-up checkpoints: from 20 to 400 million, most around 90."""
    return np.clip(np.random.default_rng(0).lognormal(np.log(9e7), 0.7, count), 2e7, 4e8)


def wall_seconds(parts: Parts, parameters: np.ndarray, gpus: int) -> tuple[float, float]:
    """Seconds of a whole ranking and the busy seconds of its GPUs: tasks go to whichever GPU is free first.

    Within one dataset the engine hands out checkpoints in their order; one dataset comes after the other. The driver
    hands tasks over one at a time. A node downloads a checkpoint the first time that it runs there.
    """
    nodes = -(-gpus // GPUS_A_NODE)
    load_rate = parts.load_bytes / parts.load_seconds
    there: list[set[int]] = [set() for _ in range(nodes)]
    driver = clock = busy = 0.0
    for _ in range(DATASETS):
        free = [(clock, gpu) for gpu in range(gpus)]
        heapq.heapify(free)
        for index, size in enumerate(parameters):
            ready, gpu = heapq.heappop(free)
            driver = max(driver, ready) + parts.task_seconds
            node, weights = gpu // GPUS_A_NODE, 4 * size
            download = 0.0 if index in there[node] else weights / (LINK_BYTES / min(gpus, GPUS_A_NODE))
            there[node].add(index)
            seconds = (
                parts.start_seconds + weights / load_rate + INPUTS * size * parts.input_parameter_seconds / GPU_SPEEDUP
            ) + (parts.features_seconds + parts.score_seconds)
            busy += seconds
            heapq.heappush(free, (driver + download + seconds, gpu))
        clock = max(when for when, _ in free)
    return clock, busy


def simulate(parts: Parts) -> str:
    """The table, in Markdown."""
    parameters = sizes(CHECKPOINTS)
    weights = 4 * parameters.sum()
    alone, _ = wall_seconds(parts, parameters, 1)
    lines = [
        "| GPUs | nodes | hours | speed-up | GPUs busy | downloaded | Hub requests in 5 min |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for gpus in GPUS:
        wall, busy = wall_seconds(parts, parameters, gpus)
        nodes = -(-gpus // GPUS_A_NODE)
        # The first dataset finds empty caches. Later a node now and then gets a checkpoint that another one has had.
        rates = {kind: count * CHECKPOINTS * 300 / (wall / DATASETS) for kind, count in HUB_REQUESTS.items()}
        requests = ", ".join(f"{rate:,.0f} {kind}{'!' if rate > LIMITS[kind] else ''}" for kind, rate in rates.items())
        seen = CHECKPOINTS * (1 - (1 - 1 / nodes) ** DATASETS)
        lines.append(
            f"| {gpus} | {nodes} | {wall / 3600:.1f} | {alone / wall:.1f} | {busy / wall / gpus:.0%} "
            f"| {weights / CHECKPOINTS * seen * nodes / 1e12:.2f} TB | {requests} |"
        )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--checkpoints", type=int, default=4)
    measuring.add_argument("--texts", type=int, default=800)
    measuring.add_argument("--rounds", type=int, default=3)
    measuring.add_argument("--output", type=Path, required=True)
    commands.add_parser("simulate").add_argument(
        "--parts", type=Path, default=PARTS, help="default: those of docs/scaling.md"
    )


def run(options: argparse.Namespace) -> None:
    """Measure into a file, or print the table that follows from one."""
    if options.command == "simulate":
        print(simulate(Parts(**json.loads(options.parts.read_text()))))
        return
    parts = measure(options.checkpoints, options.texts, options.rounds)
    print(f"{os.cpu_count()} cores, load of the last minutes {os.getloadavg()[1]:.1f}")
    options.output.write_text(json.dumps(asdict(parts), indent=2))
    for name in ("speedup", "overhead"):
        ratios = getattr(parts, name)
        print(f"{name}: {spread(ratios, digits='.2f')}, {len(ratios)} rounds")
    print(options.output.read_text())
