"""A model card as a browser shows it.

    python -m scripts.docs model_card [--ranking FILE …] [--checkpoint NAME]

Without rankings those of the demo are made first. The Markdown is rendered as GitHub-flavoured Markdown and opened in a
headless Chromium (CHROMIUM names another one).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt

from hf_emms.publish.cards import model_card
from hf_emms.ranking import Ranking
from scripts.docs.screenshots import ROOT, opened

CHECKPOINT = "emms-demo/resnet-distilled"  # a candidate for two of the demo's datasets
STYLE = """
body { font: 15px/1.55 "Source Sans Pro", "Noto Sans", "DejaVu Sans", sans-serif; color: #1f2328; margin: 28px 36px; }
h1, h2, h3 { line-height: 1.25; } h2 { border-bottom: 1px solid #d8dee4; padding-bottom: .25em; }
table { border-collapse: collapse; margin: 1em 0; } th, td { border: 1px solid #d0d7de; padding: 5px 11px; }
tr:nth-child(2n) { background: #f6f8fa; } a { color: #0969da; text-decoration: none; }
code { background: #eff1f3; border-radius: 5px; padding: .15em .35em; font: 85% "DejaVu Sans Mono", monospace; }
pre { background: #f6f8fa; border-radius: 6px; padding: 14px; overflow: auto; }
pre code { background: none; padding: 0; }
summary { cursor: pointer; margin: .6em 0; }
"""


def page(readme: bytes) -> str:
    """The README as a page; its metadata block is no text."""
    text = readme.decode().removeprefix("\ufeff")
    if text.startswith("---"):
        text = text.split("---", 2)[2]
    body = MarkdownIt("gfm-like").render(text)
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{body}"


def picture(html: str, target: Path, *, width: int = 1000) -> None:
    """Opens the page and the first dataset's details, and takes the picture."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "card.html")
        file.write_text(html, encoding="utf-8")
        with opened(file.as_uri(), (width, 600)) as view:
            view.locator("details").first.evaluate("details => { details.open = true }")
            view.screenshot(path=target, full_page=True)


def demo_rankings(folder: Path) -> list[Path]:
    """Runs the demo; returns its rankings."""
    command = [str(Path(sys.executable).with_name("hf-emms")), "demo", "--output", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return sorted(folder.glob("*.json"))


def main() -> None:
    """Renders the card of one checkpoint; the rankings that do not hold it are left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranking", type=Path, action="append", help="what hf-emms rank --output wrote")
    parser.add_argument("--checkpoint", default=CHECKPOINT, help=f"default: {CHECKPOINT}")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images" / "model-card.png")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = asked.ranking or demo_rankings(Path(folder))
        rankings = [Ranking.from_json(file.read_bytes()) for file in files]
    holding = [ranking for ranking in rankings if asked.checkpoint in ranking]
    card = model_card(holding, asked.checkpoint, checkpoint=asked.checkpoint)
    picture(page(card.updated(None)), asked.output)
