"""hf emms …: what `hf extensions install OWNER/hf-emms` needs of this repository, and what it leaves behind works.

The install itself downloads from GitHub; what it writes is written here by the client's own code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

from hf_emms import __version__
from tests import ROOT

BIN = Path(sys.executable).parent


def hf(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "hf"), *arguments], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_repository_is_installed_as_a_python_package() -> None:
    # A file of this name at the root would be taken for the extension itself, a script.
    assert not (ROOT / "hf-emms").exists()
    assert not (ROOT / "manifest.json").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"]["hf-emms"] == "hf_emms.__main__:main"


def test_hf_runs_an_installation_that_is_linked_as_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "hf-extension.md").read_text()
    snippet = textwrap.dedent(page.partition("python - <<'EOF'\n")[2].partition("    EOF\n")[0])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment = {**kept, "HOME": str(tmp_path), "HF_HUB_DISABLE_UPDATE_CHECK": "1"}
    environment["PATH"] = f"{BIN}{os.pathsep}{environment['PATH']}"
    subprocess.run([sys.executable, "-c", snippet], env=environment, check=True, timeout=300)
    assert hf(environment, "emms", "--version").stdout.split()[-1] == __version__
