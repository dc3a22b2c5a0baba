"""The Markdown pages of the repository, and the code that they show."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

from tests import ROOT

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "scripts" / "README.md", *ROOT.glob("skills/*/*.md")]
)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def title_of(page: Path) -> str:
    found = re.search(r"^# (.*)$", page.read_text(encoding="utf-8"), re.M)
    assert found is not None, page
    return found[1]


def fences(page: Path, *languages: str) -> list[str]:
    """The fenced code blocks of these languages."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    return [block for language, block in blocks if language in languages]


def code_spans(page: Path) -> list[str]:
    """Inline code, line breaks in it as spaces."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]


def commands(page: Path) -> list[str]:
    """Command lines: of shell blocks, of indented blocks, after "$ ", and in inline code."""
    text = _joined(page.read_text(encoding="utf-8"))
    lines = [line for block in fences(page, "sh", "bash") for line in _joined(block).splitlines()]
    shown = [line for block in fences(page, "text", "") for line in block.splitlines()]
    lines += [line.removeprefix("$ ") for line in shown if line.startswith("$ ")]
    lines += re.findall(r"^ {4}(\S.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return [*lines, *code_spans(page)]


def _joined(text: str) -> str:
    """A text with the lines that a backslash continues on one line."""
    return re.sub(r" \\\n +", " ", text)


def imports(source: str) -> list[str]:
    """Dotted names that code imports from hf_emms and scripts, inside functions too."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}" for node in nodes for alias in node.names]
    return [name for name in names if name.startswith(("hf_emms.", "scripts."))]


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of the repository or something in one."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found is not None
    return False
