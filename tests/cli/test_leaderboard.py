"""hf-emms leaderboard: serving a folder, and errors."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.helpers.cli import cli
from tests.helpers.hub_client import cli as on_hub
from tests.helpers.hub_client import home, hub
from tests.helpers.rankings import example
from tests.helpers.waiting import PATIENCE, eventually

__all__ = ["cli", "home", "hub", "on_hub"]


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


def test_leaderboard_serves_a_folder(tmp_path):
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


def test_missing_folder_and_used_port_are_refused(cli):
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


# A page that fails when it has said what it was told.
GRADIO = "import json, os\njson.dump(dict(os.environ), open(os.environ['TOLD'], 'w'))\nraise SystemExit(3)\n"


def test_environment_and_exit_code_of_the_server(hub, on_hub, tmp_path):
    (tmp_path / "gradio.py").write_text(GRADIO)
    hub.store.put_files("lab/emms-results", {"README.md": b"# Results\n"}, "dataset")
    path, port = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))), str(free_port())
    shared = {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONDONTWRITEBYTECODE": "1"}
    for words, expected in (
        (["lab/emms-results", "--port", port], {"EMMS_RESULTS_REPO": "lab/emms-results", "GRADIO_SERVER_PORT": port}),
        ([tmp_path], {"EMMS_RESULTS": str(tmp_path)}),
    ):
        done = on_hub.run("leaderboard", "--results", *words, PYTHONPATH=path, TOLD=str(tmp_path / "told.json"))
        assert (done.code, done.out) == (3, "")
        told = json.loads((tmp_path / "told.json").read_text())
        assert {name: told.get(name) for name in (*expected, *shared)} == expected | shared
