"""How fast hf_emms is on this machine.

    python -m scripts.bench NAME [options]      one benchmark; --help after the name lists its options
    python -m scripts.bench all [--parts NAME …] [--write FILE]  those of docs/benchmark.md (`make bench`)

Contestants run in turn, so that a drifting machine affects all alike. What is compared is the ratio within each round,
reported as median [min … max]. `all` continues after a benchmark that fails, and then ends with an error.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import resource
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

BENCHES = {
    "peer": "features and rankings against transformer-ranker",
    "embedding": "texts embedded against a bare loop and sentence-transformers; nDCG over 100,000 documents",
    "forecast": "forecast seconds against those that rankings and fine-tunings take",
    "scoring": "EMMS against bare matrix products, and against LogME on the same F-labels",
    "race": "a race for the best checkpoints against a full run",
    "space": "the leaderboard in a browser",
    "sequences": "random sequences of what a user does on the leaderboard",
}
# With options that keep each of them short; the page ends with what they took.
OF_THE_PAGE = {
    "peer": "texts --rows 2000 --rounds 2",
    "embedding": "--rounds 2",
    "forecast": "",
    "scoring": "--rounds 2",
    "race": "--rounds 1 --rows 2000",
    "space": "",
}


def bench(name: str) -> tuple[ModuleType, argparse.ArgumentParser]:
    """A benchmark's module, and the parser of its options."""
    module = import_module(f"scripts.bench.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m scripts.bench {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return module, parser


def machine() -> str:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "torch", "transformers"))
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{packages}; load when it began: {os.getloadavg()[0]:.1f}"
    )


def cpu_seconds() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def run_all(names: Sequence[str], page: Path | None) -> None:
    """Run benchmarks of the page; print, with the seconds that each of them took, and write if asked to."""
    parts = [f"# Benchmark\n\n`make bench`, median [min … max].\n\n{machine()}.\n"]
    print(parts[0], flush=True)
    took, failed = [], []
    for name in names:
        text, started, cpu = io.StringIO(), time.perf_counter(), cpu_seconds()
        with redirect_stdout(text):
            try:
                module, parser = bench(name)
                module.run(parser.parse_args(OF_THE_PAGE[name].split()))
            except (Exception, SystemExit) as error:  # noqa: BLE001
                failed.append(name)
                print(f"\n### {name}\n\nnot run: {type(error).__name__}: {error}")
        parts.append(text.getvalue())
        print(parts[-1], flush=True)
        took.append((f"{name} {OF_THE_PAGE[name]}".strip(), time.perf_counter() - started, cpu_seconds() - cpu))
    took.append(("all", *(sum(column) for column in list(zip(*took, strict=True))[1:])))
    lines = "\n".join(f"| {name} | {wall:,.0f} | {cpu:,.0f} |" for name, wall, cpu in took)
    parts.append(f"\n### What this took\n\n| benchmark | seconds | CPU seconds |\n|---|---|---|\n{lines}\n")
    print(parts[-1], flush=True)
    if page is not None:
        page.write_text("".join(parts), encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def main() -> None:
    """Parse the name, and leave the other arguments to its benchmark."""
    lines = "\n".join(f"  {name:12}{text}" for name, text in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench",
        description=f"{__doc__}\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=[*BENCHES, "all"], metavar="NAME")
    name = parser.parse_args(sys.argv[1:2]).name
    if name == "all":
        parser.add_argument("--write", type=Path, metavar="FILE", help="also write what is printed, as a page")
        parser.add_argument("--parts", nargs="+", choices=list(OF_THE_PAGE), default=list(OF_THE_PAGE))
        options = parser.parse_args()
        run_all(options.parts, options.write)
    else:
        module, its_options = bench(name)
        module.run(its_options.parse_args(sys.argv[2:]))


if __name__ == "__main__":
    main()
