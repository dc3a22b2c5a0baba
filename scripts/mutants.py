"""How many small random changes of the code the tests notice.

    python -m scripts.mutants --seed 1 --count 30 hf_emms/scoring hf_emms/tasks

Each change is made in a copy of the repository, where the tests of the changed file's folder run until one fails. What
survives is printed: a gap in the tests, a constant of speed, or a change that changes nothing.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Folder of the package → the tests that hold what it does, the quick ones first.
TESTS = {
    "hf_emms/scoring": ("tests/scoring/test_golden.py", "tests/scoring"),
    "hf_emms/ranking": ("tests/ranking", "tests/publish/test_static_order.py", "tests/run/test_layer_ranking.py"),
    "hf_emms/data": ("tests/data/test_sample.py", "tests/data"),
    "hf_emms/tasks": ("tests/data/test_spans.py", "tests/tasks", "tests/data", "tests/finetune"),
}
# Imported once, before the process of each change is forked.
_HEAVY = ("datasets", "hypothesis", "pandas", "pytest", "scipy.linalg", "sklearn.metrics", "torch", "transformers")
_MAX_SECONDS = 900  # a change may make an endless loop, which is noticed
_SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.And: ast.Or, ast.Or: ast.And},
}


@dataclass(frozen=True)
class Change:
    """One change of one place in a file, which `apply` makes in the file's tree."""

    line: int
    words: str
    apply: Callable[[], None]


def changes(node: ast.AST) -> Iterator[Change]:
    """All changes of a tree, outside annotations and errors."""
    for field, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for place, child in enumerate(children):
            if not isinstance(child, ast.AST) or field in ("annotation", "returns", "decorator_list", "exc"):
                continue
            for words, replacement in _replacements(child):
                yield Change(_line(child, node), words, _setter(node, field, place, value, replacement))
            yield from changes(child)


def _replacements(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    if type(node) in _SWAPPED:
        other = _SWAPPED[type(node)]
        yield f"{type(node).__name__} → {other.__name__}", other()
    if isinstance(node, ast.Constant) and type(node.value) is int:
        yield f"{node.value} → {node.value + 1}", ast.Constant(node.value + 1)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "no not", node.operand
    if isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) != "None":
        yield "return None", ast.Return(ast.Constant(None))


def _line(node: ast.AST, parent: ast.AST) -> int:
    return getattr(node, "lineno", None) or getattr(parent, "lineno", 0)


def _setter(node: ast.AST, field: str, place: int, value: object, replacement: ast.AST) -> Callable[[], None]:
    def apply() -> None:
        if isinstance(value, list):
            value[place] = replacement
        else:
            setattr(node, field, replacement)

    return apply


def run_tests(copy: Path, tests: tuple[str, ...]) -> bool:
    """Whether all tests pass in a copy of the repository, in a process of their own."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    import pytest

    signal.alarm(_MAX_SECONDS)
    os.chdir(copy)
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    for name in [name for name in sys.modules if name.split(".")[0] in ("hf_emms", "scripts", "tests")]:
        del sys.modules[name]
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os._exit(int(pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", default=[*TESTS], help="folders of the package, see TESTS")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=30)
    arguments = parser.parse_args()
    for name in _HEAVY:
        importlib.import_module(name)
    files = [path for folder in arguments.folders for path in sorted((ROOT / folder).glob("*.py"))]
    places = [(path, number) for path in files for number, _ in enumerate(changes(ast.parse(path.read_text())))]
    chosen = random.Random(arguments.seed).sample(places, min(arguments.count, len(places)))
    caught = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "repository"
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, tracked.split("\0")):
            if (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        for turn, (path, number) in enumerate(chosen, start=1):
            name, tree = path.relative_to(ROOT), ast.parse(path.read_text())
            change = list(changes(tree))[number]
            change.apply()
            (copy / name).write_text(ast.unparse(ast.fix_missing_locations(tree)))
            survives = run_tests(copy, TESTS[str(name.parent)])
            shutil.copy2(path, copy / name)
            caught += not survives
            outcome = "SURVIVED" if survives else "caught"
            print(f"{caught} of {turn}  {outcome}  {name}:{change.line}  {change.words}", flush=True)


if __name__ == "__main__":
    main()
