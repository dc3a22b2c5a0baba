"""What of a dataset was not read is said with every ranking, and before one."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.cli import GOOD, Cli, cli
from tests.helpers.rows import png

__all__ = ["cli"]

SAID = "not used: note, Taken by"


def test_columns_that_are_not_read_are_named_in_tables_in_json_and_before_a_run(cli: Cli, tmp_path: Path) -> None:
    lines = ["path,label,note,Taken by"]
    for i in range(24):
        (tmp_path / f"{i}.png").write_bytes(png((10 * i, 7 * i % 256, 0)))
        lines.append(f"{i}.png,{'dark' if i < 12 else 'bright'},note {i},someone")
    file = tmp_path / "pictures.csv"
    file.write_text("\n".join(lines))
    rank = ("rank", "--dataset", file, "-c", GOOD, "-e", "emms-demo/encoder-minilm-static", "--folds", "3")
    assert SAID in cli(*rank, "--dry-run").err.splitlines()
    result = cli(*rank, "--format", "table", "-o", tmp_path / "ranking.json")
    assert result.code == 0, result.err
    assert result.out.splitlines()[-1] == SAID
    assert json.loads((tmp_path / "ranking.json").read_text())["unused_columns"] == ["note", "Taken by"]
    assert SAID in cli(*rank, "--format", "tsv").err.splitlines()
    assert SAID in cli(*rank, "--format", "md").out
