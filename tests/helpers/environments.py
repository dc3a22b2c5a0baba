"""New environments with the wheel and its dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests import ROOT


def fresh_environment(folder: Path, *, with_pip: bool = False) -> Path:
    """Create a virtual environment with this environment's packages, and return its bin folder."""
    options = [] if with_pip else ["--without-pip"]
    subprocess.run([sys.executable, "-m", "venv", *options, str(folder)], check=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    # Without an editable hf_emms: Python ignores .pth files in a folder that a .pth file adds.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


def run(command: list[str], folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that also contains its caches."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**inherited, "HF_EMMS_CACHE": str(folder / "cache"), "HF_HOME": str(folder / "hf"), **extra}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree, built without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel."""
    bin_folder = fresh_environment(tmp_path_factory.mktemp("environment") / "venv", with_pip=True)
    install = [str(bin_folder / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    return bin_folder
