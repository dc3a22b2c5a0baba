"""How many small random changes of the code the tests notice.

    python -m scripts.mutants record                                   which test runs which line: all fast tests, once
    python -m scripts.mutants --count 20 hf_emms/ranking/advice.py     change a file, or a folder, in twenty places

Each change is made in a copy of the repository, where the tests that run the changed line are run until one fails,
those that run least else first. Several copies are at work at a time. What survives is printed: a gap in the tests, a
line that nobody would miss, or a change that changes nothing. At the end the tests that failed run on unchanged code.
Changes are drawn with --seed, over the whole package where no path is named. A record stays useful while the code
changes: lines are found again by what they say.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import functools
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest

from tests.helpers import quick_python

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "build" / "mutants"
PYTEST = ("-q", "-m", "not slow", "-p", "no:cacheprovider", "-p", "scripts.mutants")
# A context is a test: its id in the processes of pytest, an environment variable in those that it starts.
SETTINGS = """
[run]
source_pkgs = hf_emms
parallel = true
context = ${PYTEST_CURRENT_TEST-}
patch = subprocess, fork
"""
_HEAVY = ("datasets", "hypothesis", "pandas", "scipy.linalg", "sklearn.metrics", "torch", "transformers")
_SECONDS_THAT_COUNT = (0.5, 2.0, 5.0)  # of a test: what costs less goes first
_SECONDS_OF_SHARED_FIXTURE = 20.0  # a browser, a cluster: paid again for each change
_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or, ast.Or: ast.And},
}

# ---- changes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A change of one place in a file.

    Attributes:
        line: of the changed words.
        lines: of the statement around them, without the statements inside it.
        body: of the function around them, or of the whole file.
        names: those that a statement outside functions gives values to.
        words: what becomes what.
        apply: makes it in the tree of the file.
    """

    line: int
    lines: range
    body: range
    names: tuple[str, ...]
    words: str
    apply: Callable[[], None]


def changes(tree: ast.Module) -> Iterator[Change]:
    """All changes of a tree, outside annotations, decorators, errors, and the words `frozen` and `strict`."""
    last = max((getattr(node, "end_lineno", 0) or 0 for node in ast.walk(tree)), default=0)
    whole = range(1, last + 1)
    yield from _changes(tree, whole, whole, ())


def _changes(node: ast.AST, lines: range, body: range, names: tuple[str, ...]) -> Iterator[Change]:
    for field, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for place, child in enumerate(children):
            if not isinstance(child, ast.AST) or field in ("annotation", "returns", "decorator_list", "exc"):
                continue
            if isinstance(child, ast.keyword) and child.arg in ("frozen", "strict"):
                continue
            inner_lines, inner_body, inner_names = lines, body, names
            if isinstance(child, ast.stmt):
                nested = [part.lineno for part in ast.iter_child_nodes(child) if isinstance(part, ast.stmt)]
                end = max(child.lineno, min(nested) - 1) if nested else child.end_lineno or child.lineno
                inner_lines = range(child.lineno, end + 1)
            if isinstance(child, ast.FunctionDef):
                inner_body = range(child.body[0].lineno, (child.end_lineno or child.lineno) + 1)
            if isinstance(child, ast.Assign | ast.AnnAssign) and isinstance(node, ast.Module):
                target = child.targets[0] if isinstance(child, ast.Assign) else child.target
                inner_names = tuple(part.id for part in ast.walk(target) if isinstance(part, ast.Name))
            line = getattr(child, "lineno", None) or getattr(node, "lineno", lines.start)
            for words, replacement in _replacements(child):
                yield Change(
                    line, inner_lines, inner_body, inner_names, words, _setter(node, field, place, value, replacement)
                )
            yield from _changes(child, inner_lines, inner_body, inner_names)


def _replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if type(node) in _SWAPPED:
        other = _SWAPPED[type(node)]
        yield f"{type(node).__name__} → {other.__name__}", other()
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield f"{node.value} → {node.value + 1}", ast.Constant(node.value + 1)
    if isinstance(node, ast.Constant) and type(node.value) is bool:
        yield f"{node.value} → {not node.value}", ast.Constant(not node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "no not", node.operand
    # Where False is returned, None says the same.
    if isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) not in ("None", "False"):
        yield "return None", ast.Return(ast.Constant(None))


def _setter(node: ast.AST, field: str, place: int, value: object, replacement: ast.AST) -> Callable[[], None]:
    def apply() -> None:
        if isinstance(value, list):
            value[place] = replacement
        else:
            setattr(node, field, replacement)

    return apply


# ---- which test runs which line --------------------------------------------------------------------------------------


def record_lines(workers: int) -> None:
    """Run the fast tests once, and store the lines and the seconds of each."""
    shutil.rmtree(RECORD, ignore_errors=True)
    RECORD.mkdir(parents=True)
    for path in (ROOT / "hf_emms").rglob("*.py"):
        (RECORD / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, RECORD / path.relative_to(ROOT))
    settings = RECORD / "settings"
    settings.write_text(SETTINGS)
    measured = [f"--rcfile={settings}", f"--data-file={RECORD / 'measured'}"]
    spread = ["-n", str(workers), "--dist", "loadgroup", "--no-loadscope-reorder", "--timeout", "600"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    coverage_run = [sys.executable, "-m", "coverage", "run", *measured, "-m", "pytest", *PYTEST, *spread]
    subprocess.run(coverage_run, cwd=ROOT, env=environment, check=False)
    combine = [sys.executable, "-m", "coverage", "combine", "-q", *measured]
    subprocess.run(combine, cwd=RECORD, check=True)
    store_lines(RECORD / "measured")


def store_lines(measured: Path) -> None:
    """Store what coverage has measured by the files' places in the repository: other checkouts may use the record."""
    lines, stored = coverage.CoverageData(str(measured)), coverage.CoverageData(str(RECORD / "lines"))
    lines.read()
    stored.update(lines, map_path=lambda path: path.removeprefix(f"{ROOT}{os.sep}"))
    measured.unlink()


def _test_id(context: str) -> str:
    """The id of a test, from pytest's name of a process's stage or of a group that shares a process."""
    for stage in (" (setup)", " (call)", " (teardown)"):
        context = context.removesuffix(stage)
    return context[: context.rindex("@")] if context.rfind("@") > context.rfind("]") else context


class Record:
    """The lines and seconds of each test, as `record` stored them."""

    def __init__(self) -> None:
        self.lines = coverage.CoverageData(str(RECORD / "lines"))
        self.lines.read()
        self.seconds: dict[str, float] = json.loads((RECORD / "seconds.json").read_text())
        self.size = Counter[str]()
        for name in self.lines.measured_files():
            for context in self.lines.contexts_by_lineno(name).values():
                self.size.update({_test_id(test) for test in context})

    @functools.cache  # noqa: B019 (there is one)
    def _tests_of_lines(self, path: str) -> tuple[dict[int, set[str]], dict[int, int]]:
        """The tests of each line of a file when it was recorded, and the number that a line of today had then."""
        tests = {
            line: {_test_id(context) for context in contexts} & self.seconds.keys()
            for line, contexts in self.lines.contexts_by_lineno(path).items()
        }
        files = [folder / path for folder in (RECORD, ROOT)]
        before, now = (file.read_text().splitlines() if file.exists() else [] for file in files)
        blocks = difflib.SequenceMatcher(None, before, now, autojunk=False).get_matching_blocks()
        return tests, {block.b + i + 1: block.a + i + 1 for block in blocks for i in range(block.size)}

    def tests(self, path: str, change: Change, most_seconds: float) -> list[str]:
        """The tests to run after a change, in so many seconds; the quick ones first that run few other lines."""
        tests, number_before = self._tests_of_lines(path)
        lines_today = (ROOT / path).read_text().splitlines()
        uses = [n for n, text in enumerate(lines_today, start=1) if any(name in text for name in change.names)]
        chosen: set[str] = set()
        for lines in (uses or [change.line], change.lines, change.body, number_before):
            chosen = set[str]().union(*(tests.get(number_before.get(line, 0), ()) for line in lines))
            if chosen:
                break
        folder, named = "tests/" + path.split("/")[1].removesuffix(".py") + "/", f"/test_{Path(path).stem}.py::"
        if not chosen:  # what runs in a process that is not measured, as the page of a Space does
            chosen = {test for test in self.seconds if test.startswith(folder)}
        # Of many tests, those go first that also run a line of the function that few run.
        of_body = [tests.get(number_before.get(line, 0), set()) for line in change.body]
        rarity = {test: min((len(those) for those in of_body if test in those), default=0) for test in chosen}
        # The other tests of a file share what it has set up for all of them.
        files = {test.partition("::")[0] for test in chosen}
        others = {test for test in self.seconds if test.partition("::")[0] in files} - chosen
        turn = self._turns(chosen, rarity) | {test: 1_000 + turn for test, turn in self._turns(others, {}).items()}

        def place(test: str) -> tuple[int, bool, int, bool, int, int, str]:
            cost = bisect(_SECONDS_THAT_COUNT, self.seconds[test]) + (test in others)
            elsewhere = not test.startswith(folder)
            is_named = named in test and test in chosen
            return cost, not is_named, turn[test], elsewhere, rarity.get(test, 0), self.size[test], test

        seconds, within = 0.0, []
        for test in sorted(turn, key=place):
            if seconds + self.seconds[test] <= most_seconds or not within:
                within.append(test)
                seconds += self.seconds[test]
        return within

    def _turns(self, tests: Collection[str], rarity: Mapping[str, int]) -> dict[str, int]:
        """The place of each test among those of its file."""
        files, turns = Counter[str](), dict[str, int]()
        for test in sorted(tests, key=lambda test: (rarity.get(test, 0), self.size[test], test)):
            file = test.partition("::")[0]
            turns[test] = files[file]
            files[file] += 1
        return turns


# ---- as a plug-in of pytest ------------------------------------------------------------------------------------------

_FAILED = "MUTANTS_FAILED"  # an environment variable: where a process stores the tests that fail in it
_seconds: dict[str, float] = defaultdict(float)
_failed: list[str] = []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Says to coverage which test runs."""
    if measuring := coverage.Coverage.current():
        with contextlib.suppress(coverage.CoverageException):
            measuring.switch_context(_test_id(item.nodeid))
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds up the seconds of each test that passes; a fixture that tests share counts for each."""
    test = _test_id(report.nodeid)
    if report.when == "setup" and report.nodeid[len(test) :] in ("@pages", "@ray", "@wheel"):
        _seconds[test] += _SECONDS_OF_SHARED_FIXTURE
    elif report.when == "call" and report.passed:
        _seconds[test] += report.duration
    if report.failed:
        _failed.append(test)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stores the seconds, in the process that has all of them, or the tests that failed."""
    if place := os.environ.get(_FAILED):
        Path(place).write_text(json.dumps(_failed))
    elif not hasattr(session.config, "workerinput") and coverage.Coverage.current():
        seconds = {test: round(seconds, 2) for test, seconds in _seconds.items() if test not in _failed}
        (RECORD / "seconds.json").write_text(json.dumps(seconds, indent=1))


class Only:
    """Tests by their ids, in this order, after those of their files that are not in the record: they are new."""

    def __init__(self, tests: list[str], recorded: Collection[str]) -> None:
        self.places = {test: place for place, test in enumerate(tests)}
        self.recorded = recorded

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self.places or item.nodeid not in self.recorded]
        items[:] = sorted(chosen, key=lambda item: self.places.get(item.nodeid, -1))


# ---- copies of the repository at work --------------------------------------------------------------------------------


def start_tests(copy: Path, tests: list[str], recorded: Collection[str], *flags: str) -> int:
    """Run tests in a copy of the repository in a forked process, and return its number."""
    if child := os.fork():
        return child
    os.setsid()
    os.chdir(copy)
    os.environ |= {"PYTHONPATH": str(copy), _FAILED: str(copy.with_suffix(".failed"))}
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] in ("hf_emms", "scripts", "tests")]:
        del sys.modules[name]
    output = os.open(copy.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    files = [file for file in dict.fromkeys(test.partition("::")[0] for test in tests) if Path(file).is_file()]
    if not files:
        os._exit(pytest.ExitCode.NO_TESTS_COLLECTED)
    # Nobody reads how an assertion failed, and to say it takes long.
    quiet = ("--assert=plain", "--tb=no")
    code: int = pytest.ExitCode.INTERNAL_ERROR
    try:
        code = pytest.main([*PYTEST, "-n", "0", *quiet, *flags, *files], plugins=[Only(tests, recorded)])
    finally:  # what changed code raises where pytest is not ready for it goes no further than this process
        os._exit(code)


def failed_in(copy: Path) -> list[str]:
    """Return the tests that failed in a copy, as its last process has stored them."""
    path = copy.with_suffix(".failed")
    return json.loads(path.read_text()) if path.exists() else []


def copy_repository(folder: Path) -> Path:
    """Copy what git knows, and what it does not ignore, as far as it is not there: changed code may delete anything."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for source, copied in ((ROOT / name, folder / name) for name in names if name):
        if source.is_file() and not (copied.is_file() and copied.stat().st_mtime == source.stat().st_mtime):
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copied)
    return folder


@dataclass
class Trial:
    """A change whose tests run in a copy of the repository."""

    path: Path
    change: Change
    parts: list[list[str]]  # of the tests; importing many files takes longer than most tests
    recorded: Collection[str]
    copy: Path
    started: float
    pid: int = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def start_part(self) -> int:
        """Starts the next part of the tests, and returns its process."""
        self.pid = start_tests(self.copy, self.parts.pop(0), self.recorded, "-x")
        return self.pid

    def end_part(self) -> None:
        """Ends all processes that tests have left."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def start_trial(path: Path, number: int, copy: Path, record: Record, most_seconds: float) -> Trial:
    """Make a change in a copy, and start its tests until one fails."""
    tree = ast.parse((ROOT / path).read_text())
    change = list(changes(tree))[number]
    change.apply()
    (copy / path).write_text(ast.unparse(ast.fix_missing_locations(tree)))
    copy.with_suffix(".failed").unlink(missing_ok=True)
    tests = record.tests(str(path), change, most_seconds)
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    quick, others = ([test for test in tests if test.partition("::")[0] in part] for part in (files[:6], files[6:]))
    parts = [quick, others] if others else [quick]
    return Trial(path, change, parts, record.seconds.keys(), copy, time.monotonic())


def try_changes(chosen: list[tuple[Path, int]], workers: int, most_seconds: float) -> str:
    """Try each change in a copy, print what came of it, and return a sentence about all."""
    record, waiting, running = Record(), list(reversed(chosen)), dict[int, Trial]()
    outcomes, failed = Counter[str](), dict[str, list[str]]()
    folder = tempfile.mkdtemp()  # no TemporaryDirectory, which a process that a test forks would delete when it ends
    Path(folder).chmod(0o755)  # some tests give up their rights
    try:
        copies = [copy_repository(Path(folder) / str(number)) for number in range(workers)]
        while waiting or running:
            while waiting and copies:
                trial = start_trial(*waiting.pop(), copies.pop(), record, most_seconds)
                running[trial.start_part()] = trial
            for trial in running.values():
                if trial.seconds > 600 + 4 * most_seconds:
                    os.killpg(trial.pid, signal.SIGKILL)
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid not in running:
                time.sleep(0.1)
                continue
            trial = running.pop(pid)
            trial.end_part()
            code = os.waitstatus_to_exitcode(status)
            if code == 0 and trial.parts:
                running[trial.start_part()] = trial
                continue
            copies.append(copy_repository(trial.copy))
            outcome = _OUTCOMES.get(code, f"noticed: exit code {code}")
            outcomes[outcome.partition(":")[0]] += 1
            place = f"{trial.path}:{trial.change.line}  {trial.change.words}"
            first = next(iter(failed_in(trial.copy)), "")
            if first:
                failed.setdefault(first, []).append(place)
            words = [outcome, f"{trial.seconds:3.0f} s", place, first]
            print(f"{outcomes['noticed']:3d} of {outcomes.total():3d}", *words, sep="  ", flush=True)
        if failed:
            print(f"on unchanged code: {len(failed)} tests that noticed", flush=True)
            os.waitpid(start_tests(copies[0], [*failed], record.seconds.keys()), 0)
            for test in failed_in(copies[0]):
                print(f"fails on unchanged code too: {test}, which noticed {', '.join(failed.get(test, ()))}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return f"{outcomes['noticed']} of {outcomes.total()} changes were noticed"


_OUTCOMES = {0: "SURVIVED", 5: "SURVIVED: no test runs it", 1: "noticed"}


def places_of(path: str) -> list[tuple[Path, int]]:
    """Return the file and the number of each change of a folder, a file, or a line: PATH:LINE."""
    name, _, line = path.partition(":")
    whole = (ROOT / name).resolve()
    files = sorted(whole.rglob("*.py")) if whole.is_dir() else [whole]
    return [
        (file.relative_to(ROOT), number)
        for file in files
        for number, change in enumerate(changes(ast.parse(file.read_text())))
        if not line or change.line == int(line)
    ]


def main() -> None:
    """Record which test runs which line, or try changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", default=["hf_emms"], help="folders, files or PATH:LINE; or: record")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--count", type=int, default=30, help="how many changes are tried")
    parser.add_argument("--seconds", type=float, default=100, help="of tests a change, as recorded")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="changes that are tried at a time")
    options = parser.parse_args()
    if options.paths == ["record"]:
        record_lines(options.workers)
        return
    places = [place for path in options.paths for place in places_of(path)]
    chosen = random.Random(options.seed).sample(places, min(options.count, len(places)))
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in ("tests.conftest", *_HEAVY):  # once, before processes are forked; settings first, which some read
        importlib.import_module(name)
    importlib.import_module("torch").set_num_threads(1)
    quick_python.start()
    try:
        print(try_changes(chosen, options.workers, options.seconds), f"({len(places):,} places)")
    finally:
        quick_python.close()


if __name__ == "__main__":
    main()
