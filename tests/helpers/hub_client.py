"""Fixtures for commands over HTTP: a Hub per test file, and a process that uses only this Hub."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import CommandLine
from tests.hub import Hub, running_hub
from tests.hub.fixtures import client_environment, run_client

# Seconds during which commands retry a failing Hub.
DEADLINE = "60"


@contextmanager
def commands(hub: Hub, home: Path, deadline: str = DEADLINE) -> Iterator[CommandLine]:
    """Run commands against a Hub in one process, with caches in a folder."""
    running = CommandLine(client_environment(hub, home, HF_EMMS_DEADLINE=deadline), home)
    yield running
    running.close()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("client")


@pytest.fixture(scope="module")
def cli(hub: Hub, home: Path) -> Iterator[CommandLine]:
    with commands(hub, home) as running:
        yield running


_REPORT = """
import json
from hf_emms.errors import EmmsError
from hf_emms.hub import fetch, resolve
def report(call):
    try:
        return call()
    except EmmsError as error:
        return {"error": type(error).__name__, "message": error.message, "hint": error.hint}
"""


def run(code: str, hub: Hub, home: Path, **environment: str) -> Any:
    """Run client code as `run_client` does. Its function `report` converts the error of a call to a dict."""
    return run_client(hub, _REPORT + textwrap.dedent(code), home, **environment)
