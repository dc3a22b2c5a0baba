"""Modules and functions that scripts use exist: scripts run rarely, so nobody would notice a rename."""

from __future__ import annotations

import re

import pytest

from scripts.bench import scoring
from scripts.bench.__main__ import BENCHES, OF_THE_PAGE, bench
from tests import ROOT
from tests.docs.pages import imports, resolves

FILES = sorted((ROOT / "scripts").rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT / "scripts")))
def test_modules_and_functions_exist(file):
    source = file.read_text(encoding="utf-8")
    named = {*imports(source), *re.findall(r"\bhf_emms(?:\.\w+)+", source)}
    assert {name for name in named if not resolves(name)} == set()


def test_benchmarks_take_the_options_of_the_page():
    options = {name: bench(name)[1].parse_args(OF_THE_PAGE.get(name, "").split()) for name in BENCHES}
    assert [options["peer"].rows, options["scoring"].rounds] == [[2000], 2]
    files = {file.stem for file in (ROOT / "scripts" / "bench").glob("*.py") if "\ndef run(" in file.read_text()}
    assert files == set(BENCHES)


def test_a_benchmark_prints_a_table(monkeypatch, capsys):
    monkeypatch.setattr(scoring, "TASKS", {"image-classification": scoring.Shape(90, 16, 5, 5.13)})
    module, parser = bench("scoring")
    module.run(parser.parse_args(["logme", "--rounds", "1"]))
    assert re.search(r"^\| image-classification \| 90, 16, 5 \| [\d.]+ .* \| 5.13× \|$", capsys.readouterr().out, re.M)
