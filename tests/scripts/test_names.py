"""Modules and functions that scripts use exist: scripts run rarely, so nobody would notice a rename."""

from __future__ import annotations

import re

import pytest

from scripts.bench.__main__ import BENCHES, OF_THE_PAGE, bench
from tests import ROOT
from tests.docs.pages import imports, resolves

FILES = sorted((ROOT / "scripts").rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT / "scripts")))
def test_modules_and_functions_exist(file):
    source = file.read_text(encoding="utf-8")
    named = {*imports(source), *re.findall(r"\bhf_emms(?:\.\w+)+", source)}
    assert {name for name in named if not resolves(name)} == set()


@pytest.mark.parametrize("name", BENCHES)
def test_each_benchmark_has_options_and_runs(name):
    module, parser = bench(name)
    assert callable(module.run)
    assert name not in OF_THE_PAGE or parser.parse_args([])
