"""hf-emms leaderboard serves a folder, and says what is wrong when it cannot."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.helpers.cli import cli
from tests.helpers.rankings import example
from tests.helpers.waiting import PATIENCE, eventually

__all__ = ["cli"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def page(port):
    """What is served on a port, if anything is."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=PATIENCE) as answer:
            return answer.read()
    except OSError:
        return None


def test_it_serves_a_folder(tmp_path):
    pytest.importorskip("gradio", reason="the leaderboard needs gradio")
    (tmp_path / "beans.json").write_text(example().to_json())
    port = free_port()
    command = [sys.executable, "-m", "hf_emms", "leaderboard", "--results", tmp_path, "--port", str(port)]
    server = subprocess.Popen(command, start_new_session=True)
    try:
        assert b"EMMS leaderboard" in eventually(lambda: page(port) or server.poll() is not None)
    finally:
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait(PATIENCE) == 0


def test_a_folder_that_is_not_there_a_port_in_use_and_a_page_that_fails(cli, tmp_path, monkeypatch):
    missing = cli("leaderboard", "--results", "./nowhere")
    assert missing.code == 1
    assert "no folder './nowhere'" in missing.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = cli("leaderboard", "--results", ".", "--port", port)
    assert refused.code == 1
    assert f"port {port} cannot be used" in refused.err
    (tmp_path / "gradio.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    assert cli("leaderboard", "--results", ".").code == 3
