"""Update the output of commands in README.md and docs/: `python -m scripts.docs outputs`.

A text block that starts with "$ hf-emms …" shows the output of this command; a line "…" omits lines. The script first
runs the page's indented commands that rank demo data without the Hub, and writes its table of fine-tuned scores. It
keeps the seconds of the page, because other work on a machine changes them.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("demo", "read-the-table", "validate"))]
# A fenced block, or an indented command.
_STEP = re.compile(
    r"^```(?:text|csv)?\n(?P<block>.*?)^```"
    r"|^ {4}(?P<command>hf-emms rank --dataset demo_\w+ (?![^\n]*--results)[^\n]*)",
    re.M | re.S,
)
_LEFT_OUT = "…"


@dataclass(frozen=True)
class Shown:
    """A block of a page, and the current output of its command in the same form."""

    command: str
    block: str
    found: str


def outputs(page: Path) -> Iterator[Shown]:
    """Run the commands of a page, in order."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for step in _STEP.finditer(text):
            block, command = step["block"], step["command"]
            if command:
                _run(command, Path(folder))
            elif block.startswith("checkpoint,"):
                Path(folder, "finetuned.csv").write_text(block, encoding="utf-8")
            elif block.startswith("$ hf-emms "):
                command = block.splitlines()[0].removeprefix("$ ")
                found = _run(command, Path(folder))
                yield Shown(command, block, _as_shown(block, found))


def _run(command: str, folder: Path) -> str:
    """Return the output of a command, with its table as on a terminal, and without progress."""
    words = shlex.split(command)[1:]
    environment = os.environ | {"HF_EMMS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-m", "hf_emms", *words, "--format", "table"],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    # validate prints explanations to standard error.
    return done.stdout + (done.stderr if words[0] == "validate" else "")


def _as_shown(block: str, output: str) -> str:
    """Replace the output of a block; omit the same lines, and keep the seconds of checkpoints."""
    first, *old = block.splitlines()
    new = output.rstrip("\n").splitlines()
    if old and old[0].endswith(" seconds"):
        seconds = {line.split()[1]: line.split()[-1] for line in old[2:] if line != _LEFT_OUT}
        new = [_with_seconds(line, seconds) for line in new]
    if _LEFT_OUT in old:
        place = old.index(_LEFT_OUT)
        new = [*new[:place], _LEFT_OUT, *new[len(new) - (len(old) - place - 1) :]]
    return "\n".join([first, *new]) + "\n"


def _with_seconds(line: str, seconds: dict[str, str]) -> str:
    words = line.split()
    if len(words) < 3 or words[1] not in seconds:
        return line
    return line[: -len(words[-1])].rstrip() + seconds[words[1]].rjust(len(line) - len(line[: -len(words[-1])].rstrip()))


def main() -> None:
    """Write the current output of commands into the pages."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for shown in outputs(page):
            text = text.replace(shown.block, shown.found)
        page.write_text(text, encoding="utf-8")
