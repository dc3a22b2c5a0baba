"""Replay rules for choosing a language model on published losses of 30 fine-tuned models (arXiv 2402.02314).

`python -m scripts.quality replays FOLDER` reads flan.csv, gigaword.csv and wmt19.csv of github.com/linhaowei1/
Fine-tuning-Scaling-Law: the test loss of each model after fine-tuning on 0, 200, 400 … 1,638,400 rows. The
results are in results/language_models.json and in a table of docs/rank-language-models.md.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from scripts.quality.pools import DOCS

RESULTS = Path(__file__).parent / "results" / "language_models.json"
PAGE = DOCS / "evidence-tasks.md"
SETS = {"flan": "FLAN", "gigaword": "Gigaword", "wmt19": "WMT19"}
TARGET_ROWS = (6_400, 25_600, 1_638_400)
# Families that read the prompt with an encoder.
ENCODER_DECODERS = ("T5", "BART", "Switch")
POOLS = ("all 30", "decoder-only")
# One in this many models continues to the next rung.
_KEPT = 3

Losses = dict[int, np.ndarray]
"""Training rows to the test loss of every model, (M,)."""


def read(folder: Path) -> tuple[dict[str, Losses], np.ndarray, np.ndarray]:
    """Return the losses of each set, and the size of each model and whether it is decoder-only."""
    losses, sizes, decoder_only = {}, np.empty(0), np.empty(0)
    names = None
    for name in SETS:
        with (folder / f"{name}.csv").open() as file:
            models = sorted(csv.DictReader(file), key=lambda model: model["config name"])
        assert names in (None, [model["config name"] for model in models])
        names = [model["config name"] for model in models]
        losses[name] = {int(key): np.array([float(m[key]) for m in models]) for key in models[0] if key.isdigit()}
        sizes = np.array([float(model["size"]) for model in models])
        decoder_only = np.array([not is_encoder_decoder(model["config name"]) for model in models])
    return losses, sizes, decoder_only


def is_encoder_decoder(name: str) -> bool:
    return any(family.lower() in name.lower() for family in ENCODER_DECODERS)


# ---- rules: a value per model, lower is better, and the training rows for M models ---------------------------

Rule = Callable[[str, Mapping[str, Losses], np.ndarray, int], np.ndarray]


def _at(rows: int) -> Rule:
    return lambda name, losses, sizes, target: losses[name][rows]


def _halving(name: str, losses: Mapping[str, Losses], sizes: np.ndarray, target: int) -> np.ndarray:
    """Train all models on 200 rows, the best third on 800, and a third of these on 1,600."""
    order = np.argsort(losses[name][200], kind="stable")
    place = np.empty(len(order))
    for rows in (800, 1_600):
        kept = order[: max(2, len(order) // _KEPT ** (1 if rows == 800 else 2))]
        order = np.concatenate([kept[np.argsort(losses[name][rows][kept], kind="stable")], order[len(kept) :]])
    place[order] = np.arange(len(order))
    return place


def _two_points(name: str, losses: Mapping[str, Losses], sizes: np.ndarray, target: int) -> np.ndarray:
    """Extrapolate a line through the logarithms of rows and loss at 800 and 1,600 rows."""
    first, second = np.log(losses[name][800]), np.log(losses[name][1_600])
    return second + (second - first) / np.log(2) * np.log(target / 1_600)


def _elsewhere(name: str, losses: Mapping[str, Losses], sizes: np.ndarray, target: int) -> np.ndarray:
    return np.mean([rankdata(losses[other][target]) for other in losses if other != name], axis=0)


def _both(name: str, losses: Mapping[str, Losses], sizes: np.ndarray, target: int) -> np.ndarray:
    return rankdata(losses[name][0]) + rankdata(losses[name][200])


RULES: dict[str, tuple[Rule, Callable[[int], int]]] = {
    "short run: loss after 200 rows": (_at(200), lambda models: 200 * models),
    "zero-shot loss": (_at(0), lambda models: 0),
    "mean of both ranks": (_both, lambda models: 200 * models),
    "halving: 200, 800, 1,600 rows": (
        _halving,
        lambda models: 200 * models + 800 * (models // _KEPT) + 1_600 * max(2, models // _KEPT**2),
    ),
    "line through 800 and 1,600 rows": (_two_points, lambda models: 2_400 * models),
    "size, larger first": (lambda name, losses, sizes, target: -sizes, lambda models: 0),
    "mean rank on the other two sets": (_elsewhere, lambda models: 0),
}


def replay(losses: Mapping[str, Losses], sizes: np.ndarray) -> dict[str, Any]:
    """Return rule → rows spent and, by target rows, Spearman's correlation and regret in nats on each set."""
    results: dict[str, Any] = {}
    for title, (rule, spent) in RULES.items():
        results[title] = {"rows": spent(len(sizes)), "targets": {}}
        for target in TARGET_ROWS:
            said = {name: rule(name, losses, sizes, target) for name in losses}
            results[title]["targets"][str(target)] = {
                "spearman": [round(float(spearmanr(said[n], losses[n][target]).statistic), 3) for n in losses],
                "regret": [
                    round(float(losses[n][target][np.argmin(said[n])] - losses[n][target].min()), 4) for n in losses
                ],
            }
    return results


def pools(folder: Path) -> dict[str, Any]:
    """Replay the rules on all models and on the decoder-only models, from a folder of the published tables."""
    losses, sizes, decoder_only = read(folder)
    chosen = {POOLS[0]: np.ones(len(sizes), bool), POOLS[1]: decoder_only}
    return {
        pool: replay({name: {k: v[rows] for k, v in of.items()} for name, of in losses.items()}, sizes[rows])
        | {"models": int(rows.sum())}
        for pool, rows in chosen.items()
    }
