"""How fast the leaderboard Space is in a real browser: 20,000 rows over 200 rankings.

    python -m scripts.bench space [--repeat 5]

Medians of several loads and filters, and how long each of fifty clients at once waits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hf_emms.ranking import Encoder, Ranking, Row, Score, Seconds, ranked
from scripts.docs.screenshots import ROOT, opened, served

RANKINGS, ROWS, CLIENTS = 200, 100, 50
TASKS = ("image-classification", "text-classification", "image-to-text", "question-answering")
BUDGETS = {"first table after load": 2.0, "filter": 0.3}


def fill(folder: Path) -> None:
    """Writes rankings as hf_emms writes them; checkpoints recur in several."""
    rng = np.random.default_rng(0)
    for number in range(RANKINGS):
        rows = [_row(rng, int(checkpoint)) for checkpoint in rng.choice(10 * ROWS, ROWS, replace=False)]
        task = TASKS[number % len(TASKS)]
        ranking = Ranking(
            dataset=f"dataset-{number:03}",
            dataset_id=f"org/dataset-{number:03}",
            dataset_revision="d" * 40,
            config=None,
            split="train",
            columns={"image": "image", "label": "label"},
            task=task,
            n=5000,
            n_inputs=5000,
            n_labels=10,
            settings={"seed": 0, "folds": 5},
            encoders=(Encoder("org/encoder", "e" * 40, 768, 1.0),),
            estimators=("emms", "logme", "knn"),
            versions={"hf_emms": "0"},
            created=f"2026-01-01T00:{number // 60:02}:{number % 60:02}+00:00",
            rows=ranked(rows, "emms"),
        )
        path = folder / task / f"{ranking.dataset}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ranking.to_json(), encoding="utf-8")


def _row(rng: np.random.Generator, checkpoint: int) -> Row:
    folds = tuple((rng.normal(-0.5, 0.2) + rng.normal(0, 0.01, 5)).tolist())
    scores = {
        "emms": Score(float(np.mean(folds)), 0.005, folds, {"weights": [1.0], "r2": 0.4, "ridge": 0.1}),
        "logme": Score(float(rng.normal())),
        "knn": Score(float(rng.uniform()), 0.01),
    }
    size = int(10 ** rng.uniform(6, 9.5))
    name = f"org-{checkpoint % 37}/checkpoint-{checkpoint:04}"
    return Row(
        name, "a" * 40, scores=scores, parameters=size, width=768, seconds=Seconds(float(rng.uniform(1, 99)), 0.2)
    )


def first_table(page: Any, url: str) -> float:
    """Seconds from the load event to the first drawn row."""
    page.goto(url, wait_until="load")
    start = time.perf_counter()
    page.locator("table.board tbody tr").first.wait_for()
    return time.perf_counter() - start


def filtered(page: Any, words: str) -> float:
    """Seconds from the last letter in the search box to the table that follows from it, measured in the page."""
    seconds = page.evaluate(
        """words => new Promise(done => {
            const box = document.querySelector('#emms-q textarea, #emms-q input');
            const drawn = () => document.querySelector('table.board tbody').innerText;
            const before = drawn();
            const start = performance.now();
            const look = () => {
                const seconds = (performance.now() - start) / 1000;
                if (drawn() !== before || seconds > 10) done(seconds);
                else requestAnimationFrame(look);
            };
            box.value = words;
            box.dispatchEvent(new Event('input', {bubbles: true}));
            look();
        })""",
        words,
    )
    page.wait_for_timeout(300)  # the address follows
    return seconds


def crowd(url: str, clients: int) -> list[float]:
    """Seconds that each of many clients at once waits for the page and its first table."""
    config = json.loads(_fetch(f"{url}/config"))
    load = next(one["id"] for one in config["dependencies"] if one["targets"][0][1] == "load" and one["backend_fn"])

    def visit(number: int) -> float:
        start = time.perf_counter()
        _fetch(url)
        body = json.dumps({"data": [f"?q={number}"], "fn_index": load, "session_hash": f"visitor{number}"}).encode()
        address, kind = f"{url}/gradio_api/run/predict", {"content-type": "application/json"}
        if b"table" not in _fetch(urllib.request.Request(address, body, kind)):
            raise RuntimeError("a client got no table")
        return time.perf_counter() - start

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(visit, range(clients)))


def _fetch(target: Any) -> bytes:
    with urllib.request.urlopen(target, timeout=120) as answer:
        return answer.read()


def _median(measure: Callable[[int], float], times: int) -> float:
    return statistics.median(measure(number) for number in range(times))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeat", type=int, default=5, help="loads and filters of each kind (default: 5)")


def run(options: argparse.Namespace) -> None:
    """Print the figures; exits with 1 where one is over its budget."""
    repeat = options.repeat
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        start = time.perf_counter()
        with served(ROOT / "spaces_app" / "app.py", EMMS_RESULTS=folder) as url, opened(url) as page:
            started = time.perf_counter() - start
            figures = {"first table after load": _median(lambda number: first_table(page, url), repeat)}
            page.wait_for_timeout(1000)
            figures["filter"] = _median(lambda number: filtered(page, f"checkpoint-0{number}"), 2 * repeat)
            for tab, drawn in {"across": "table.heat", "choose": "table.plain", "cost": "svg.plot"}.items():
                figures[f"tab {tab}, from its link"] = _tab(page, url, tab, drawn)
            waits = crowd(url, CLIENTS)
    print(f"{RANKINGS} rankings, {RANKINGS * ROWS:,} rows; the server starts and reads them in {started:.1f} s")
    for name, seconds in figures.items():
        print(f"{name}: {seconds:.3f} s" + (f" (at most {BUDGETS[name]} s)" if name in BUDGETS else ""))
    print(f"{CLIENTS} clients at once: median {statistics.median(waits):.2f} s, longest {max(waits):.2f} s, no error")
    sys.exit(any(figures[name] > most for name, most in BUDGETS.items()))


def _tab(page: Any, url: str, tab: str, drawn: str) -> float:
    page.goto(f"{url}/?tab={tab}", wait_until="load")
    start = time.perf_counter()
    page.locator(drawn).first.wait_for()
    return time.perf_counter() - start
