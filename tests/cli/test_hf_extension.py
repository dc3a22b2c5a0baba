"""hf emms …: `hf extensions install OWNER/hf-emms` can use this repository, and a linked installation works.

The install itself downloads from GitHub; it leaves a manifest as the lines of the page do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

from hf_emms import __version__
from tests import ROOT

BIN = Path(sys.executable).parent


@pytest.fixture
def linked(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has linked an installation as the page says."""
    page = (ROOT / "docs" / "hf-extension.md").read_text()
    snippet = textwrap.dedent(page.partition("python - <<'EOF'\n")[2].partition("    EOF\n")[0])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**kept, "HOME": str(tmp_path), "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    subprocess.run([sys.executable, "-c", snippet], env=environment, check=True, timeout=100)
    return environment


def hf(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "hf"), *arguments], env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_hf_extension_passes_arguments_on(linked: dict[str, str]) -> None:
    version = hf(linked, "emms", "--version")
    assert version.returncode == 0, version.stderr
    assert version.stdout.split()[-1] == __version__
    usage = hf(linked, "emms", "rank")
    assert usage.returncode == 2
    assert "--dataset" in usage.stderr


def test_repository_is_a_python_package() -> None:
    # A file of this name at the root would be taken for the extension itself, a script.
    assert not (ROOT / "hf-emms").exists()
    assert not (ROOT / "manifest.json").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["hf-emms"] == "hf_emms.cli:main"
