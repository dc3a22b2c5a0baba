"""What the pages show as the output of a command is what it prints: every word, and every figure within rounding."""

from __future__ import annotations

import re

import pytest

from scripts.docs.outputs import PAGES, masked, outputs
from tests.docs.pages import name_of

pytestmark = pytest.mark.slow

NUMBER = re.compile(r"-?\d+\.\d+")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_print_what_the_page_shows(page):
    found = list(outputs(page))
    assert found
    for shown in found:
        for old, new in zip(masked(shown.block), masked(shown.found), strict=True):
            assert NUMBER.sub("#", old) == NUMBER.sub("#", new), shown.command
            figures = [[float(number) for number in NUMBER.findall(line)] for line in (old, new)]
            assert figures[0] == pytest.approx(figures[1], abs=0.003, rel=0.003), shown.command
