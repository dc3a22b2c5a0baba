"""Seconds of EMMS (`emms_exact`, `emms`, `emms_knn`) against the official function and the bare matrix products.

    python -m scripts.bench scoring [captions|classes|wide …] [--rounds 7] [--clock cpu]

The products are XᵀX and, of dense labels, XᵀZ over all rows by numpy in float32, with as many threads. numpy computes
half of XᵀX, as it is symmetric. The official function does not run on the widest features, for which it takes minutes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from hf_emms import LabelTable, emms
from hf_emms.scoring.linalg import project_simplex
from scripts.bench.timing import ROOT, Seconds, interleave, ratios, spread

GOLDEN = ROOT / "tests" / "golden" / "emms_scores.json"


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


METHODS = ("emms_exact", "emms", "emms_knn")


def captions() -> tuple[str, dict[str, Callable[[], object]]]:
    """Title and contestants of dense labels."""
    x, z = captions_problem()
    flat = z.reshape(len(z), -1)
    runs = {"official": lambda: plain_one_pass(x, z), "products": lambda: (x.T @ x, x.T @ flat)}
    return "captions: N=5,000 D1=768 D2=1,024 K=3, dense float32", runs | _methods(x, z)


def classes() -> tuple[str, dict[str, Callable[[], object]]]:
    """Title and contestants of labels that are classes."""
    x, labels = classes_problem()
    z = dense(labels)
    runs = {"official": lambda: plain_one_pass(x, z), "products": lambda: x.T @ x}
    return "classes: N=20,000 D1=2,048, 100 classes, D2=1,024 K=3, float32", runs | _methods(x, labels)


def wide() -> tuple[str, dict[str, Callable[[], object]]]:
    """Title and contestants of wide features."""
    x, labels = classes_problem(d1=4096)
    title = "wide features: N=20,000 D1=4,096, 100 classes, D2=1,024 K=3, float32"
    return title, {"products": lambda: x.T @ x} | _methods(x, labels)


def _methods(x: np.ndarray, labels: Any) -> dict[str, Callable[[], object]]:
    return {name: lambda name=name: emms(x, labels, method=name) for name in METHODS}


SHAPES = {"captions": captions, "classes": classes, "wide": wide}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shapes", nargs="*", default=list(SHAPES), help=f"of {', '.join(SHAPES)}; all by default")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall")


def run(options: argparse.Namespace) -> None:
    """Print a table a shape."""
    check_plain_one_pass()
    for shape in options.shapes:
        title, contestants = SHAPES[shape]()
        rounds = options.rounds if shape == "captions" else max(2, options.rounds // 2)
        _report(title, interleave(contestants, rounds), options.clock)


def _report(title: str, seconds: dict[str, list[Seconds]], clock: Literal["wall", "cpu"]) -> None:
    print(f"\n### {title}\n\n| run | {clock} seconds | official / run | run / products |\n|---|---|---|---|")
    for name, own in seconds.items():
        cells = (
            spread([getattr(one, clock) for one in own]),
            spread(ratios(seconds["official"], own, clock), "×") if "official" in seconds else "–",
            spread(ratios(own, seconds["products"], clock), "×"),
        )
        print(f"| {name} | {' | '.join(cells)} |")
    pairs = (("emms", "emms_exact"), ("emms_knn", "emms"))
    print("\n" + "; ".join(f"{a} / {b}: {spread(ratios(seconds[a], seconds[b], clock), '×')}" for a, b in pairs))
