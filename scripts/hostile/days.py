"""Bad days: commands that rank, confirm, save a model and publish are disturbed, and the last of a day puts it right.

Each day has a task, a cache of its own and disturbances in a seeded order: SIGKILL and Ctrl-C at any moment, a second
process at the same time, a limit of time, a disk that is full, a damaged file of the cache. Whatever happens, a command
ends in the result of an undisturbed one or in an error in words, what was finished stays on disk, and the command that
is then left alone has the undisturbed result, the saved weights included.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from scripts.hostile.children import exit_code_of, import_all, in_child
from scripts.hostile.mutations import ENCODER

_TOLERANCE = 1e-9
_SHARES = (0.3, 0.6, 1.0)
_TROUBLES = ("kill", "interrupt", "two", "time limit", "full disk", "damage")
# Bytes of the largest file that may be written on a full disk, as powers of two.
_FULL = (10, 22)
_ENTRIES = ("rows", "finetunings")
_TEXT_CHECKPOINTS = ("bert-distilled", "albert-distilled")
_RANKING = f"rank --max-samples 60 --encoder {ENCODER} --format json --device cpu"
_TRAINING = "--confirm 2 --steps 12 --batch-size 8 --learning-rate 0.001 --confirm-samples 60"
# With less a search is no better, and checkpoints are kept as they were.
_SEARCH_TRAINING = "--confirm 2 --steps 12 --batch-size 32 --learning-rate 0.01 --confirm-samples 400"


class _Work(NamedTuple):
    """A dataset, the estimator, and two checkpoints that it ranks for the dataset, and that are fine-tuned."""

    dataset: str
    estimator: str
    checkpoints: tuple[str, str]
    training: str = _TRAINING

    @property
    def words(self) -> list[str]:
        named = [word for name in self.checkpoints for word in ("-c", f"emms-demo/{name}")]
        ranking = [*_RANKING.split(), "--dataset", self.dataset, "--estimator", self.estimator, *named]
        return [*ranking, *self.training.split()]


# A classification, pairs, tokens, sound, language models, whose estimator trains them, and a search.
_WORKS = (
    _Work("demo_glosses", "emms", _TEXT_CHECKPOINTS),
    _Work("demo_pairs", "emms", _TEXT_CHECKPOINTS),
    _Work("demo_words", "emms", _TEXT_CHECKPOINTS),
    _Work("demo_sounds", "emms", ("ast-words", "ast-sounds")),
    _Work("demo_definitions", "short_run", ("llama-glosses", "llama-glosses-short")),
    _Work("demo_search", "emms", ("bert-distilled", "bert-masked-short"), _SEARCH_TRAINING),
)


@dataclass
class _Ended:
    """How a command ended: its exit code, None where it was killed, and what it printed."""

    code: int | None
    answer: str
    messages: str


@dataclass
class _Day:
    """Commands in one folder, which holds their cache.

    Attributes:
        folder: is made.
        work: the ranking that they make.
        count: how many commands there were.
        troubles: that happened, by name.
        problems: what was not as it should be.
    """

    folder: Path
    work: _Work
    count: int = 0
    troubles: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir()

    def start(self, *more: str, largest_file: int | None = None) -> tuple[int, Path]:
        """Starts the command in a child, which has imported everything already; its process id and its files."""
        self.count += 1
        files = self.folder / str(self.count)
        child = in_child(
            partial(self._run, files, more, largest_file), files.with_suffix(".out"), files.with_suffix(".err")
        )
        return child, files

    def _run(self, files: Path, more: Sequence[str], largest_file: int | None) -> int:
        """Runs the command in this child; its exit code."""
        os.environ["HF_EMMS_CACHE"] = str(self.folder / "cache")
        ranking = files.with_suffix(".rankings") / "ranking.json"
        places = ["--output", str(ranking), "--save-model", str(files.with_suffix(".model"))]
        sys.argv = ["hf-emms", *self.work.words, *places, *more]
        from hf_emms import EmmsError
        from hf_emms.cli import main

        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
        code = exit_code_of(main)
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
        """The files of what is finished."""
        return {path for kind in _ENTRIES for path in (self.folder / "cache" / kind).glob("*.json")}

    def result(self, ended: _Ended, number: int) -> dict[str, Any]:
        """What a command has found, and the digest of the weights that it saved."""
        rows = json.loads(ended.answer)["rows"]
        scores = {row["checkpoint"]: row["scores"][self.work.estimator]["value"] for row in rows}
        measured = {row["checkpoint"]: row["fine_tuned"]["value"] for row in rows}
        saved = self.folder / f"{number}.model" / "model.safetensors"
        weights = saved.read_bytes()
        pages = sorted(path.name for path in (self.folder / f"{number}.published").rglob("*") if path.is_file())
        return {
            "scores": scores,
            "measured": measured,
            "the saved weights": hashlib.sha256(weights).hexdigest(),
            "what was published": pages,
        }

    def check(self, ended: _Ended, number: int, expected: dict[str, Any], trouble: str) -> None:
        """Notes what is wrong with how a command ended."""
        if "Traceback" in ended.messages:
            self._wrong(trouble, "a traceback", ended)
        if ended.code == 0 and "time limit" not in ended.messages:
            try:
                difference = _difference(expected, self.result(ended, number))
            except (OSError, ValueError, LookupError, TypeError) as error:
                difference = f"no result: {type(error).__name__} {error}"
            if difference:
                self._wrong(trouble, difference, ended)
        elif ended.code not in (0, None) and not ended.messages.strip():
            self._wrong(trouble, f"exit code {ended.code} without a word", ended)
        elif trouble == "nothing" and ended.code != 0:
            self._wrong(trouble, f"exit code {ended.code}", ended)

    def _wrong(self, trouble: str, what: str, ended: _Ended) -> None:
        self.problems.append(
            f"{self.folder.name}, {trouble} after {dict(self.troubles)}: {what}\n{ended.messages[-1500:]}"
        )

    def live(self, rng: random.Random, took: float, expected: dict[str, Any]) -> None:
        """One to three disturbances, and then an undisturbed command."""
        for _ in range(rng.randint(1, 3)):
            trouble = rng.choice(_TROUBLES)
            before = self.finished() - self._disturb(trouble, rng, took, expected)
            if not before <= self.finished():
                self.problems.append(f"{self.folder.name}: after {trouble}, something finished is gone")
            self.troubles[trouble] += 1
        self.check(self.wait(*self.start()), self.count, expected, "nothing")

    def _disturb(self, trouble: str, rng: random.Random, took: float, expected: dict[str, Any]) -> set[Path]:
        """Lets one trouble happen; the files that it damaged."""
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
            # Any moment of a run comes up, and most runs get some way.
            time.sleep(rng.uniform(0, took) * rng.choice(_SHARES))
            os.kill(running[0][0], signal.SIGKILL if kills else signal.SIGINT)
        for number, process in zip(numbers, running, strict=True):
            self.check(self.wait(*process), number, expected, trouble)
        return set()


def run_days(count: int, seed: int, folder: Path, report: Callable[[str], None]) -> list[str]:
    """Lives through so many days.

    Args:
        count: how many days.
        seed: of what happens.
        folder: an empty one.
        report: called with a line for each day.

    Returns:
        What was not as it should be.
    """
    took, expected = dict[_Work, float](), dict[_Work, dict[str, Any]]()
    rng, problems, troubles = random.Random(seed), list[str](), Counter[str]()
    for number in range(count):
        work = rng.choice(_WORKS)
        if work not in expected:
            # The first command also imports what the children of this program have then.
            for name in ("whole",) if expected else ("first", "whole"):
                day, started = _Day(folder / f"{name}-{work.dataset}", work), time.perf_counter()
                ended = day.wait(*day.start())
                took[work] = time.perf_counter() - started
                if ended.code != 0:
                    return [*problems, f"an undisturbed command for {work.dataset} fails: {ended.messages[-1500:]}"]
                import_all((day.folder / "modules").read_text().split())
            expected[work] = day.result(ended, 1)
            report(f"an undisturbed command for {work.dataset} takes {took[work]:.1f} s")
        day = _Day(folder / f"day{number}", work)
        day.live(rng, took[work], expected[work])
        problems += day.problems
        troubles += day.troubles
        if not day.problems:
            shutil.rmtree(day.folder)
        what = f"{work.dataset}, {', '.join(day.troubles)}"
        report(f"day {number + 1} of {count}: {what}; not as expected so far: {len(problems)}")
    report(f"troubles: {dict(sorted(troubles.items()))}")
    return problems


def _difference(expected: dict[str, Any], result: dict[str, Any]) -> str:
    """What differs between two results, empty where nothing does."""
    for name in ("scores", "measured"):
        for checkpoint, value in expected[name].items():
            other = result[name].get(checkpoint)
            if other is None or abs(other - value) > _TOLERANCE:
                return f"{name} of {checkpoint}: {other} instead of {value}"
    differing = (name for name in ("the saved weights", "what was published") if result[name] != expected[name])
    return "".join(f"{name}: other than undisturbed" for name in differing)


def _publish(ranking: Path, folder: Path) -> None:
    """The leaderboard's pages and the cards of a ranking, as files: what the commands that publish would upload."""
    from hf_emms import Ranking, card
    from hf_emms.cache.files import write_atomic
    from hf_emms.publish.space import static_files

    confirmed = Ranking.load(ranking)
    files: dict[str, Any] = {**static_files(ranking.parent, "org/emms-results"), "dataset.md": card(confirmed)}
    files |= {f"{place}.md": card(confirmed, row.checkpoint) for place, row in enumerate(confirmed.rows)}
    for name, content in files.items():
        write_atomic(folder / name, content)
