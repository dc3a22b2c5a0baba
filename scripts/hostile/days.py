"""Bad days: disturb commands that rank, confirm, save a model and publish; the last command of a day runs undisturbed.

Each day has a task, its own cache, and disturbances in a seeded order: SIGKILL and Ctrl-C at any moment, a second
process at the same time, a time limit, a full disk, a damaged file of the cache. Each command must end in the
undisturbed result or in an error message. Finished work must stay on disk. The last command must have the undisturbed
result, including the saved weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from scripts.hostile.mutations import ENCODER

_TOLERANCE = 1e-9
_SHARES = (0.3, 0.6, 1.0)
_TROUBLES = ("kill", "interrupt", "two", "time limit", "full disk", "damage")
# Bytes of the largest file that can be written on a full disk, as powers of two.
_FULL = (10, 22)
_RANKING = f"rank --max-samples 60 --encoder {ENCODER} --format json --device cpu"
_TRAINING = "--confirm 2 --steps 12 --batch-size 8 --learning-rate 0.001 --confirm-samples 60"
# A shorter training does not improve a search, and hf_emms then keeps the original weights.
_SEARCH_TRAINING = "--confirm 2 --steps 12 --batch-size 32 --learning-rate 0.01 --confirm-samples 400"


class _Work(NamedTuple):
    """A dataset, an estimator, and two checkpoints to rank and fine-tune."""

    dataset: str
    estimator: str
    checkpoints: tuple[str, str]
    training: str = _TRAINING

    @property
    def words(self) -> list[str]:
        checkpoints = " ".join(f"-c emms-demo/{name}" for name in self.checkpoints)
        settings = f"--dataset {self.dataset} --estimator {self.estimator} {checkpoints}"
        return f"{_RANKING} {settings} {self.training}".split()


# Classes, pairs, tokens, sound, language models (whose estimator trains them), and a search.
_WORKS = (
    *(_Work(f"demo_{kind}", "emms", ("bert-distilled", "albert-distilled")) for kind in ("glosses", "pairs", "words")),
    _Work("demo_sounds", "emms", ("ast-words", "ast-sounds")),
    _Work("demo_definitions", "short_run", ("llama-glosses", "llama-glosses-short")),
    _Work("demo_search", "emms", ("bert-distilled", "bert-masked-short"), _SEARCH_TRAINING),
)


class _Ended(NamedTuple):
    """The exit code of a command, None if it was killed, and its output."""

    code: int | None
    answer: str
    messages: str


@dataclass
class _Day:
    """Commands in one folder with one cache.

    Attributes:
        folder: A new folder.
        work: The ranking that every command makes.
        count: Number of commands.
        troubles: Number of disturbances by name.
        problems: Everything that was not as expected.
    """

    folder: Path
    work: _Work
    count: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()

    def start(self, *more: str, largest_file: int | None = None) -> tuple[int, Path]:
        """Start the command in a forked child, which has imported everything; return its process id and its files."""
        self.count += 1
        files = self.folder / str(self.count)
        for suffix in (".out", ".err"):  # a child that is killed at once prints nothing
            files.with_suffix(suffix).touch()
        # Block Ctrl-C until the child has replaced this program's handler.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        child = os.fork()
        if child == 0:
            self._run_in_child(files, more, largest_file)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return child, files

    def _run_in_child(self, files: Path, more: tuple[str, ...], largest_file: int | None) -> None:
        code = 1
        try:
            for number, suffix in ((1, ".out"), (2, ".err")):
                os.dup2(os.open(files.with_suffix(suffix), os.O_WRONLY), number)
            sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
                code = self._run(files, more, largest_file)
            except KeyboardInterrupt:
                print("interrupted before or after the command", file=sys.stderr)
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except OSError:
                    code = code or 1
        finally:  # a child must never continue as this program, which removes the folder at its end
            os._exit(code)

    def _run(self, files: Path, more: tuple[str, ...], largest_file: int | None) -> int:
        os.environ["HF_EMMS_CACHE"] = str(self.folder / "cache")
        ranking = files.with_suffix(".rankings") / "ranking.json"
        outputs = ["--output", str(ranking), "--save-model", str(files.with_suffix(".model"))]
        sys.argv = ["hf-emms", *self.work.words, *outputs, *more]
        from hf_emms import EmmsError
        from hf_emms.cli import main

        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code == 0:
            try:
                _publish(ranking, files.with_suffix(".published"))
            except (OSError, EmmsError) as error:
                code = 1
                print(f"not published: {error}", file=sys.stderr)
        if largest_file is None:
            (self.folder / "modules").write_text("\n".join(sys.modules))
        return code

    def wait(self, child: int, files: Path) -> _Ended:
        _, status = os.waitpid(child, 0)
        code = None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return _Ended(code, files.with_suffix(".out").read_text(), files.with_suffix(".err").read_text())

    def finished(self) -> set[Path]:
        """Return the cache files of finished work."""
        return {path for kind in ("rows", "finetunings") for path in (self.folder / "cache" / kind).glob("*.json")}

    def result(self, ended: _Ended, number: int) -> dict[str, Any]:
        """Return scores, fine-tuned scores, the digest of the saved weights, and the names of the published files."""
        rows = json.loads(ended.answer)["rows"]
        saved = self.folder / f"{number}.model" / "model.safetensors"
        # A page offers an order by speed only if a speed was measured, which is not so if features came from the cache.
        published = (path for path in (self.folder / f"{number}.published").rglob("*") if path.is_file())
        pages = sorted(path.name for path in published if path.parent.name != "views")
        return {
            "scores": {row["checkpoint"]: row["scores"][self.work.estimator]["value"] for row in rows},
            "fine-tuned scores": {row["checkpoint"]: row["fine_tuned"]["value"] for row in rows},
            "saved weights": hashlib.sha256(saved.read_bytes()).hexdigest(),
            "published files": pages,
        }

    def check(self, ended: _Ended, number: int, expected: dict[str, Any], trouble: str) -> None:
        """Record what is wrong with the end of a command."""
        wrong = ""
        if "Traceback" in ended.messages:
            wrong = "a traceback"
        elif ended.code == 0 and "time limit" not in ended.messages:
            try:
                wrong = _difference(expected, self.result(ended, number))
            except (OSError, ValueError, LookupError, TypeError) as error:
                wrong = f"no result: {type(error).__name__} {error}"
        elif ended.code not in (0, None) and (trouble == "nothing" or not ended.messages.strip()):
            wrong = f"exit code {ended.code}"
        if wrong:
            happened = f"{self.folder.name}, {trouble} after {dict(self.troubles)}"
            _, traceback, after = ended.messages.partition("Traceback")
            self.problems.append(f"{happened}: {wrong}\n{(traceback + after)[:1500] or ended.messages[-1500:]}")

    def run(self, rng: random.Random, took: float, expected: dict[str, Any]) -> None:
        """Run one to three disturbed commands, and then an undisturbed one."""
        for _ in range(rng.randint(1, 3)):
            trouble = rng.choice(_TROUBLES)
            before = self.finished() - self._disturb(trouble, rng, took, expected)
            if not before <= self.finished():
                self.problems.append(f"{self.folder.name}: after {trouble}, finished work is gone")
            self.troubles[trouble] += 1
        self.check(self.wait(*self.start()), self.count, expected, "nothing")

    def _disturb(self, trouble: str, rng: random.Random, took: float, expected: dict[str, Any]) -> set[Path]:
        """Let one trouble happen; return the damaged files."""
        if trouble == "damage":
            files = sorted(path for path in (self.folder / "cache").rglob("*") if path.is_file())
            if not files:
                return set()
            file = rng.choice(files)
            content = file.read_bytes()
            file.write_bytes(rng.choice((content[: len(content) // 2], bytes(len(content)), b"{}")))
            return {file}
        if trouble == "time limit":
            running = [self.start("--time-limit", f"{rng.uniform(0.01, took):.2f}s")]
        elif trouble == "full disk":
            running = [self.start(largest_file=int(2 ** rng.uniform(*_FULL)))]
        else:
            running = [self.start() for _ in range(2 if trouble == "two" else 1)]
        numbers = range(self.count - len(running) + 1, self.count + 1)
        kills = trouble == "kill" or (trouble == "two" and rng.random() < 0.5)
        if kills or trouble == "interrupt":
            # Most commands should get some way.
            time.sleep(rng.uniform(0, took) * rng.choice(_SHARES))
            os.kill(running[0][0], signal.SIGKILL if kills else signal.SIGINT)
        for number, process in zip(numbers, running, strict=True):
            ended = self.wait(*process)
            self.troubles["kill of a live run"] += ended.code is None
            self.check(ended, number, expected, trouble)
        return set()


def run_days(count: int, seed: int, folder: Path, report: Callable[[str], None]) -> list[str]:
    """Run a number of bad days.

    Args:
        count: Number of days.
        seed: Of the disturbances.
        folder: An empty folder.
        report: Called with a line for each day.

    Returns:
        Everything that was not as expected.
    """
    took, expected = dict[_Work, float](), dict[_Work, dict[str, Any]]()
    rng, problems, troubles = random.Random(seed), list[str](), Counter[str]()
    for number in range(count):
        work = rng.choice(_WORKS)
        if work not in expected:
            # The modules of the first command are imported here, so that all later children have them.
            for name in ("whole",) if expected else ("first", "whole"):
                day, started = _Day(folder / f"{name}-{work.dataset}", work), time.perf_counter()
                ended = day.wait(*day.start())
                took[work] = time.perf_counter() - started
                if ended.code != 0:
                    return [*problems, f"an undisturbed command for {work.dataset} fails: {ended.messages[-1500:]}"]
                for module in (day.folder / "modules").read_text().split():
                    with suppress(Exception):  # some modules cannot be imported by name
                        import_module(module)
            expected[work] = day.result(ended, 1)
            report(f"an undisturbed command for {work.dataset} takes {took[work]:.1f} s")
        day = _Day(folder / f"day{number}", work)
        day.run(rng, took[work], expected[work])
        problems += day.problems
        troubles += day.troubles
        if not day.problems:
            shutil.rmtree(day.folder)
        report(f"day {number + 1} of {count}: {work.dataset}, {dict(day.troubles)}; problems: {len(problems)}")
    report(f"troubles: {dict(sorted(troubles.items()))}")
    return problems


def _difference(expected: dict[str, Any], result: dict[str, Any]) -> str:
    """Return what differs between two results; empty if nothing does."""
    for name in ("scores", "fine-tuned scores"):
        for checkpoint, value in expected[name].items():
            other = result[name].get(checkpoint)
            if other is None or abs(other - value) > _TOLERANCE:
                return f"{name} of {checkpoint}: {other} instead of {value}"
    return "; ".join(f"other {name}" for name in ("saved weights", "published files") if result[name] != expected[name])


def _publish(ranking: Path, folder: Path) -> None:
    """Write the leaderboard's pages and the cards of a ranking, as the commands that publish would upload them."""
    from hf_emms import Ranking
    from hf_emms.cache.files import write_atomic
    from hf_emms.publish.space import static_files

    confirmed = Ranking.load(ranking)
    files: dict[str, Any] = {**static_files(ranking.parent, "org/emms-results"), "dataset.md": confirmed.card()}
    files |= {f"{place}.md": confirmed.card(row.checkpoint) for place, row in enumerate(confirmed.rows)}
    for name, content in files.items():
        write_atomic(folder / name, content)
