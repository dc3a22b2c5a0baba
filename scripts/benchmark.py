"""How fast hf_emms is on this machine: `python scripts/benchmark.py [scoring|memory|extraction|…] … [--write FILE]`.

`make bench` runs all of it and writes docs/benchmark.md. A step that needs a registry which cannot be reached says so,
and the others go on. Contestants run in turn (A B C, A B C, …) in one process, so that a drifting machine hits all
alike; what is compared is the ratio within each round, reported as median [min … max]. Peak memory is measured in a
fresh process each.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import metadata
from pathlib import Path

import numpy as np

from hf_emms import LabelTable, Moments, emms
from hf_emms.scoring.emms import score_moments
from hf_emms.scoring.linalg import project_simplex
from hf_emms.scoring.moments import needed_bytes

ROUNDS = 7
PAUSE = 0.2  # seconds until the threads of the contestant before, which wait for more work, leave the cores
GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "emms_scores.json"


def plain_one_pass(x: np.ndarray, z: np.ndarray) -> float:
    """The official one-pass method in plain numpy: two least squares on rows and one projection.

    As in the official function the weights are float64, and so is all that they touch.
    """
    n, d2, k = z.shape
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-8)
    z = (z - z.mean(axis=0)) / (z.std(axis=0) + 1e-8)
    start = z @ np.full(k, 1.0 / k)
    fitted = x @ np.linalg.lstsq(x, start, rcond=None)[0]
    weights = np.linalg.lstsq(z.reshape(n * d2, k), fitted.reshape(n * d2), rcond=None)[0]
    return -float(np.mean((fitted - z @ project_simplex(weights)) ** 2))


def check_plain_one_pass() -> None:
    for problem in json.loads(GOLDEN.read_text()):
        rng = np.random.default_rng(problem["seed"])
        n, d1, d2, latent = (problem[key] for key in ("N", "D1", "D2", "latent"))
        hidden = rng.normal(size=(n, latent))
        x = hidden @ rng.normal(size=(latent, d1)) + rng.normal(size=(n, d1))
        z = np.stack(
            [hidden @ rng.normal(size=(latent, d2)) + s * rng.normal(size=(n, d2)) for s in problem["noise"]], axis=2
        )
        assert abs(plain_one_pass(x, z) - problem["official_one_pass_score"]) < 1e-7, problem["seed"]


def captions_problem(n: int = 5000, d1: int = 768, d2: int = 1024, k: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(n, 64)).astype(np.float32)
    x = hidden @ rng.normal(size=(64, d1)).astype(np.float32) + rng.normal(size=(n, d1)).astype(np.float32)
    z = [hidden @ rng.normal(size=(64, d2)) + (5 + i) * rng.normal(size=(n, d2)) for i in range(k)]
    return x, np.stack(z, axis=2).astype(np.float32)


def classes_problem(
    n: int = 20_000, d1: int = 2048, u: int = 100, d2: int = 1024, k: int = 3
) -> tuple[np.ndarray, LabelTable]:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, u, n)
    x = rng.normal(size=(u, d1)).astype(np.float32)[codes] + 3 * rng.normal(size=(n, d1)).astype(np.float32)
    return x, LabelTable(codes, tuple(rng.normal(size=(u, d2)).astype(np.float32) for _ in range(k)))


def dense(labels: LabelTable) -> np.ndarray:
    return np.stack([table[labels.codes] for table in labels.tables], axis=2)


def interleave(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for current in range(rounds + 1):
        for name, run in contestants.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            if current:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: list[float], unit: str = "", digits: str = ".3g") -> str:
    low, middle, high = (f"{value:{digits}}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle}{unit} [{low} … {high}]"


def ratios(seconds: dict[str, list[float]], of: str, to: str) -> str:
    return spread([a / b for a, b in zip(seconds[of], seconds[to], strict=True)], "×")


def report_scoring(title: str, seconds: dict[str, list[float]]) -> None:
    print(f"\n### {title}\n\n| run | seconds | official / run | run / products |\n|---|---|---|---|")
    for name, values in seconds.items():
        print(
            f"| {name} | {spread(values)} | {ratios(seconds, 'official', name)} | {ratios(seconds, name, 'products')} |"
        )
    print(f"\ncv / exact: {ratios(seconds, 'cv', 'exact')}")


def bench_scoring(rounds: int) -> None:
    check_plain_one_pass()
    x, z = captions_problem()
    flat = z.reshape(len(z), -1)
    report_scoring(
        "captions: N=5,000 D1=768 D2=1,024 K=3, dense float32",
        interleave(
            {
                "official": lambda: plain_one_pass(x, z),
                "products": lambda: (x.T @ x, x.T @ flat),
                "exact": lambda: emms(x, z, method="exact"),
                "cv": lambda: emms(x, z),
            },
            rounds,
        ),
    )
    x, labels = classes_problem()
    z = dense(labels)
    report_scoring(
        "classes: N=20,000 D1=2,048, 100 classes, D2=1,024 K=3, float32",
        interleave(
            {
                "official": lambda: plain_one_pass(x, z),
                "products": lambda: x.T @ x,
                "exact": lambda: emms(x, labels, method="exact"),
                "cv": lambda: emms(x, labels),
            },
            max(2, rounds // 2),
        ),
    )


def memory_mb(field: str) -> float:
    """VmRSS (now) or VmHWM (highest since the last reset) of this process, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def memory_now() -> float:
    """MB of this process, whose peak (VmHWM) begins anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return memory_mb("VmRSS")


def memory_probe(what: str, rows: int) -> None:
    """Runs in a process of its own; prints the MB that scoring takes beside its input, and rows folded in a second."""
    x, labels = classes_problem(n=rows) if what != "stream" else (None, None)
    z = dense(labels) if what == "official" else None
    before = memory_now()
    rate = None
    if what == "stream":
        rate = stream(rows)
    elif what == "official":
        before -= z.nbytes / 2**20  # the official function cannot do without N x D2 x K
        plain_one_pass(x, z)
    else:
        emms(x, labels, method=what)
    print(json.dumps({"mb": memory_mb("VmHWM") - before, "rate": rate}))


def wide_probe(method: str, rows: int, d1: int = 8_192, classes: int = 100, folds: int = 5) -> None:
    """Runs in a process of its own; prints the bytes that a run tells before it scores, those it took, and seconds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, d1), np.float32)
    labels = LabelTable(rng.integers(0, classes, rows), tuple(rng.normal(size=(classes, 1024)) for _ in range(3)))
    emms(x[:64, :8], labels.take(np.arange(64)))  # libraries are loaded, threads started
    before = memory_now()
    started = time.perf_counter()
    moments = Moments.like(labels, d1, folds=folds)
    moments.update(x, labels)
    score_moments(moments, method)
    seconds = time.perf_counter() - started
    taken = (memory_mb("VmHWM") - before) * 2**20
    print(json.dumps({"told": needed_bytes(rows, d1, classes, folds), "taken": taken, "seconds": seconds}))


def stream(rows: int, batch: int = 1000, d1: int = 768) -> float:
    """Scores a stream of made-up rows; returns how many a second were folded in, making them up not counted."""
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
    score_moments(moments)
    return rows / seconds


def probe(what: str, rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "memory-probe", what, str(rows)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(output)


def bench_memory(rounds: int) -> None:
    rounds = min(rounds, 3)
    print("\n### Peak memory added by scoring\n\n| what | rows | MB | rows/s |\n|---|---|---|---|")
    for what in ("official", "exact", "cv"):
        values = [probe(what, 20_000)["mb"] for _ in range(rounds)]
        print(f"| classes shape, {what} | 20,000 | {spread(values, digits=',.0f')} | |")
    for rows in (10_000, 200_000, 1_000_000):
        found = [probe("stream", rows) for _ in range(rounds if rows < 1_000_000 else 1)]
        columns = [spread([one[name] for one in found], digits=",.0f") for name in ("mb", "rate")]
        print(f"| streamed, D1=768 D2=1,024, cv | {rows:,} | {' | '.join(columns)} |")
    print("\n| D1=8,192, 100 classes, 20,000 rows | told before, GB | taken at most, GB | seconds |\n|---|---|---|---|")
    for method in ("exact", "cv"):
        found = probe(f"wide-{method}", 20_000)
        print(f"| {method} | {found['told'] / 1e9:.1f} | {found['taken'] / 1e9:.1f} | {found['seconds']:.0f} |")


def bench_extraction(rounds: int) -> None:
    import torch
    from bench_extraction import compare_images, compare_texts

    print("\n### Features against a bare forward loop\n\n| inputs | elapsed | CPU | inputs/s |\n|---|---|---|---|")
    for name, result in (
        ("texts, MiniLM-sized; the loop sorts by length", compare_texts(1_500, rounds)),
        ("JPEG files, ResNet-50 at 224; the loop has decoded tensors", compare_images(48, min(rounds, 5))),
    ):
        print(f"| {name} | {spread(result.elapsed, '×')} | {spread(result.cpu, '×')} | {result.rate:.0f} |")
    print(f"\nrate / bare rate, {torch.get_num_threads()} threads")


def bench_cpu(rounds: int) -> None:
    import bench_cpu

    print("\n### What each measure for CPUs gains, one added to the other\n")
    print("\n".join(bench_cpu.compare(list(bench_cpu.TITLES), min(rounds, 5), threads=1)))


def bench_peer(rounds: int) -> None:
    import bench_peer

    print("\n### Embedding phase of transformer-ranker, all-MiniLM-L6-v2 in float32 on WordNet glosses\n")
    print("\n".join(bench_peer.compare([2_000, 4_000], min(rounds, 5), os.cpu_count() or 1)))


def bench_shared(rounds: int) -> None:
    import bench_shared

    print("\n### Pictures through ten checkpoints with the same image processor\n")
    print("\n".join(bench_shared.compare(min(rounds, 5))))


def bench_metric(rounds: int) -> None:
    import bench_metric

    bench_metric.bench_metric(rounds)


def bench_race(rounds: int) -> None:
    import bench_race

    print("\n### A race for the best 3 of 30 checkpoints against a full run\n")
    print("\n".join(bench_race.compare(min(rounds, 2), [2_000, 5_000], cpu_time=False)))


BENCHES: dict[str, Callable[[int], None]] = {
    "scoring": bench_scoring,
    "memory": bench_memory,
    "extraction": bench_extraction,
    "cpu": bench_cpu,
    "shared": bench_shared,
    "peer": bench_peer,
    "race": bench_race,
    "metric": bench_metric,
}


def report(what: str, rounds: int) -> str:
    """What a bench prints."""
    text = io.StringIO()
    with redirect_stdout(text):
        try:
            BENCHES[what](rounds)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"\n### {what}\n\nnot run: {error}")
    return text.getvalue()


def machine() -> str:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "torch", "transformers"))
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{packages}; load when it began: {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=list(BENCHES), help=f"of {', '.join(BENCHES)}; all by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write what is printed, as a page")
    arguments = parser.parse_args()
    if arguments.what[0] == "memory-probe":
        what, rows = arguments.what[1], int(arguments.what[2])
        if what.startswith("wide-"):
            wide_probe(what.removeprefix("wide-"), rows)
        else:
            memory_probe(what, rows)
        return
    command = " ".join(["python scripts/benchmark.py", *arguments.what, f"--rounds {arguments.rounds}"])
    page = [f"# Benchmark\n\n`{command}`, median [min … max].\n\n{machine()}.\n"]
    print(page[0], flush=True)
    for what in arguments.what:
        page.append(report(what, arguments.rounds))
        print(page[-1], flush=True)
    if arguments.write:
        arguments.write.write_text("".join(page), encoding="utf-8")


if __name__ == "__main__":
    main()
