"""The processor, and the bytes of main memory within the limits of the container that the process runs in."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
# Cached files that a control group counts as used, and that the system frees on demand.
_CACHED = ("active_file", "inactive_file")


def processor_name(root: Path = _ROOT) -> str:
    """Return the name of the processor as the system reports it: "AMD EPYC 7763 64-Core Processor"."""
    fields = (line.partition(":") for line in _lines(root / "proc/cpuinfo"))
    names = (value.strip() for name, _, value in fields if name.strip() == "model name")
    return next(names, "") or platform.processor() or platform.machine()


def total_main_memory(root: Path = _ROOT) -> int | None:
    """Return the memory limit of this process in bytes, or None if the system does not report it.

    Args:
        root: The folder that contains ``proc`` and ``sys``.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return min(
        (bytes for bytes in (machine, *(limit for limit, _ in _limits(root))) if bytes is not None), default=None
    )


def free_main_memory(root: Path = _ROOT) -> int | None:
    """Return the free memory in bytes, including cached files, or None if the system does not report it.

    Args:
        root: The folder that contains ``proc`` and ``sys``.
    """
    available = _statistics(root / "proc/meminfo").get("MemAvailable:")
    machine = [] if available is None else [1024 * available]
    return min((*machine, *(max(0, limit - used) for limit, used in _limits(root))), default=None)


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use, without cached files, of each control group around this process that has a limit."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers:
            continue  # of version 1
        folder = root / "sys/fs/cgroup"
        group = folder / path.lstrip("/")
        # A container may see its own group as the root, and name it as the machine does.
        for level in (group, *group.parents):
            limit, used = _number(level / "memory.max"), _number(level / "memory.current")
            if limit is not None and used is not None:
                statistics = _statistics(level / "memory.stat")
                yield limit, used - sum(statistics.get(name, 0) for name in _CACHED)
            if level == folder:
                break


def _number(file: Path) -> int | None:
    """Read a number from a file. Returns None for other content ("max") or a missing file."""
    text = next(_lines(file), "")
    return int(text) if text.isdecimal() else None


def _statistics(file: Path) -> dict[str, int]:
    parts = (line.split() for line in _lines(file))
    return {name: int(number) for name, number, *_ in filter(None, parts) if number.isdecimal()}


def _lines(file: Path) -> Iterator[str]:
    try:
        yield from file.read_text().splitlines()
    except OSError:  # another system, or a folder that is not mounted
        return
