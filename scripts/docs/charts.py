"""The two charts of docs/evidence.md, drawn from the numbers in docs/evidence.md and docs/evidence/."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

DOCS = Path(__file__).parents[2] / "docs"
HALVES = {
    "": "micro pool",
    "-real-image-checkpoints": "published images, quick",
    "-real-text-checkpoints": "published texts, quick",
}


def agreement() -> tuple[Sequence[str], dict[str, list[float]]]:
    """Return the estimators, and pool → weighted τ of each, from the table of docs/evidence.md."""
    lines = (DOCS / "evidence.md").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| | EMMS + k-NN"))
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[start : start + 6]]
    head, _, *rows = [row for row in rows if len(row) > 1]
    return head[1:], {row[0]: [float(cell) for cell in row[1:]] for row in rows}


def regrets() -> dict[str, list[float]]:
    """Return pool → regret in points of the estimate's first, and after confirming two and three."""
    found = {}
    for name, title in HALVES.items():
        with (DOCS / "evidence" / f"confirming-a-shortlist{name}.csv").open(encoding="utf-8") as file:
            rows = {row[0]: row[1] for row in csv.reader(file)}
        found[title] = [float(rows[key]) for key in ("estimate", "confirm 2", "confirm 3")]
    return found


def draw_bars(labels: Sequence[str], series: dict[str, list[float]], title: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        bars = axes.bar(np.arange(len(labels)) + number * width, values, width, label=name)
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.set_xticks(np.arange(len(labels)) + 0.4 - width / 2, [label.replace(" (", "\n(") for label in labels])
    axes.set_ylabel(title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", frameon=False, ncols=len(series), fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    estimators, pools = agreement()
    draw_bars(estimators, pools, "weighted Kendall τ", DOCS / "images" / "evidence-agreement.png")
    lost = regrets()
    draw_bars(
        ("estimate's first", "after --confirm 2", "after --confirm 3"),
        lost,
        "points lost to the best candidate",
        DOCS / "images" / "evidence-confirm.png",
    )
