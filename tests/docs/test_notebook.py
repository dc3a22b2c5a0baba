"""The notebook runs offline and prints what it shows."""

from __future__ import annotations

import json
import re

import pytest

from scripts.docs.notebook import NOTEBOOK, executed

NUMBER = re.compile(r"-?\d+\.\d+")


def printed(notebook):
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(line for output in cell["outputs"] for line in output["text"]) for cell in cells]


@pytest.mark.slow
def test_the_notebook_prints_what_it_shows():
    stored = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    for shown, found in zip(printed(stored), printed(executed(stored)), strict=True):
        assert NUMBER.sub("#", shown) == NUMBER.sub("#", found)
        figures = [[float(number) for number in NUMBER.findall(text)] for text in (shown, found)]
        assert figures[0] == pytest.approx(figures[1], abs=0.005)
