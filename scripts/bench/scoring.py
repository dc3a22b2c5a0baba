"""Seconds of EMMS (`exact` and `cv`) against the official one-pass function and against the bare matrix products.

python -m scripts.bench scoring [--rounds 7]
"""

from __future__ import annotations

import argparse
import json

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=7)


def run(options: argparse.Namespace) -> None:
    """Print one table for captions and one for classes."""
    check_plain_one_pass()
    x, z = captions_problem()
    flat = z.reshape(len(z), -1)
    contestants = {
        "official": lambda: plain_one_pass(x, z),
        "products": lambda: (x.T @ x, x.T @ flat),
        "exact": lambda: emms(x, z, method="exact"),
        "cv": lambda: emms(x, z, method="cv"),
    }
    _report("captions: N=5,000 D1=768 D2=1,024 K=3, dense float32", interleave(contestants, options.rounds))
    x, labels = classes_problem()
    z = dense(labels)
    contestants |= {
        "products": lambda: x.T @ x,
        "exact": lambda: emms(x, labels, method="exact"),
        "cv": lambda: emms(x, labels, method="cv"),
    }
    title = "classes: N=20,000 D1=2,048, 100 classes, D2=1,024 K=3, float32"
    _report(title, interleave(contestants, max(2, options.rounds // 2)))


def _report(title: str, seconds: dict[str, list[Seconds]]) -> None:
    print(f"\n### {title}\n\n| run | seconds | official / run | run / products |\n|---|---|---|---|")
    for name, own in seconds.items():
        cells = (
            spread([one.wall for one in own]),
            spread(ratios(seconds["official"], own), "×"),
            spread(ratios(own, seconds["products"]), "×"),
        )
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\ncv / exact: {spread(ratios(seconds['cv'], seconds['exact']), '×')}")
