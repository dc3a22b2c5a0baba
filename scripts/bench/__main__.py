"""Measure the speed of hf_emms on this machine.

    python -m scripts.bench NAME [options]      one benchmark; --help after the name lists its options
    python -m scripts.bench all [--parts NAME …] [--write FILE]  the benchmarks of docs/benchmark.md (`make bench`)

Contestants run in turn, so that a drifting machine affects all alike. Tables report the ratio within each round as
median [min … max]. `all` continues after a failed benchmark, and then ends with an error.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

from hf_emms.features.main_memory import processor_name

BENCHES = {
    "peer": "features and rankings against transformer-ranker",
    "embedding": "texts embedded against a bare loop and sentence-transformers; nDCG over 100,000 documents",
    "forecast": "forecast seconds against the measured seconds of rankings and fine-tunings",
    "parts": "a serial sweep against two processes and Ray, and the overhead per unit",
    "scoring": "EMMS against bare matrix products, and against LogME on the same F-labels",
    "image_minutes": "minutes to rank and to fine-tune image checkpoints by size",
    "space": "the leaderboard: start, memory, a browser, a slow phone, 50 clients",
}
# Short options for `all`.
OF_THE_PAGE = {
    "peer": "texts --rows 2000 --rounds 2",
    "embedding": "--rounds 2",
    "forecast": "",
    "scoring": "--rounds 2",
    "space": "",
}


def bench(name: str) -> tuple[ModuleType, argparse.ArgumentParser]:
    """Return a benchmark's module, and the parser of its options."""
    module = import_module(f"scripts.bench.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m scripts.bench {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return module, parser


def machine() -> str:
    """Describe this machine."""
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "scipy", "torch", "transformers"))
    return (
        f"{processor_name()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"{packages}; load when it began: {os.getloadavg()[0]:.1f}"
    )


def run_all(names: Sequence[str], page: Path | None) -> None:
    """Run benchmarks of the page; print their tables with the seconds of each, and write the page if there is one."""
    parts = [f"# Benchmark\n\n`make bench`, median [min … max].\n\n{machine()}.\n"]
    print(parts[0], flush=True)
    failed = []
    for name in names:
        text, started = io.StringIO(), time.perf_counter()
        with redirect_stdout(text):
            try:
                module, parser = bench(name)
                module.run(parser.parse_args(OF_THE_PAGE[name].split()))
            except (Exception, SystemExit) as error:  # noqa: BLE001
                failed.append(name)
                print(f"\n### {name}\n\nnot run: {type(error).__name__}: {error}")
        parts.append(f"{text.getvalue()}\n`{name}` took {time.perf_counter() - started:,.0f} s.\n")
        print(parts[-1], flush=True)
    if page is not None:
        page.write_text("".join(parts), encoding="utf-8")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def main() -> None:
    """Parse the name, and pass the other arguments to its benchmark."""
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
