"""Change the package at random places, and print which changes no test notices.

A change turns a comparison, changes a constant, removes a branch or drops an argument. The tests run in a copy of the
repository, each time the files with tests that have called the changed function. Record these once, with --record: a
run of all fast tests. Without a record, or for code that no recorded test has called, all fast tests run.
"""

from __future__ import annotations

import argparse
import ast
import copy
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_emms"
_RECORD = "MUTANTS_RECORD"  # the file that the pytest plugin below writes
_TURNED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is},
}


class Change(NamedTuple):
    """A changed expression: its file, the first line of its function (0: none), its line, the old and new source."""

    path: Path
    function: int
    line: int
    old: str
    new: str
    start: int
    end: int

    def called(self) -> str:
        """Return the name of the function in the record."""
        return f"{self.path.relative_to(ROOT)}:{self.function}"

    def source(self) -> str:
        """Return the changed file."""
        content = self.path.read_bytes()
        return (content[: self.start] + f"({self.new})".encode() + content[self.end :]).decode()

    def is_valid(self) -> bool:
        """Return whether the changed file is Python."""
        try:
            compile(self.source(), str(self.path), "exec")
        except SyntaxError:
            return False
        return True

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.old} → {self.new}"


def changed(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield the changes of a node: the expression, and what replaces it."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield node, ast.Compare(node.left, [_TURNED[type(node.ops[0])]()], node.comparators)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        value: Any = not node.value if isinstance(node.value, bool) else node.value + 1
        yield node, ast.Constant(value)
    elif isinstance(node, ast.If | ast.IfExp):
        yield node.test, ast.Constant(False)
    elif isinstance(node, ast.Call) and node.keywords:
        fewer = copy.copy(node)
        fewer.keywords = node.keywords[:-1]
        yield node, fewer


def changes(path: Path) -> Iterator[Change]:
    """Yield all changes of a file."""
    text = path.read_text()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))

    def visit(node: ast.AST, function: int) -> Iterator[Change]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            function = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        for old, new in changed(node):
            assert old.end_lineno is not None
            assert old.end_col_offset is not None
            start = starts[old.lineno - 1] + old.col_offset
            end = starts[old.end_lineno - 1] + old.end_col_offset
            yield Change(path, function, old.lineno, ast.unparse(old), ast.unparse(new), start, end)
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.JoinedStr):  # Python 3.11 does not know the places in f-strings
                yield from visit(child, function)

    yield from visit(ast.parse(text), 0)


def main() -> int:
    """Draw changes, run the tests on each, and return 1 if too many survive."""
    parser = argparse.ArgumentParser(prog="python -m scripts.mutants", description=__doc__)
    parser.add_argument("-n", type=int, default=100, help="how many changes [default: 100]")
    parser.add_argument("--seed", type=int, default=0, help="of the drawn changes [default: 0]")
    parser.add_argument("--under", default=".", metavar="FOLDER", help="a folder or file of hf_emms [default: all]")
    parser.add_argument("--map", type=Path, default=ROOT / "build/mutants.json", help="file of the record")
    parser.add_argument("--record", action="store_true", help="run all fast tests and record what they call")
    parser.add_argument("--at-least", type=float, default=0.9, help="share of changes to be noticed [default: 0.9]")
    options = parser.parse_args()
    if options.record:
        options.map.parent.mkdir(exist_ok=True)
        return int(_pytest(ROOT, [], "-p", "scripts.mutants", record=options.map))
    record = json.loads(options.map.read_text()) if options.map.exists() else {}
    place = PACKAGE / options.under
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    every = [change for path in files for change in changes(path)]
    random.Random(options.seed).shuffle(every)
    drawn = list(itertools.islice(filter(Change.is_valid, every), options.n))
    survived = 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as temporary:
        folder = Path(temporary)
        _copy(folder)
        recorded = [record.get(change.called(), []) for change in drawn]
        if _pytest(folder, sorted({test for tests in recorded for test in tests}) if all(recorded) else []):
            sys.exit("the tests fail without any change")
        for number, (change, tests) in enumerate(zip(drawn, recorded, strict=True), 1):
            copied = folder / change.path.relative_to(ROOT)
            copied.write_text(change.source())
            noticed = _pytest(folder, tests, "--maxfail=1")
            copied.write_text(change.path.read_text())
            survived += not noticed
            print(f"[{number}/{len(drawn)}] {'noticed ' if noticed else 'SURVIVED'} {change}", flush=True)
    print(f"{len(drawn) - survived} of {len(drawn)} changes were noticed")
    return int(survived > (1 - options.at_least) * len(drawn))


def _copy(folder: Path) -> None:
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    for name in filter(None, listed):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)


def _pytest(folder: Path, tests: list[str], *words: str, record: Path | None = None) -> bool:
    """Run fast tests, and return whether one fails."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:randomly", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    stream: int | None = subprocess.DEVNULL
    if record:
        environment[_RECORD], stream = str(record.resolve()), None
    done = subprocess.run([*command, *words, *tests], cwd=folder, env=environment, stdout=stream, stderr=stream)
    if done.returncode not in (0, 1, 2):  # 2: a test file cannot be imported
        sys.exit(f"pytest ended with {done.returncode}: {tests}")
    return done.returncode != 0


_called: defaultdict[str, set[str]] = defaultdict(set)


def pytest_runtest_protocol(item: Any) -> None:
    """Record the functions that a test calls, as a plugin of pytest."""
    test, prefix = item.nodeid.partition("::")[0], f"{PACKAGE}{os.sep}"

    def note(frame: Any, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(prefix):
            _called[f"{code.co_filename[len(str(ROOT)) + 1 :]}:{code.co_firstlineno}"].add(test)

    sys.setprofile(note)


def pytest_sessionfinish() -> None:
    """Write the record."""
    sys.setprofile(None)
    Path(os.environ[_RECORD]).write_text(json.dumps({name: sorted(tests) for name, tests in _called.items()}))


if __name__ == "__main__":
    sys.exit(main())
