"""Try hostile inputs on hf_emms, and check that nothing is lost.

    python -m scripts.hostile                      everything (`make hostile`)
    python -m scripts.hostile files -n 100         commands on mutated files, and on files over the limits
    python -m scripts.hostile mutations -n 100     checkpoints with mutated files
    python -m scripts.hostile days -n 20           bad days of runs that rank, confirm, save a model and publish

Everything runs offline in a temporary folder, with its own caches. The exit code is 1 if anything is not as
expected: a traceback, a lost row, an error without a hint.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

COUNTS = {"files": 500, "mutations": 1000, "days": 300}


def main() -> int:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[[], *COUNTS], metavar="PART", help=f"of {', '.join(COUNTS)}")
    parser.add_argument("-n", type=int, metavar="N", help=f"how many [default: {COUNTS}]")
    parser.add_argument("--seed", type=int, default=0, help="of mutations and days [default: 0]")
    parser.add_argument("--quiet", action="store_true", help="print only what is not as expected, and a summary")
    options = parser.parse_args()
    report: Callable[[str], None] = (lambda line: None) if options.quiet else lambda line: print(line, flush=True)
    started, problems = time.perf_counter(), []
    with tempfile.TemporaryDirectory(prefix="hostile-") as temporary:
        _set_environment(Path(temporary))
        for part in options.parts or COUNTS:
            folder = Path(temporary, part)
            folder.mkdir()
            count = options.n or COUNTS[part]
            problems += _run(part, count, options.seed, folder, report)
            print(f"{part}: {count}")
    for problem in problems:
        print(f"\nNOT AS EXPECTED: {problem}")
    print(f"{time.perf_counter() - started:.0f} s, not as expected: {len(problems)}")
    return 1 if problems else 0


def _run(part: str, count: int, seed: int, folder: Path, report: Callable[[str], None]) -> list[str]:
    if part == "mutations":
        from scripts.hostile.mutations import run_mutations

        return run_mutations(count, seed, report)
    if part == "days":
        from scripts.hostile.days import run_days

        return run_days(count, seed, folder, report)
    from scripts.hostile.files import run_files
    from scripts.hostile.limits import run_limits

    return run_files(count, seed, folder, report) + run_limits(folder, report)


def _set_environment(folder: Path) -> None:
    """Set caches below the folder, and no network, before anything imports huggingface_hub, which reads them once."""
    os.environ.update(
        HF_HOME=str(folder / "home"),
        HF_EMMS_CACHE=str(folder / "cache"),
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_DATASETS_DISABLE_PROGRESS_BARS="1",
        DATASETS_VERBOSITY="critical",
        TRANSFORMERS_VERBOSITY="error",
        OMP_NUM_THREADS="1",
        COLUMNS="200",
    )
    for name in ("HF_TOKEN", "HF_EMMS_DEBUG", "HF_ENDPOINT"):
        os.environ.pop(name, None)


if __name__ == "__main__":
    sys.exit(main())
