"""Measure the leaderboard Space in a browser, with 20,000 rows in 200 rankings.

    python -m scripts.bench space [--repeat 5]

It measures the seconds from navigation to the first row, on a desktop and on a phone over slow 4G, from the last letter
of a search to the table, and for each of fifty concurrent clients. It prints minimum, median and maximum. The minimum
suffers least from other work on the machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from hf_emms.ranking import Encoder, Ranking, Row, Seconds, ranked
from hf_emms.scoring import Score
from scripts.docs.screenshots import ROOT, opened, served

RANKINGS, ROWS, CLIENTS = 200, 100, 50
TASKS = ("image-classification", "text-classification", "image-to-text", "question-answering")
BUDGETS = {
    "navigation to the first row": 0.4,
    "filter": 0.4,
    "navigation to the heat map of all tasks": 1.0,
    "phone on slow 4G, navigation to the first row": 1.0,
}
TABS = {
    "the heat map of all tasks": ("tab=across&scope=all", "table.heat tbody tr"),
    "the shortlist": ("tab=choose", "table.plain tbody tr"),
    "the plot": ("tab=cost", "svg.plot"),
}
# As in Chromium's developer tools: bytes per second, and milliseconds.
SLOW_4G = {"offline": False, "downloadThroughput": 180_000, "uploadThroughput": 84_375, "latency": 562.5}


def fill(folder: Path) -> None:
    """Write rankings that share checkpoints."""
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
    folds = tuple((-abs(rng.normal(0.5, 0.2)) - abs(rng.normal(0, 0.01, 5))).tolist())
    mean = float(np.mean(folds))
    scores = {
        "emms": Score(mean, 0.005, folds, {"weights": [1.0], "r2": 1 + mean, "ridge": 0.1}),
        "logme": Score(float(rng.normal())),
        "knn": Score(float(rng.uniform()), 0.01),
    }
    size = int(10 ** rng.uniform(6, 9.5))
    name = f"org-{checkpoint % 37}/checkpoint-{checkpoint:04}"
    return Row(
        name, "a" * 40, scores=scores, parameters=size, width=768, seconds=Seconds(float(rng.uniform(1, 99)), 0.2)
    )


def navigation(page: Any, address: str, drawn: str = "table.board tbody tr") -> float:
    """Return the seconds from navigation to the first drawn element."""
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator(drawn).first.wait_for()
    return time.perf_counter() - start


def on_a_phone(page: Any, address: str) -> tuple[float, int]:
    """Return the seconds of `navigation` without a cache over slow 4G, and the received bytes."""
    context = page.context.browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    phone = context.new_page()
    session = context.new_cdp_session(phone)
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW_4G)
    seconds = navigation(phone, address)
    phone.wait_for_load_state()
    context.close()
    return seconds, int(sum(received))


def filtered(page: Any, words: str) -> float:
    """Return the seconds from the last letter in the search box to the new table, measured in the page."""
    return page.evaluate(
        """words => new Promise(done => {
            const box = document.querySelector('#emms-q');
            const main = document.querySelector('main');
            const start = performance.now();
            const look = () => {
                if (!main.hasAttribute('aria-busy')) done((performance.now() - start) / 1000);
                else requestAnimationFrame(look);
            };
            box.value = words;
            box.dispatchEvent(new Event('input', {bubbles: true}));
            look();
        })""",
        words,
    )


def crowd(url: str, clients: int, seconds: float) -> list[float]:
    """Return the seconds of each page, for concurrent clients that request different rankings."""
    end = time.perf_counter() + seconds

    def visit(client: int) -> list[float]:
        times = []
        while (start := time.perf_counter()) < end:
            number = (7 * client + len(times)) % RANKINGS
            task = TASKS[number % len(TASKS)]
            _fetch(f"{url}/?ranking={task}%2Fdataset-{number:03}")
            times.append(time.perf_counter() - start)
        return times

    with ThreadPoolExecutor(clients) as pool:
        return [wait for waits in pool.map(visit, range(clients)) for wait in waits]


def _fetch(target: Any) -> bytes:
    request = urllib.request.Request(target, headers={"accept-encoding": "gzip"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeat", type=int, default=5, help="loads and filters of each kind (default: 5)")
    parser.add_argument("--seconds", type=float, default=30, help="how long the clients ask (default: 30)")


def run(options: argparse.Namespace) -> None:
    """Print the figures; exit with an error if one exceeds its budget."""
    repeat = options.repeat
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        start = time.perf_counter()
        with served(ROOT / "spaces_app" / "app.py", EMMS_RESULTS=folder) as url, opened(url) as page:
            started = time.perf_counter() - start
            figures = {"navigation to the first row": [navigation(page, url) for _ in range(repeat)]}
            figures["filter"] = [filtered(page, f"checkpoint-0{number}") for number in range(2 * repeat)]
            for name, (query, drawing) in TABS.items():
                address = f"{url}/?{query}"
                figures[f"navigation to {name}"] = [navigation(page, address, drawing) for _ in range(repeat)]
            phone = [on_a_phone(page, url) for _ in range(repeat)]
            figures["phone on slow 4G, navigation to the first row"] = [seconds for seconds, _ in phone]
            waits = crowd(url, CLIENTS, options.seconds)
    print("\n### The leaderboard in a browser\n")
    print(f"- {RANKINGS} rankings, {RANKINGS * ROWS:,} rows; the server starts and reads them in {started:.1f} s")
    for name, times in figures.items():
        budget = f"; budget {BUDGETS[name]} s" if name in BUDGETS else ""
        print(f"- {name}: {min(times):.3f} s, median {statistics.median(times):.3f}, at most {max(times):.3f}{budget}")
    print(f"- bytes on the phone: {max(received for _, received in phone) / 1000:,.1f} kB")
    print(
        f"- {CLIENTS} clients at once for {options.seconds:g} s: {len(waits):,} pages, median "
        f"{statistics.median(waits):.3f} s, longest {max(waits):.2f} s, no error"
    )
    over = [name for name, most in BUDGETS.items() if min(figures[name]) > most]
    if over:
        sys.exit(f"over budget: {', '.join(over)}")
