"""How fast the leaderboard Space is in a real browser: 20,000 rows over 200 rankings.

    python -m scripts.bench space [--repeat 5]

As a user sees it: from navigation to the first row, and until the controls answer, on a desktop and on a phone over
slow 4G; from a letter of the search to the table; how long each of fifty clients at once waits. The fastest, which
other work on the machine slows least, the median and the slowest; the server's growth in memory; what the chart costs.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
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

from hf_emms.ranking import Encoder, Ranking, Row, Seconds, ranked
from hf_emms.scoring import Score
from scripts.docs.screenshots import ROOT, opened, served

RANKINGS, ROWS, CLIENTS = 200, 100, 50
TASKS = ("image-classification", "text-classification", "image-to-text", "question-answering")
BUDGETS = {
    "navigation to the first row": 1.0,
    "filter": 0.1,
    "navigation to the heat map of all tasks": 1.0,
    "phone on slow 4G, navigation to the first row": 4.0,
}
TABS = {
    "the heat map of all tasks": ("tab=across&scope=all", "table.heat tbody tr"),
    "the shortlist": ("tab=choose", "table.plain tbody tr"),
    "the plot": ("tab=cost", "svg.plot"),
}
# As Chromium's own developer tools define it: bytes a second, and milliseconds.
SLOW_4G = {"offline": False, "downloadThroughput": 180_000, "uploadThroughput": 84_375, "latency": 562.5}
CALLS = 1_000


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


def navigation(page: Any, address: str, drawn: str = "table.board tbody tr") -> tuple[float, float]:
    """Seconds from navigation to what is drawn first, and until the controls answer."""
    start = time.perf_counter()
    page.goto(address, wait_until="commit")
    page.locator(drawn).first.wait_for()
    seconds = time.perf_counter() - start
    page.wait_for_function("document.title.includes(' · ') && !document.getElementById('emms-first')", timeout=120_000)
    return seconds, time.perf_counter() - start


def on_a_phone(page: Any, address: str) -> tuple[float, float]:
    """`navigation` with nothing cached, over slow 4G."""
    context = page.context.browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    phone = context.new_page()
    context.new_cdp_session(phone).send("Network.emulateNetworkConditions", SLOW_4G)
    seconds = navigation(phone, address)
    context.close()
    return seconds


def chart_bytes() -> dict[str, int]:
    """Bytes of the scripts that Gradio's page loads for a chart of each library, as gzip sends them."""
    import gradio

    assets = Path(gradio.__file__).parent / "templates" / "frontend" / "assets"
    return {
        name: len(gzip.compress(next(assets.glob(f"{name}Plot-*.js")).read_bytes())) for name in ("Altair", "Plotly")
    }


def memory_growth(url: str, calls: int) -> float:
    """Megabytes that the server's process grows by over calls of new sessions, after a few to warm up."""
    call = view_call(url)
    for number in range(calls // 10):
        call(number)
    before = _resident()
    for number in range(calls):
        call(calls + number)
    return _resident() - before


def _resident() -> float:
    """Megabytes in memory of this process's children that run the app; Linux only."""
    me = os.getpid()
    children = Path(f"/proc/{me}/task/{me}/children").read_text().split()
    apps = [pid for pid in children if b"app.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    fields = [Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0] for pid in apps]
    return sum(map(int, fields)) / 1000


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
    call = view_call(url)

    def visit(number: int) -> float:
        start = time.perf_counter()
        _fetch(url)
        call(number)
        return time.perf_counter() - start

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(visit, range(clients)))


def view_call(url: str) -> Callable[[int], None]:
    """What asks for a table in a session of its own."""
    config = json.loads(_fetch(f"{url}/config"))
    load = next(one["id"] for one in config["dependencies"] if one["targets"][0][1] == "load" and one["backend_fn"])
    address, kind = f"{url}/gradio_api/run/predict", {"content-type": "application/json"}

    def call(number: int) -> None:
        body = json.dumps({"data": [f"?q={number}"], "fn_index": load, "session_hash": f"visitor{number}"}).encode()
        if b"table" not in _fetch(urllib.request.Request(address, body, kind)):
            raise RuntimeError("a client got no table")

    return call


def _fetch(target: Any) -> bytes:
    with urllib.request.urlopen(target, timeout=120) as answer:
        return answer.read()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeat", type=int, default=5, help="loads and filters of each kind (default: 5)")


def run(options: argparse.Namespace) -> None:
    """Print the figures; exits with an error where one is over its budget."""
    repeat = options.repeat
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        start = time.perf_counter()
        with served(ROOT / "spaces_app" / "app.py", EMMS_RESULTS=folder) as url, opened(url) as page:
            started = time.perf_counter() - start
            first = [navigation(page, url) for _ in range(repeat)]
            figures = {"navigation to the first row": [row for row, _ in first]}
            figures["navigation until the controls answer"] = [whole for _, whole in first]
            figures["filter"] = [filtered(page, f"checkpoint-0{number}") for number in range(2 * repeat)]
            for name, (query, drawn) in TABS.items():
                address = f"{url}/?{query}"
                figures[f"navigation to {name}"] = [navigation(page, address, drawn)[0] for _ in range(repeat)]
            drawing = len(gzip.compress(page.inner_html("div.plots").encode()))
            phone = [on_a_phone(page, url) for _ in range(repeat)]
            figures["phone on slow 4G, navigation to the first row"] = [row for row, _ in phone]
            figures["phone on slow 4G, navigation until the controls answer"] = [whole for _, whole in phone]
            waits = crowd(url, CLIENTS)
            growth = memory_growth(url, CALLS)
    print("\n### The leaderboard in a browser\n")
    print(f"- {RANKINGS} rankings, {RANKINGS * ROWS:,} rows; the server starts and reads them in {started:.1f} s")
    for name, times in figures.items():
        budget = f"; budget {BUDGETS[name]} s" if name in BUDGETS else ""
        print(f"- {name}: {min(times):.3f} s, median {statistics.median(times):.3f}, at most {max(times):.3f}{budget}")
    print(f"- {CLIENTS} clients at once: median {statistics.median(waits):.2f} s, longest {max(waits):.2f} s, no error")
    print(f"- memory after {CALLS:,} calls of new sessions: {growth:+.1f} MB, {1000 * growth / CALLS:.1f} kB each")
    others = ", ".join(f"{name} {size / 1000:,.0f} kB" for name, size in chart_bytes().items())
    print(f"- the chart of {ROWS} points: {drawing / 1000:.0f} kB; Gradio's script for one of {others} (gzip)")
    over = [name for name, most in BUDGETS.items() if min(figures[name]) > most]
    if over:
        sys.exit(f"over budget: {', '.join(over)}")
