"""The processor, and the bytes of main memory within the limits of the container that the process runs in."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
# Cached files that a control group counts as used, and that the system frees on demand.
_CACHED = ("active_file", "inactive_file")


def processor_name(root: Path = _ROOT) -> str:
    """Return the name of the processor as the system reports it: "AMD EPYC 7763 64-Core Processor"."""
    info = root / "proc/cpuinfo"
    fields = (line.partition(":") for line in (info.read_text().splitlines() if info.exists() else ()))
    names = (value.strip() for name, _, value in fields if name.strip() == "model name")
    return next(names, "") or platform.processor() or platform.machine()


def total_main_memory() -> int:
    """Return the bytes of memory that this process may use."""
    return main_memory()[0]


def free_main_memory() -> int:
    """Return the free bytes of memory, including cached files."""
    return main_memory()[1]


def main_memory(root: Path = _ROOT) -> tuple[int, int]:
    """Return the total and the free bytes of memory within the limits of control groups (version 2) in `root`."""
    import psutil

    machine = psutil.virtual_memory()
    total, free = machine.total, machine.available
    for limit, used in _limits(root):
        total, free = min(total, limit), min(free, max(0, limit - used))
    return total, free


def _limits(root: Path) -> Iterator[tuple[int, int]]:
    """Yield limit and use, without cached files, of each control group around this process that has a limit."""
    listing, folder = root / "proc/self/cgroup", root / "sys/fs/cgroup"
    if not listing.exists():
        return
    # A container may see its own group as the root, and name it as the machine does.
    group = folder / listing.read_text().rpartition("0::")[2].strip().lstrip("/")
    for level in (group, *group.parents):
        try:
            limit, used = (int((level / name).read_text()) for name in ("memory.max", "memory.current"))
            words = (level / "memory.stat").read_text().split()
            sizes = dict(zip(words[::2], words[1::2], strict=True))
            yield limit, used - sum(int(sizes.get(name, 0)) for name in _CACHED)
        except (OSError, ValueError):  # without a limit ("max")
            pass
        if level == folder:
            return
