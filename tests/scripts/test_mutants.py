"""Changes of code, and the tests that are run for each: what `scripts.mutants` draws from."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import coverage
import pytest

from scripts import mutants

SOURCE = """
LIMIT, LEAST = 3, None


def first(values: list[int] = [1], *, strict: bool = False) -> int | None:
    if not values or len(values) > LIMIT:
        raise ValueError(f"{len(values) + 1}")
    for value, other in zip(values, values, strict=True):
        if value is other:
            return value
    return None


class Kept(Struct, frozen=True):
    def is_small(number: int) -> bool:
        return False
"""


def changed(number: int) -> tuple[mutants.Change, str]:
    tree = ast.parse(SOURCE)
    change = list(mutants.changes(tree))[number]
    change.apply()
    return change, ast.unparse(tree)


def test_each_place_of_a_file_is_changed_once() -> None:
    """No annotation, message of an error, `strict` of a zip or `frozen` class, whose changes no test should ask for."""
    changes = list(mutants.changes(ast.parse(SOURCE)))
    assert [(change.line, change.words) for change in changes] == [
        (2, "3 → 4"),
        (5, "False → True"),
        (5, "1 → 2"),
        (6, "Or → And"),
        (6, "no not"),
        (6, "Gt → GtE"),
        (9, "Is → IsNot"),
        (10, "return None"),
        (16, "False → True"),
    ]
    texts = {changed(number)[1] for number in range(len(changes))}
    assert len(texts) == len(changes)
    assert ast.unparse(ast.parse(SOURCE)) not in texts
    assert changed(0)[0].names == ("LIMIT", "LEAST")
    assert (changed(1)[0].lines, changed(1)[0].body) == (range(5, 6), range(6, 12))


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mutants.Record:
    """A record of three tests of a file, which has one more line since."""
    monkeypatch.setattr(mutants, "ROOT", tmp_path / "now")
    monkeypatch.setattr(mutants, "RECORD", tmp_path / "then")
    for folder, source in (("now", "# A new line.\n" + SOURCE), ("then", SOURCE)):
        (tmp_path / folder / "hf_emms").mkdir(parents=True)
        (tmp_path / folder / "hf_emms" / "first.py").write_text(source)
    lines = coverage.CoverageData(str(tmp_path / "then" / "measured"))
    of_tests = {
        "tests/test_a.py::test_empty@ray": [6, 7],
        "tests/test_a.py::test_found[a@b] (call)": [6, 8, 9, 10],
        "tests/test_b.py::test_all": [6, 8, 9, 11],
        "": [2],
    }
    for context, numbers in of_tests.items():
        lines.set_context(context)
        lines.add_lines({str(tmp_path / "now" / "hf_emms" / "first.py"): numbers})
    lines.write()
    mutants.store_lines(tmp_path / "then" / "measured")
    seconds = {"tests/test_a.py::test_empty": 1, "tests/test_a.py::test_found[a@b]": 2, "tests/test_b.py::test_all": 9}
    seconds["tests/test_a.py::test_of_no_line"] = 0.5
    (tmp_path / "then" / "seconds.json").write_text(json.dumps(seconds))
    return mutants.Record()


def test_a_change_is_tested_by_the_tests_that_run_its_line_and_their_files(record: mutants.Record) -> None:
    tree = ast.parse((mutants.ROOT / "hf_emms" / "first.py").read_text())
    tests = [record.tests("hf_emms/first.py", change, 60) for change in mutants.changes(tree)]
    found, every, others = (
        "tests/test_a.py::test_found[a@b]",
        "tests/test_b.py::test_all",
        "tests/test_a.py::test_of_no_line",
    )
    assert tests[7][0] == found  # the line that returns
    assert {*tests[7]} == {found, "tests/test_a.py::test_empty", others}
    assert {*tests[6]} == {found, every, "tests/test_a.py::test_empty", others}
    assert {*tests[0]} == {*tests[5]} == {*tests[6]}  # a constant: the lines that name it
    assert every not in record.tests("hf_emms/first.py", list(mutants.changes(tree))[6], 5)


def test_a_line_of_a_file_can_be_asked_about() -> None:
    (path, number), *_ = mutants.places_of("hf_emms/cache/files.py")
    line = list(mutants.changes(ast.parse((mutants.ROOT / path).read_text())))[number].line
    assert (path, number) in mutants.places_of(f"hf_emms/cache/files.py:{line}")
    assert len(mutants.places_of(f"hf_emms/cache/files.py:{line}")) < len(mutants.places_of("hf_emms/cache/files.py"))
