"""The wheel, built and installed in a clean environment, runs the demo from there."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The bin folder of a fresh venv that holds the wheel; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    bin_folder = folder / "venv" / "bin"
    install = [str(bin_folder / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    site = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    # Installed packages only: the .pth file of an editable hf_emms is not read from a folder added by a .pth file.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return bin_folder


def run(command, folder):
    environment = {**os.environ, "HF_EMMS_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hf")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


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
    code = "import hf_emms, pathlib; print((pathlib.Path(hf_emms.__file__).parent / 'spaces_app' / 'app.py').is_file())"
    assert run([str(installed / "python"), "-c", code], tmp_path).stdout.strip() == "True"
