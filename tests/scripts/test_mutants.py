"""The changes that `make mutants` draws."""

from __future__ import annotations

import ast
from pathlib import Path

from scripts.mutants import changes

SOURCE = """
def first(é, values=None):
    if é < 2:
        return sorted(values, key=len)
"""


def test_a_change_turns_a_comparison_or_changes_a_constant_or_removes_a_branch_or_an_argument(tmp_path: Path) -> None:
    path = tmp_path / "code.py"
    path.write_text(SOURCE)
    found = {(change.old, change.new): change for change in changes(path)}
    assert set(found) == {
        ("é < 2", "é <= 2"),
        ("é < 2", "False"),
        ("2", "3"),
        ("sorted(values, key=len)", "sorted(values)"),
    }
    for (old, new), change in found.items():
        assert ast.unparse(ast.parse(change.source())) == ast.unparse(ast.parse(SOURCE.replace(old, new)))
        assert (change.function, change.is_valid()) == (2, True)
