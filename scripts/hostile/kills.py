"""A loop of kills: a run that is killed at any moment, again and again, loses nothing and does nothing twice."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from scripts.hostile.children import exit_code_of, import_all, in_child
from scripts.hostile.files import ENCODER

_CHECKPOINTS = (
    "albert-distilled",
    "bert-distilled",
    "bert-masked-short",
    "bert-random",
    "distilbert-distilled-short",
    "electra-distilled",
)
_TOLERANCE = 1e-9
_MOST_RESTARTS = 1000
_SHARES = (0.3, 0.6, 1.0)


@dataclass
class _Episode:
    """One ranking that is started again after each kill, until it is finished.

    Attributes:
        folder: of its cache and of the file that it writes.
        kills: so far.
        rows_at_kills: how many rows were stored when it was killed.
        seconds: of the run that finished, if it found no row; else 0.
        problems: what was lost or done twice.
    """

    folder: Path
    kills: int = 0
    rows_at_kills: list[int] = field(default_factory=list)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / "ranking.json"

    def start(self) -> int:
        """Starts the command in a child of this process, which has imported everything already; its process id."""
        return in_child(self._run, self.folder / "stream1", self.folder / "stream2")

    def _run(self) -> int:
        """Runs the command in this child; its exit code."""
        os.environ["HF_EMMS_CACHE"] = str(self.folder / "cache")
        words = (
            f"rank --dataset demo_glosses --max-samples 200 -e {ENCODER} --layer last --estimator emms --estimator knn"
        )
        sys.argv = ["hf-emms", *words.split(), "--output", str(self.output)]
        for name in _CHECKPOINTS:
            sys.argv += ["-c", f"emms-demo/{name}"]
        from hf_emms.cli import main

        code = exit_code_of(main)
        (self.folder / "modules").write_text("\n".join(sys.modules))
        return code

    def stored_rows(self) -> int:
        """Rows that are on the disk."""
        return len([*(self.folder / "cache" / "rows").glob("*.json")])

    def run(self, rng: random.Random, took: float, kills_left: int) -> None:
        """Starts and kills until a run is finished, or has been killed often enough; then it may finish.

        Args:
            rng: chooses the moments.
            took: seconds of a whole run.
            kills_left: how often it is killed at most.
        """
        for _ in range(_MOST_RESTARTS):
            stored, started, child = self.stored_rows(), time.perf_counter(), self.start()
            if kills_left > self.kills:
                # Any moment of a run comes up, and most runs get some way.
                time.sleep(rng.uniform(0, took) * rng.choice(_SHARES))
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if os.WIFSIGNALED(status):
                self.kills += 1
                self.rows_at_kills.append(self.stored_rows())
                self._check_output()
                if self.stored_rows() < stored:
                    self.problems.append("a stored row is gone")
                continue
            text = (self.folder / "stream2").read_text()
            if os.WEXITSTATUS(status):
                self.problems.append(f"exit code {os.WEXITSTATUS(status)}: {text[-800:]}")
            if text.count("(from the cache)") < stored:
                self.problems.append(f"{stored} rows were stored, and not all were taken from the cache: {text[-800:]}")
            if not stored:
                self.seconds = time.perf_counter() - started
            if "damaged" in text:
                self.problems.append(f"a damaged entry: {text[-800:]}")
            return
        self.problems.append("it never finished")

    def scores(self) -> dict[str, dict[str, float]]:
        """Checkpoint → estimator → score, of the file that was written."""
        rows = json.loads(self.output.read_text())["rows"]
        return {row["checkpoint"]: {name: one["value"] for name, one in row["scores"].items()} for row in rows}

    def _check_output(self) -> None:
        if self.output.exists():
            try:
                self.scores()
            except ValueError:
                self.problems.append("the output file is torn")


def run_kills(count: int, seed: int, folder: Path, report: Callable[[str], None]) -> list[str]:
    """Kills runs.

    Args:
        count: how many kills.
        seed: of the moments.
        folder: an empty one.
        report: called with a line for each ranking that was finished.

    Returns:
        What was lost or done twice.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    took, whole = 0.0, _Episode(folder / "first")
    for name in ("first", "whole"):
        (folder / name).mkdir()
        whole = _Episode(folder / name)
        whole.run(random.Random(seed), 0.0, 0)
        took = whole.seconds
        import_all((folder / name / "modules").read_text().split())
    report(f"a whole run takes {took:.1f} s")
    rows_at_kills: Counter[int] = Counter()
    rng, killed, problems, episode = random.Random(seed), 0, [*whole.problems], 0
    expected = {} if problems else whole.scores()
    while killed < count and not problems:
        episode += 1
        place = folder / str(episode)
        place.mkdir()
        one = _Episode(place)
        one.run(rng, took, count - killed)
        killed, took = killed + one.kills, one.seconds or took
        rows_at_kills.update(one.rows_at_kills)
        problems += one.problems
        if not one.problems:
            problems += _differences(expected, one.scores())
        report(f"kills: {killed} of {count}, {episode} rankings finished")
    report(f"kills by stored rows: {dict(sorted(rows_at_kills.items()))}")
    return problems


def _differences(expected: dict[str, dict[str, float]], found: dict[str, dict[str, float]]) -> list[str]:
    if found.keys() != expected.keys():
        return [f"checkpoints {sorted(found)} instead of {sorted(expected)}"]
    return [
        f"{name}: {estimator} is {found[name].get(estimator)} instead of {value}"
        for name, scores in expected.items()
        for estimator, value in scores.items()
        if abs(found[name].get(estimator, float("inf")) - value) > _TOLERANCE
    ]
