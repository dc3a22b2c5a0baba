"""Pictures of the pages for the documentation.

    python -m scripts.docs screenshots [NAME …]

Each page runs as its Space would run it, and is opened in a headless Chromium (CHROMIUM names another one).
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 300.0  # seconds, on a machine that does much else
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
]


@dataclass(frozen=True)
class Page:
    """A page and what is done on it before the picture is taken."""

    app: Path
    picture: Path
    act: Callable[[Any], None]
    size: tuple[int, int] = (1200, 700)
    query: str = ""
    shows_demo: bool = False


def chromium() -> str | None:
    """The browser's path, or None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def served(app: Path, python: Sequence[Path | str] = (sys.executable,), **environment: str) -> Iterator[str]:
    """Runs a Gradio app in a process of its own, with the words that start an interpreter; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
        **environment,
    }
    process = subprocess.Popen([*map(str, python), str(app)], cwd=app.parent, env={**os.environ, **settings})
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process)
        yield address
    finally:
        process.terminate()
        process.wait()


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"the page's process ended with {process.returncode}")
        try:
            with urllib.request.urlopen(address, timeout=STARTS_WITHIN):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise RuntimeError(f"{address} did not answer within {STARTS_WITHIN:.0f} s")


@contextmanager
def opened(address: str, size: tuple[int, int] = (1200, 700)) -> Iterator[Any]:
    """A browser page at an address, closed afterwards."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=CHROMIUM_ARGUMENTS)
        try:
            width, height = size
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(address, wait_until="load")
            yield page
        finally:
            browser.close()


def _score_the_example(page: Any) -> None:
    page.get_by_role("button", name="Score the example").click()
    page.get_by_text("The best mixture of the F-labels").wait_for()
    page.locator(".vega-embed canvas, .vega-embed svg").first.wait_for()
    page.wait_for_timeout(1500)  # the chart grows into place


def _wait_for_the_table(page: Any) -> None:
    page.locator("table.board tbody tr").first.wait_for()


def _leaderboard(name: str, size: tuple[int, int], query: str = "") -> Page:
    picture = ROOT / "docs" / "images" / f"leaderboard-{name}.png"
    return Page(ROOT / "spaces_app" / "app.py", picture, _wait_for_the_table, size, query, shows_demo=True)


@contextmanager
def demo_rankings() -> Iterator[str]:
    """A folder with the demo's rankings; they are computed where the cache doesn't have them."""
    from hf_emms.cli.demo_command import write_rankings

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "demo"  # its name is on the page
        for name, _ in write_rankings(folder):
            print(f"ranked: {name}", file=sys.stderr)
        yield str(folder)


_FASHION = "task=image-classification&ranking=fashion"
_COMPARED = "with=emms-demo%2Fresnet-drawings&with=emms-demo%2Fswin-distilled&with=emms-demo%2Fresnet-distilled"
PAGES = {
    "leaderboard-light": _leaderboard("light", (1280, 900), _FASHION),
    "leaderboard-dark": _leaderboard("dark", (1280, 900), f"{_FASHION}&__theme=dark"),
    "leaderboard-phone": _leaderboard("phone", (390, 844), _FASHION),
    "leaderboard-across": _leaderboard("across", (1280, 900), f"{_FASHION}&tab=across&scope=all"),
    "leaderboard-compare": _leaderboard("compare", (1280, 900), f"{_FASHION}&{_COMPARED}"),
    "leaderboard-checkpoint": _leaderboard("checkpoint", (1280, 700), "checkpoint=emms-demo%2Fresnet-distilled"),
    "metric": Page(
        ROOT / "hf_emms" / "metric" / "emms" / "app.py",
        ROOT / "hf_emms" / "metric" / "emms" / "screenshot.png",
        _score_the_example,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PAGES)}; all of them by default")
    names = parser.parse_args().names
    if unknown := set(names) - set(PAGES):
        parser.error(f"no page is named {', '.join(sorted(unknown))}")
    with ExitStack() as demo:
        results = ""
        for name in names or PAGES:
            page = PAGES[name]
            page.picture.parent.mkdir(parents=True, exist_ok=True)
            if page.shows_demo and not results:
                results = demo.enter_context(demo_rankings())
            with ExitStack() as stack:
                settings = {"EMMS_RESULTS": results} if page.shows_demo else {}
                address = stack.enter_context(served(page.app, **settings))
                browser = stack.enter_context(opened(f"{address}/?{page.query}", page.size))
                page.act(browser)
                browser.screenshot(path=page.picture)
            print(page.picture.relative_to(ROOT))
