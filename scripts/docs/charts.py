"""The two charts of docs/evidence.md, drawn from the numbers in docs/evidence.md and docs/evidence/."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd

DOCS = Path(__file__).parents[2] / "docs"
HALVES = {
    "": "micro pool",
    "-real-image-checkpoints": "published images, quick",
    "-real-text-checkpoints": "published texts, quick",
}


def agreement() -> pd.DataFrame:
    """Return estimator → weighted τ for each pool, from the table of docs/evidence.md."""
    lines = (DOCS / "evidence.md").read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("| | EMMS + k-NN"))
    head, _, *rows = ([cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[start : start + 6])
    return pd.DataFrame(rows, columns=head).set_index("").astype(float).T


def regrets() -> pd.DataFrame:
    """Return the regret in points of the estimate's first, and after confirming two and three, for each pool."""
    found = {}
    for name, title in HALVES.items():
        table = pd.read_csv(DOCS / "evidence" / f"confirming-a-shortlist{name}.csv", index_col=0)
        found[title] = table.iloc[:, 0].astype(float)[["estimate", "confirm 2", "confirm 3"]]
    return pd.DataFrame(found).set_axis(["estimate's first", "after --confirm 2", "after --confirm 3"])


def draw_bars(table: pd.DataFrame, title: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
    table.rename(lambda label: label.replace(" (", "\n(")).plot.bar(
        ax=axes, width=0.8, rot=0, ylabel=title, legend=False
    )
    for bars in axes.containers:
        axes.bar_label(bars, fmt="%.2f", fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", frameon=False, ncols=len(table.columns), fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    draw_bars(agreement(), "weighted Kendall τ", DOCS / "images" / "evidence-agreement.png")
    draw_bars(regrets(), "points lost to the best candidate", DOCS / "images" / "evidence-confirm.png")
