"""hf-emms leaderboard: serving a folder, and errors."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.helpers.cli import cli
from tests.helpers.hub_client import hub
from tests.helpers.rankings import example
from tests.helpers.space import of_rows, scored, write
from tests.helpers.waiting import PATIENCE, eventually
from tests.hub.fixtures import client_environment

__all__ = ["cli", "hub"]


HEAVY = {"gradio", "fastapi", "pydantic", "torch", "transformers", "datasets", "pandas", "scipy", "pyarrow"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def text_of(address):
    """The content at an address; empty if nothing is served there."""
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
            return answer.read().decode()
    except OSError:
        return ""


@pytest.fixture
def serve(tmp_path):
    """Start `hf-emms leaderboard` with more arguments; return its address. It must end without an error."""
    servers = []

    def started(*words, environment=None):
        port = free_port()
        command = [sys.executable, "-X", "importtime", "-m", "hf_emms", "leaderboard", "--port", str(port), *words]
        with (tmp_path / "imports.txt").open("w") as imports:
            server = subprocess.Popen(command, stderr=imports, start_new_session=True, env=environment or os.environ)
        servers.append(server)
        eventually(lambda: text_of(f"http://127.0.0.1:{port}") or server.poll() is not None)
        return f"http://127.0.0.1:{port}"

    yield started
    for server in servers:
        os.killpg(server.pid, signal.SIGINT)
        assert server.wait(PATIENCE) == 0


def test_a_folder_is_served_without_heavy_libraries_and_new_files_appear(serve, tmp_path):
    write(tmp_path / "results", "beans", example())
    address = serve("--results", tmp_path / "results")
    for path in (
        "?tab=rankings",
        "?tab=across",
        "?checkpoint=org%2Fbest",
        "export?tab=rankings",
        "api/get_ranking?ranking=beans",
    ):
        assert "org/best" in text_of(f"{address}/{path}").replace("</span><wbr>", "")
    write(tmp_path / "results", "food", of_rows("food", scored("org/new", -0.1, 10)))
    eventually(lambda: "food" in text_of(f"{address}/api/list_rankings"))
    imported = {line.rpartition("|")[2].strip() for line in (tmp_path / "imports.txt").read_text().splitlines()}
    assert {"hf_emms.cli.app", "leaderboard.server", "starlette"} <= imported
    assert not imported & HEAVY


def test_a_results_dataset_is_served(hub, serve, tmp_path):
    hub.store.put_files("lab/emms-results", {"rankings/beans.json": example().to_json().encode()}, "dataset")
    address = serve("--results", "lab/emms-results", environment=client_environment(hub, tmp_path / "client"))
    eventually(lambda: "beans" in text_of(address))


def test_only_requests_for_known_hosts_are_answered(serve, tmp_path):
    write(tmp_path / "results", "beans", example())
    address = serve("--results", tmp_path / "results", "--host", "proxy.example")

    def status(host):
        request = urllib.request.Request(f"{address}/api/list_rankings", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    port = address.rpartition(":")[2]
    allowed = ("127.0.0.1", f"127.0.0.1:{port}", f"localhost:{port}", "proxy.example")
    assert [status(host) for host in allowed] == [200] * 4
    assert [status(host) for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example")] == [400] * 3


def test_missing_folder_and_used_port_are_refused(cli):
    missing = cli("leaderboard", "--results", "./nowhere")
    assert missing.code == 1
    assert "'./nowhere'" in missing.err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = cli("leaderboard", "--results", ".", "--port", port)
    assert refused.code == 1
    assert f"port {port} cannot be used" in refused.err
