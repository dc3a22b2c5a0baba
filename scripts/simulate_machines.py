"""Simulate many checkpoints on many datasets on many workers, for docs/scaling.md.

    python -m scripts.simulate_machines [--overhead SECONDS] [--first SECONDS] [--unit SECONDS]

`python -m scripts.bench parts` measures both overheads on your machine. The Hub allows 1,000 API requests and 5,000
file requests per account in five minutes. A checkpoint that a cache lacks needs 3 and 11 of them. With a shared
HF_HOME a checkpoint is downloaded once, but every unit still resolves its name, by one API request. With snapshots in
advance (HF_HUB_OFFLINE=1) there are no requests. The worker that reads a dataset first pays the first overhead.
"""

from __future__ import annotations

import argparse

CHECKPOINTS, DATASETS, WORKERS = 500, 50, (8, 64, 512)
WINDOW, API_LIMIT, FILE_LIMIT = 300.0, 1000, 5000
API_REQUESTS, FILE_REQUESTS = 3, 11


def seconds_of(workers: int, overhead: float, first: float, unit: float) -> dict[str, float]:
    """Return the seconds that the work and the Hub's limits require, if each were the only limit."""
    units = CHECKPOINTS * DATASETS
    starts = min(workers, units) * DATASETS  # each worker reads each dataset
    downloads = min(workers, DATASETS) * CHECKPOINTS  # of workers with their own caches
    return {
        "work": (units * (unit + overhead) + starts * (first - overhead)) / workers,
        "own HF_HOME": max(downloads * API_REQUESTS / API_LIMIT, downloads * FILE_REQUESTS / FILE_LIMIT) * WINDOW,
        "shared HF_HOME": max(units / API_LIMIT, CHECKPOINTS * FILE_REQUESTS / FILE_LIMIT) * WINDOW,
    }


def main() -> None:
    """Print a table of hours by number of workers, and what limits a shared HF_HOME."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--overhead", type=float, default=0.05, help="seconds per unit after the first of a process")
    parser.add_argument("--first", type=float, default=4.0, help="seconds of the first unit of a process")
    parser.add_argument("--unit", type=float, default=30.0, help="seconds of a checkpoint on a dataset")
    options = parser.parse_args()
    print("| workers | work | requests, own HF_HOME | requests, shared HF_HOME | limit of the shared one |")
    print("|---|---|---|---|---|")
    for workers in WORKERS:
        seconds = seconds_of(workers, options.overhead, options.first, options.unit)
        hours = " | ".join(f"{value / 3600:.1f} h" for value in seconds.values())
        limit = "work" if seconds["work"] >= seconds["shared HF_HOME"] else "requests"
        print(f"| {workers} | {hours} | {limit} |")


if __name__ == "__main__":
    main()
