"""The wheel, built and installed in a clean environment, runs the demo from there, as a new user does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hf_emms.ranking import Ranking
from tests.helpers.environments import run

pytestmark = pytest.mark.slow

# Says on its last line of stderr whether torch was needed.
PROGRAM = """
import sys
from hf_emms.cli.app import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


def run_demo(installed: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run([str(installed / "python"), "-c", PROGRAM, "demo"], folder, **environment)


def rankings(folder: Path) -> dict[str, Ranking]:
    files = (folder / "hf_emms_demo").glob("*.json")
    return {path.stem: Ranking.from_json(path.read_text()) for path in files}


def test_installed_package_contains_the_space(installed, tmp_path):
    code = "import hf_emms; from hf_emms.publish.space import files; print(hf_emms.__file__, *files(), sep='\\n')"
    result = run([str(installed / "python"), "-c", code], tmp_path)
    package, *files = result.stdout.splitlines()
    assert Path(package).is_relative_to(installed.parent), result.stderr
    assert {"app.py", "leaderboard/templates/page.html", "hf_emms/ranking/records.py"} <= {*files}


def test_demo_ranks_and_uses_the_cache_afterwards(installed, tmp_path):
    first = run_demo(installed, tmp_path)
    assert first.returncode == 0, first.stderr
    tables = rankings(tmp_path)
    assert {name: ranking.task for name, ranking in tables.items()} == {
        "captions": "image-to-text",
        "fashion": "image-classification",
        "glosses": "text-classification",
        "questions": "visual-question-answering",
        "spans": "question-answering",
        "boxes": "referring-expression",
        "pairs": "text-pair-classification",
        "words": "token-classification",
        "sounds": "audio-classification",
        "definitions": "text-generation",
        "preferences": "preference",
        "search": "text-retrieval",
    }
    for name, ranking in tables.items():
        assert [row.error for row in ranking.rows] == [None] * len(ranking.rows)
        order = [row.checkpoint for row in ranking.rows]
        assert "random" not in order[0]
        # Only one checkpoint prefers definitions; the others are as good as chance.
        assert name == "preferences" or any("random" in checkpoint for checkpoint in order[-2:])
        for checkpoint in order:
            assert checkpoint in first.stdout
    (card,) = (tmp_path / "hf_emms_demo").glob("card-*.md")
    assert card.read_text().startswith("<!-- hf-emms:start")
    assert str(card.relative_to(tmp_path)) in first.stderr

    again = run_demo(installed, tmp_path)
    assert again.returncode == 0, again.stderr
    assert again.stdout == first.stdout
    assert again.stderr.splitlines()[-1] == "False"
    assert {row.cached for ranking in rankings(tmp_path).values() for row in ranking.rows} == {"row"}

    (tmp_path / "soundfile.py").write_text("raise ImportError('no soundfile here')")
    without = run_demo(installed, tmp_path, PYTHONPATH=str(tmp_path))
    assert without.returncode == 0, without.stderr
    assert "reading sound requires soundfile and soxr, which are not installed" in without.stderr
    assert "demo_words" in without.stdout
    assert "ast-words" not in without.stdout
