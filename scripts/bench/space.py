"""Measure the leaderboard on this machine: its start, its pages in a browser, on a slow phone, and under load.

    python -m scripts.bench space [--repeat 5]

- Start: from the command to the first page, and the memory after it, for 27 rankings of 20 checkpoints. The CPU time of
  an idle server, with and without Gradio.
- Browser: 20,000 rows in 200 rankings. From navigation to the first row, and from the last letter of a search or the
  click on a header to the new table. The phone has a processor that is 6 times slower, and Slow 3G.
- Load: seconds per page for fifty concurrent clients.

It prints minimum, median and maximum, and exits with an error if a minimum exceeds its budget. The minimum suffers
least from other work on the machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hf_emms.ranking import Encoder, Ranking, Row, Seconds, ranked
from hf_emms.scoring import Score
from scripts.docs.screenshots import ROOT, opened

RANKINGS, ROWS, CLIENTS = 200, 100, 50
FEW_RANKINGS, FEW_ROWS = 27, 20
IDLE_SECONDS = 20
PORT = 7979
TASKS = ("image-classification", "text-classification", "image-to-text", "question-answering")
BUDGETS = {
    "start to the first page, s": 1.5,
    "memory after the first page, MB": 80,
    "idle, % of a core": 0.5,
    "idle with Gradio, % of a core": 0.5,
    "navigation to the first row, s": 0.4,
    "filter, s": 0.2,
    "sort, s": 0.2,
    "navigation to the heat map, s": 1.0,
    "phone, navigation to the first row, s": 3.0,
    "phone, filter, s": 0.2,
    "phone, sort, s": 0.2,
}
TABS = {
    "the heat map": ("tab=across", "table.heat tbody tr"),
    "the plot": ("tab=rankings", "svg.plot"),
}
# As in Chromium's developer tools: bytes per second, and milliseconds.
SLOW_3G = {"offline": False, "downloadThroughput": 50_000, "uploadThroughput": 50_000, "latency": 2000}
PHONE_SLOWDOWN = 6
# Acts on the page, and returns the seconds until the first visible row of the table is another one and painted.
_UNTIL_CHANGED = """([act, argument]) => new Promise((done) => {
    const rows = () => [...document.querySelectorAll("table.board tbody tr")];
    const first = () => rows().find((row) => row.offsetParent)?.innerText;
    const before = first();
    const start = performance.now();
    const look = () => {
        if (first() === before || document.querySelector("main[aria-busy]")) requestAnimationFrame(look);
        else requestAnimationFrame(() => done((performance.now() - start) / 1000));
    };
    if (act === "search") {
        const box = document.querySelector("#emms-q");
        box.value = argument;
        box.dispatchEvent(new Event("input", { bubbles: true }));
    } else document.querySelector(`th[data-column="${argument}"] a`).click();
    look();
})"""


class Server(NamedTuple):
    """A running server, and the seconds from its start to the first page."""

    url: str
    process: subprocess.Popen[bytes]
    seconds: float

    def memory(self) -> float:
        """Return the resident memory in MB."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def idle(self) -> float:
        """Return the share of a core that it uses without requests, in percent."""
        before = self._ticks()
        time.sleep(IDLE_SECONDS)
        return 100 * (self._ticks() - before) / os.sysconf("SC_CLK_TCK") / IDLE_SECONDS

    def _ticks(self) -> int:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])


@contextmanager
def running(*command: str, **environment: str) -> Iterator[Server]:
    """Run a Python command that serves the leaderboard on PORT."""
    url, start = f"http://127.0.0.1:{PORT}", time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(url):
            if process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}")
            time.sleep(0.01)
        yield Server(url, process, time.perf_counter() - start)
    finally:
        process.terminate()
        process.wait()


def local(folder: str) -> AbstractContextManager[Server]:
    """Run `hf-emms leaderboard`."""
    return running("-m", "hf_emms", "leaderboard", "--results", folder, "--port", str(PORT))


def in_gradio(folder: str) -> AbstractContextManager[Server]:
    """Run the app of the Space."""
    settings = {"GRADIO_SERVER_PORT": str(PORT), "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1"}
    return running(str(ROOT / "spaces_app" / "app.py"), EMMS_RESULTS=folder, **settings)


def _answers(url: str) -> bool:
    try:
        return bool(_fetch(url))
    except OSError:
        return False


def fill(folder: Path, rankings: int = RANKINGS, length: int = ROWS) -> None:
    """Write rankings that share checkpoints."""
    rng = np.random.default_rng(0)
    for number in range(rankings):
        rows = [_row(rng, int(checkpoint)) for checkpoint in rng.choice(10 * length, length, replace=False)]
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


def actions(page: Any, repeat: int) -> dict[str, list[float]]:
    """Return the seconds of searches for single checkpoints, and of sorting by size in both directions."""
    names = page.locator("table.board tbody th .name").all_text_contents()
    times: dict[str, list[float]] = {"filter, s": [], "sort, s": []}
    for name in names[5 : 5 + repeat]:
        times["filter, s"].append(page.evaluate(_UNTIL_CHANGED, ["search", name]))
    page.evaluate(_UNTIL_CHANGED, ["search", ""])
    for _ in range(repeat):
        times["sort, s"].append(page.evaluate(_UNTIL_CHANGED, ["sort", "parameters"]))
    return times


def on_a_phone(browser: Any, address: str, repeat: int) -> tuple[dict[str, list[float]], int]:
    """Return the seconds of `navigation` without a cache and of `actions` on a slow phone, and the received bytes."""
    times: dict[str, list[float]] = {"navigation to the first row, s": []}
    for number in range(repeat):
        context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
        phone = context.new_page()
        session = context.new_cdp_session(phone)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", SLOW_3G)
        session.send("Emulation.setCPUThrottlingRate", {"rate": PHONE_SLOWDOWN})
        times["navigation to the first row, s"].append(navigation(phone, address))
        phone.wait_for_load_state()
        first_visit = int(phone.evaluate("performance.getEntriesByType('navigation')[0].transferSize"))
        if number == repeat - 1:
            times |= actions(phone, repeat)
        context.close()
    return {f"phone, {name}": seconds for name, seconds in times.items()}, first_visit


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
    parser.add_argument("--repeat", type=int, default=5, help="measurements of each kind (default: 5)")
    parser.add_argument("--seconds", type=float, default=15, help="how long the clients ask (default: 15)")


def starts(repeat: int) -> dict[str, list[float]]:
    """Measure the start and the memory of the server, and its CPU time without requests."""
    figures: dict[str, list[float]] = {"start to the first page, s": [], "memory after the first page, MB": []}
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), FEW_RANKINGS, FEW_ROWS)
        for _ in range(repeat):
            with local(folder) as server:
                figures["start to the first page, s"].append(server.seconds)
                figures["memory after the first page, MB"].append(server.memory())
        for name, start in {"idle": local, "idle with Gradio": in_gradio}.items():
            with start(folder) as server:
                figures[f"{name}, % of a core"] = [server.idle()]
    return figures


def run(options: argparse.Namespace) -> None:
    """Print the figures; exit with an error if one exceeds its budget."""
    repeat = options.repeat
    figures = starts(repeat)
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder))
        with local(folder) as server, opened(server.url) as page:
            url = server.url
            figures["start to the first page with 20,000 rows, s"] = [server.seconds]
            figures["memory after the first page with 20,000 rows, MB"] = [server.memory()]
            address = f"{url}/?ranking={TASKS[0]}%2Fdataset-000"
            figures["navigation to the first row, s"] = [navigation(page, address) for _ in range(repeat)]
            figures |= actions(page, repeat)
            for name, (query, drawing) in TABS.items():
                view = f"{url}/?{query}"
                figures[f"navigation to {name}, s"] = [navigation(page, view, drawing) for _ in range(repeat)]
            phone, received = on_a_phone(page.context.browser, address, repeat)
            figures |= phone
            waits = crowd(url, CLIENTS, options.seconds)
    print("\n### The leaderboard\n\n| | minimum | median | maximum | budget |\n|---|---|---|---|---|")
    for name, values in figures.items():
        cells = (f"{value:.3g}" for value in (min(values), statistics.median(values), max(values)))
        print(f"| {name} | {' | '.join(cells)} | {BUDGETS.get(name, '')} |")
    print(f"\nThe first visit of the phone: {received / 1000:,.1f} kB.")
    print(
        f"{CLIENTS} clients at once for {options.seconds:g} s: {len(waits):,} pages, median "
        f"{statistics.median(waits):.3f} s, longest {max(waits):.2f} s, no error."
    )
    over = [name for name, most in BUDGETS.items() if min(figures[name]) > most]
    if over:
        sys.exit(f"over budget: {', '.join(over)}")
