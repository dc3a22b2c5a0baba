"""Processes of this machine, as /proc tells them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def descendants(title: str) -> Iterator[int]:
    """Process ids below this one whose command line begins with a title."""
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if _read(pid, "cmdline").startswith(title) and os.getpid() in ancestors(pid):
            yield pid


def ancestors(pid: int) -> Iterator[int]:
    """Parents of a process, the nearest one first."""
    while pid > 1:
        # The name, in brackets, may hold anything.
        pid = int((_read(pid, "stat").rpartition(")")[2].split() or [0, 0])[1])
        yield pid


def marked(mark: str) -> list[int]:
    """Process ids that were started with this text in their environment."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if mark in _read(int(path.name), "environ")]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended, or is somebody else's
        return ""
