"""The wheel, built and installed in a clean environment, runs the demo from there."""

import json
from pathlib import Path

import pytest

from tests.helpers.environments import run

pytestmark = pytest.mark.slow


def test_the_installed_package_is_the_wheels(installed, tmp_path):
    code = "import hf_emms; print(hf_emms.__file__)"
    result = run([str(installed / "python"), "-c", code], tmp_path)
    assert Path(result.stdout.strip()).is_relative_to(installed.parent), result.stdout + result.stderr


def test_the_demo_runs_from_the_wheel(installed, tmp_path):
    result = run([str(installed / "hf-emms"), "demo", "--format", "json"], tmp_path)
    assert result.returncode == 0, result.stderr
    ranking = json.loads(result.stdout)
    assert len(ranking["rows"]) >= 8
    assert all(row["error"] is None for row in ranking["rows"])
    assert any("hf-emms:" in path.read_text() for path in tmp_path.rglob("*.md"))


def test_the_space_ships_with_the_wheel(installed, tmp_path):
    code = "from hf_emms.publish.space import files; print({'app.py', 'hf_emms/ranking/records.py'} <= set(files()))"
    assert run([str(installed / "python"), "-c", code], tmp_path).stdout.strip() == "True"
