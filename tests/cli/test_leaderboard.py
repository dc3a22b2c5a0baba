"""hf-emms leaderboard serves a folder, and says what is wrong when it cannot."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.helpers.rankings import example

SCRIPT = "import sys; sys.argv[0] = 'hf-emms'; from hf_emms.cli import main; main()"


def command(*arguments):
    return [sys.executable, "-c", SCRIPT, "leaderboard", *arguments]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_it_serves_a_folder(tmp_path):
    pytest.importorskip("gradio", reason="the leaderboard needs gradio")
    (tmp_path / "beans.json").write_text(example().to_json())
    port = free_port()
    server = subprocess.Popen(command("--results", str(tmp_path), "--port", str(port)), start_new_session=True)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=5) as answer:
                    assert b"EMMS leaderboard" in answer.read()
                break
            except OSError:
                assert server.poll() is None
                assert time.monotonic() < end
                time.sleep(0.3)
    finally:
        os.killpg(server.pid, 2)
        assert server.wait(timeout=20) == 0


def test_a_folder_that_is_not_there_and_a_port_in_use():
    missing = subprocess.run(command("--results", "./nowhere"), capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "no folder './nowhere'" in missing.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused = subprocess.run(command("--results", ".", "--port", port), capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert f"port {port} cannot be used" in refused.stderr
