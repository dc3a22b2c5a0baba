"""Time contestants in turn, in this process or in one process each."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAUSE = 0.2  # seconds, until idle threads of the previous contestant leave the cores
# Different libraries read different variables.
THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


class Seconds(NamedTuple):
    """Seconds by two clocks.

    Attributes:
        wall: elapsed.
        cpu: Of all threads; independent of other work on the machine.
    """

    wall: float
    cpu: float


def timed(run: Callable[[], object]) -> Seconds:
    """Return the seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def interleave(contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[Seconds]]:
    """Return the seconds per contestant and round, after a warm-up round; every other round reverses the order."""
    seconds: dict[str, list[Seconds]] = {name: [] for name in contestants}
    for current in range(rounds + 1):
        for name, run in list(contestants.items())[:: 1 if current % 2 else -1]:
            time.sleep(PAUSE)
            spent = timed(run)
            if current:
                seconds[name].append(spent)
    return seconds


def ratios(of: Sequence[Seconds], to: Sequence[Seconds], clock: Literal["wall", "cpu"] = "wall") -> list[float]:
    """Return the ratio of two contestants' seconds for each round."""
    return [getattr(a, clock) / getattr(b, clock) for a, b in zip(of, to, strict=True)]


def spread(values: Sequence[float], unit: str = "", digits: str = ".3g", bold: bool = False) -> str:
    """Format values as "median [min … max]"."""
    low, middle, high = (f"{value:{digits}}" for value in (min(values), statistics.median(values), max(values)))
    middle = f"**{middle}{unit}**" if bold else f"{middle}{unit}"
    return f"{middle} [{low} … {high}]"


class Contestant:
    """A process that prints a line of JSON when it is ready (`about`), and one for each line that it receives."""

    def __init__(self, command: Sequence[str], threads: int, path: Path | None = ROOT) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment = inherited | dict.fromkeys(THREAD_COUNTS, str(threads)) | {"HF_HUB_OFFLINE": "1"}
        if path is not None:
            environment["PYTHONPATH"] = str(path)
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.about: Any = self._answer()

    def __enter__(self) -> Contestant:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def answer(self, request: object) -> Any:
        """Return the answer to a request, usually its seconds."""
        self._process.stdin.write(f"{request}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise ChildProcessError(f"{' '.join(self._process.args)} ended with {self._process.wait()}")
        return json.loads(line)


def in_turn(contestants: Sequence[Contestant], request: object, rounds: int) -> list[list[Seconds]]:
    """Return the seconds per contestant (outer list) and round; every other round reverses the order."""
    rows = []
    for current in range(rounds):
        spent = {side: Seconds(*side.answer(request)) for side in contestants[:: 1 if current % 2 else -1]}
        rows.append([spent[side] for side in contestants])
    return [list(column) for column in zip(*rows, strict=True)]
