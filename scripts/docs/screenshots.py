"""Take pictures of the pages for the documentation.

    python -m scripts.docs screenshots [NAME …]

A headless Chromium opens each page as its Space runs it, and the demo's model card as GitHub-flavoured Markdown.
CHROMIUM names another browser.
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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 300.0  # seconds, on a busy machine
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
]


def chromium() -> str | None:
    """Return the path of the browser, or None."""
    named = os.environ.get("CHROMIUM")
    return named or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def served(app: Path, python: Sequence[Path | str] = (sys.executable,), **environment: str) -> Iterator[str]:
    """Run a Gradio app in a new process, by the command of a Python interpreter; yield its address."""
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
    """Open an address in a browser; yield the page."""
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


@contextmanager
def demo_rankings() -> Iterator[str]:
    """Yield a folder with the demo's rankings, from the cache if it has them."""
    from hf_emms.cli.demo_command import write_rankings

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "demo"  # its name is on the page
        for name, _ in write_rankings(folder):
            print(f"ranked: {name}", file=sys.stderr)
        yield str(folder)


_APP = ROOT / "spaces_app" / "app.py"
_FASHION = "task=image-classification&ranking=fashion"
# Name → size and query of a page of the leaderboard.
PAGES = {
    "leaderboard-home": ((1280, 700), ""),
    "leaderboard-light": ((1280, 900), _FASHION),
    "leaderboard-across": ((1280, 900), f"{_FASHION}&tab=across"),
    "leaderboard-checkpoint": ((1280, 700), "checkpoint=emms-demo%2Fresnet-distilled"),
}
IMAGES = ROOT / "docs" / "images"
CARD = IMAGES / "model-card.png"
CARD_CHECKPOINT = "emms-demo/resnet-distilled"  # a candidate for two of the demo's datasets
CARD_STYLE = """
body { font: 15px/1.55 "Source Sans Pro", "Noto Sans", "DejaVu Sans", sans-serif; color: #1f2328; margin: 28px 36px; }
h1, h2, h3 { line-height: 1.25; } h2 { border-bottom: 1px solid #d8dee4; padding-bottom: .25em; }
table { border-collapse: collapse; margin: 1em 0; } th, td { border: 1px solid #d0d7de; padding: 5px 11px; }
tr:nth-child(2n) { background: #f6f8fa; } a { color: #0969da; text-decoration: none; }
code { background: #eff1f3; border-radius: 5px; padding: .15em .35em; font: 85% "DejaVu Sans Mono", monospace; }
pre { background: #f6f8fa; border-radius: 6px; padding: 14px; overflow: auto; }
pre code { background: none; padding: 0; }
summary { cursor: pointer; margin: .6em 0; }
"""


def take_card(results: Path) -> None:
    """Take a picture of the card that the rankings in a folder make for a checkpoint."""
    from markdown_it import MarkdownIt

    from hf_emms.publish.cards import card_of
    from hf_emms.ranking import Ranking

    rankings = [Ranking.load(file) for file in sorted(results.glob("*.json"))]
    holding = [ranking for ranking in rankings if ranking.rows_of([CARD_CHECKPOINT])]
    readme = card_of(holding, CARD_CHECKPOINT, "model").updated(None).decode()
    text = readme.removeprefix("\ufeff").split("---", 2)[2]
    file = results / "card.html"
    body = MarkdownIt("gfm-like").render(text)
    file.write_text(f"<!doctype html><meta charset=utf-8><style>{CARD_STYLE}</style>{body}", encoding="utf-8")
    with opened(file.as_uri(), (1000, 600)) as view:
        view.screenshot(path=CARD, full_page=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PAGES)}, {CARD.stem}; all by default")
    every = [*PAGES, CARD.stem]
    names = parser.parse_args().names
    if unknown := set(names) - set(every):
        parser.error(f"no page is named {', '.join(sorted(unknown))}")
    with demo_rankings() as results, served(_APP, EMMS_RESULTS=results) as address:
        for name in names or every:
            if name == CARD.stem:
                take_card(Path(results))
                continue
            size, query = PAGES[name]
            with opened(f"{address}/?{query}", size) as page:
                page.locator("main table tbody tr").first.wait_for()
                page.screenshot(path=IMAGES / f"{name}.png")
            print(name)
