"""Processes of this machine, according to /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def descendants(title: str) -> Iterator[int]:
    """Yield the ids of descendant processes whose command line begins with a title."""
    for path in Path("/proc").glob("[0-9]*"):
        pid = int(path.name)
        if _read(pid, "cmdline").startswith(title) and os.getpid() in ancestors(pid):
            yield pid


def ancestors(pid: int) -> Iterator[int]:
    """Yield the ancestors of a process, the parent first."""
    while pid > 1:
        # The name in brackets may contain any character.
        pid = int((_read(pid, "stat").rpartition(")")[2].split() or [0, 0])[1])
        yield pid


def marked(mark: str) -> list[int]:
    """Return the ids of processes with this text in their environment."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if mark in _read(int(path.name), "environ")]


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # it has ended, or belongs to another user
        return ""
