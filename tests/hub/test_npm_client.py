"""The stand-in Hub and a client that others wrote: npm's @huggingface/hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.hub import Hub

CLIENT = "@huggingface/hub@2.17.5"
CALLS = Path(__file__).with_name("npm_client.mjs")


@pytest.mark.slow
def test_another_client_creates_uploads_lists_downloads_proposes_and_deletes(hub: Hub, tmp_path: Path) -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    install = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(tmp_path), CLIENT]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"npm cannot install {CLIENT} here: {(installed.stderr.strip().splitlines() or [''])[-1]}")
    shutil.copy(CALLS, tmp_path)
    environment = {**os.environ, "HUB": hub.url, "TOKEN": hub.token(user="ada")}
    done = subprocess.run(
        ["node", CALLS.name], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop("card").startswith("---\nlicense: mit")
    assert found.pop("draft").startswith("---\nlicense: mit")
    assert found == {
        "account": "ada",
        "exists": [True, False],
        "files": [
            [".gitattributes", found["files"][0][1], False],
            ["README.md", 67, False],
            ["model.safetensors", 300_000, True],
        ],
        "same": True,
        "info": 300_000,
        "there": [True, False],
        "paths": ["README.md"],
        "proposed": "/ada/from-npm/discussions/1",
        "ofProposal": "new",
        "left": [".gitattributes", "README.md"],
        "commits": 3,
        "model": ["ada/from-npm", "image-classification", True],
        "listed": ["ada/from-npm"],
        "space": "static",
        "gone": True,
    }
