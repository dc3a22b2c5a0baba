"""What hf_emms does with hostile inputs, and whether anything is lost.

    python -m scripts.hostile                      everything (`make hostile`)
    python -m scripts.hostile inputs               command lines on hostile files, checkpoints and settings
    python -m scripts.hostile mutations -n 100     checkpoints with mutated files
    python -m scripts.hostile days -n 20           bad days of runs that rank, confirm, save a model and publish

Everything is made in a temporary folder, with caches of its own, offline. The exit code is 1 where anything is not as
expected: a traceback, a lost row, another exit code, an error without a hint.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PARTS = ("inputs", "mutations", "days")
COUNTS = {"mutations": 1000, "days": 300}


def main() -> int:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.hostile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)} [default: all]")
    parser.add_argument("-n", type=int, metavar="N", help=f"how many [default: {COUNTS}]")
    parser.add_argument("--seed", type=int, default=0, help="of mutations and days [default: 0]")
    parser.add_argument("--quiet", action="store_true", help="only what is not as expected, and the closing lines")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part is named {', '.join(sorted(unknown))}")
    report: Callable[[str], None] = (lambda line: None) if options.quiet else lambda line: print(line, flush=True)
    started, problems, summary = time.perf_counter(), [], []
    with tempfile.TemporaryDirectory(prefix="hostile-") as place:
        folder = Path(place)
        folder.chmod(0o755)
        _set_environment(folder)
        for part in options.parts or PARTS:
            (folder / part).mkdir()
            line, wrong = _run(part, folder / part, options.n or COUNTS.get(part, 0), options.seed, report)
            summary.append(line)
            problems += wrong
    for problem in problems:
        print(f"\nNOT AS EXPECTED: {problem}")
    print("\n".join(summary))
    print(f"{time.perf_counter() - started:.0f} s, not as expected: {len(problems)}")
    return 1 if problems else 0


def _run(part: str, folder: Path, count: int, seed: int, report: Callable[[str], None]) -> tuple[str, list[str]]:
    """What was tried in an empty folder, and what was not as expected."""
    if part == "mutations":
        from scripts.hostile.mutations import run_mutations

        return f"{count} mutated checkpoints", run_mutations(count, seed, report)
    if part == "days":
        from scripts.hostile.days import run_days

        return f"{count} bad days", run_days(count, seed, folder, report)
    from scripts.hostile.commands import run_commands
    from scripts.hostile.corpus import COMMANDS
    from scripts.hostile.files import make_files

    os.chdir(folder)
    make_files(folder)
    wrong = run_commands(COMMANDS, report)
    if (folder / "ran").exists():
        wrong.append("code of a file of others has run")
    os.chdir(folder.parent)
    return f"{len(COMMANDS)} command lines", wrong


def _set_environment(folder: Path) -> None:
    """Caches of its own, and no network; before anything imports huggingface_hub, which reads it once."""
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
