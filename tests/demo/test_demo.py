"""The embedded demo, as a new user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_emms.ranking import Ranking

# Says on its last line of stderr whether torch was needed.
PROGRAM = """
import sys
from hf_emms.cli import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_EMMS_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", PROGRAM, "demo"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def rankings(folder: Path) -> dict[str, Ranking]:
    files = (folder / "hf_emms_demo").glob("*.json")
    return {path.stem: Ranking.from_json(path.read_text()) for path in files}


@pytest.mark.slow
def test_the_demo_ranks_a_dataset_of_each_task_and_answers_from_the_cache_afterwards(tmp_path: Path) -> None:
    first = demo(tmp_path)
    assert first.returncode == 0, first.stderr
    found = rankings(tmp_path)
    assert {name: ranking.task for name, ranking in found.items()} == {
        "captions": "image-to-text",
        "fashion": "image-classification",
        "glosses": "text-classification",
        "questions": "visual-question-answering",
        "spans": "question-answering",
        "boxes": "referring-expression",
    }
    for ranking in found.values():
        assert [row.error for row in ranking.rows] == [None] * len(ranking.rows)
        order = [row.checkpoint for row in ranking.rows]
        assert "random" not in order[0]
        assert any("random" in checkpoint for checkpoint in order[-2:])
        for checkpoint in order:
            assert checkpoint in first.stdout
    (card,) = (tmp_path / "hf_emms_demo").glob("card-*.md")
    assert card.read_text().startswith("<!-- hf-emms:start")
    assert str(card.relative_to(tmp_path)) in first.stderr

    again = demo(tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert again.stderr.splitlines()[-1] == "False"
    assert {row.cached for ranking in rankings(tmp_path).values() for row in ranking.rows} == {"row"}
