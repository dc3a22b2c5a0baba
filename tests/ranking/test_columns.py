"""A column of the tables is defined once: a new one is found in every table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.helpers.rankings import example

NEW = """COLUMNS: tuple[TableColumn, ...] = (
    TableColumn(
        "inputs",
        ("text", "file", "results", "model card", "dataset card", "page"),
        lambda ranking, row: ranking.n_inputs,
        lambda count: f"{count:,} read",
        int,
        title="inputs read",
    ),
"""
PROBE = """
import io, sys
import pyarrow.parquet as pq
from hf_emms import Ranking, card
from hf_emms.publish.results import parquet_rows
from leaderboard.selection import View
from leaderboard.store import Entry, Snapshot
from leaderboard.table import table, to_csv

ranking = Ranking.load(sys.argv[1])
for text in (str(ranking), ranking._repr_html_(), card(ranking, "org/best"), card(ranking)):
    assert "inputs read" in text, text
    assert "1,030 read" in text.replace("\\u00a0", " "), text
assert ranking.records()[0]["inputs"] == 1030
assert pq.read_table(io.BytesIO(parquet_rows(ranking, "x")))["inputs"].to_pylist() == [1030] * 4
snapshot = Snapshot({"x": Entry("x", ranking)})
page = table(View(), ranking, snapshot)
assert "Inputs read" in page and "1,030 read" in page, page
assert ",inputs," in to_csv(View(), ranking, snapshot)
"""


def test_a_new_column_is_one_entry_and_in_every_table(tmp_path: Path) -> None:
    for folder in ("hf_emms", "templates", "spaces_app"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    file = tmp_path / "hf_emms" / "ranking" / "columns.py"
    before = file.read_text()
    assert before.count("COLUMNS: tuple[TableColumn, ...] = (\n") == 1
    file.write_text(before.replace("COLUMNS: tuple[TableColumn, ...] = (\n", NEW))
    example().save(tmp_path / "ranking.json")
    path = os.pathsep.join([str(tmp_path), str(tmp_path / "spaces_app")])
    probe = subprocess.run(
        [sys.executable, "-c", PROBE, "ranking.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert probe.returncode == 0, probe.stderr
