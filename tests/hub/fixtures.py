"""Fixtures that run the stand-in Hub, and clients of it in separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.quick_python import python
from tests.helpers.waiting import PATIENCE

from .server import Hub, running_hub

ROOT = Path(__file__).parents[2]


def client_environment(hub: Hub, home: Path, **extra: str) -> dict[str, str]:
    """Return the environment of a client of this Hub. huggingface_hub reads HF_ENDPOINT once, on import."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hf"),
        "HF_EMMS_CACHE": str(home / "emms"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(ROOT),
    }
    return {**kept, **settings, **extra}


def run_client(hub: Hub, code: str, home: Path, **extra: str) -> Any:
    """Run Python code whose last printed line is JSON, and return its value."""
    environment = client_environment(hub, home, **extra)
    command = [*python(), "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert environment.get("HF_TOKEN", "no token") not in done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """An empty stand-in Hub."""
    with running_hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture(scope="session")
def demo_hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A stand-in Hub with the demo's datasets and checkpoints. All tests share it, so do not change it."""
    with running_hub(tmp_path_factory.mktemp("demo-hub"), demo=True) as running:
        yield running


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Callable[..., Any]:
    """Run code against the `hub` fixture with new caches, see `run_client`."""

    def run(code: str, **extra: str) -> Any:
        return run_client(hub, code, tmp_path / "client", **extra)

    return run
