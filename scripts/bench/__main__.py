"""How fast hf_emms is on this machine.

    python -m scripts.bench NAME [options]      one benchmark; --help after the name lists its options
    python -m scripts.bench all [--write FILE]  those of docs/benchmark.md, one after the other (`make bench`)

Contestants run in turn, so that a drifting machine affects all alike. What is compared is the ratio within each round,
reported as median [min … max]. `all` continues after a benchmark whose packages cannot be fetched.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import subprocess
import sys
from contextlib import redirect_stdout
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType

BENCHES = {
    "scoring": "EMMS against the official function and against bare matrix products",
    "logme": "EMMS against LogME on the same F-labels",
    "memory": "peak memory that scoring adds",
    "extraction": "features against a bare forward loop",
    "cpu": "what each measure for CPUs gains",
    "shared": "pictures decoded once for several checkpoints",
    "peer": "text features against transformer-ranker",
    "race": "a race for the best checkpoints against a full run",
    "sweep": "12 checkpoints on 6 datasets in one command against six",
    "metric": "evaluate.load('emms') against the direct call",
    "finetuning": "one fine-tuning run against a plain script with Trainer",
    "cards": "rendering sections of model cards",
    "space": "the leaderboard in a browser",
    "scaling": "one and two Ray workers, and a simulation of more",
}
OF_THE_PAGE = ("scoring", "logme", "memory", "extraction", "cpu", "shared", "peer", "race", "sweep", "metric")


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


def run_all(page: Path | None) -> None:
    """Run the benchmarks of the page with their default options; print, and write if asked to."""
    parts = [f"# Benchmark\n\n`make bench`, median [min … max].\n\n{machine()}.\n"]
    print(parts[0], flush=True)
    for name in OF_THE_PAGE:
        text = io.StringIO()
        with redirect_stdout(text):
            try:
                module, parser = bench(name)
                module.run(parser.parse_args([]))
            except (subprocess.CalledProcessError, OSError) as error:
                print(f"\n### {name}\n\nnot run: {error}")
        parts.append(text.getvalue())
        print(parts[-1], flush=True)
    if page is not None:
        page.write_text("".join(parts), encoding="utf-8")


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
        run_all(parser.parse_args().write)
    else:
        module, options = bench(name)
        module.run(options.parse_args(sys.argv[2:]))


if __name__ == "__main__":
    main()
