"""Run every test offline, without the user's caches.

This module sets the environment before anything imports huggingface_hub, which reads it once.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import ROOT
from tests.helpers import quick_python

pytest_plugins = (
    *("tests.hub.fixtures", "tests.helpers.environments", "tests.helpers.browser", "tests.helpers.space"),
    "tests.helpers.hints",
)

# In the background of a shell, tests would ignore SIGINT, and so would the commands that they interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The Space is a separate application: its modules are next to its app.py.
sys.path.insert(0, str(ROOT / "spaces_app"))

_HOME = Path(tempfile.mkdtemp(prefix="hf-emms-tests-"))
os.environ.update(
    HF_HOME=str(_HOME / "hf"),
    HF_EMMS_CACHE=str(_HOME / "emms"),
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_EMMS_WORKER="0",  # checkpoints run in the process of the test; the tests of the worker turn it on
)
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # the other cores are for the other workers
for name in (
    "HF_TOKEN",
    "HF_EMMS_DEBUG",
    "HF_ENDPOINT",
    "HF_HUB_CACHE",
    "HF_DATASETS_CACHE",
    "HF_MODULES_CACHE",
):
    os.environ.pop(name, None)


# The same examples every time, without deadlines, so that results do not depend on the machine.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("tests")

# Slow session fixtures: the tests of each run in one process.
_SHARED = {"browser": "pages", "space": "pages", "wheel": "wheel"}
# The longest groups start first, so that no process is left with one at the end.
_LONGEST = (
    *(
        "pages",
        "wheel",
        "tests/docs/test_commands_run.py",
        "tests/run/test_memory.py",
        "tests/run/test_worker_protocol.py",
    ),
    *("tests/finetune/test_kept_models.py", "tests/features/test_families.py", "tests/run/test_recommend.py"),
    *("tests/hub_client/test_read.py", "tests/run/test_reading.py", "tests/finetune/test_confirm.py"),
    *("tests/presets/test_headline.py", "tests/finetune/test_reproduced.py", "tests/run/test_units.py"),
    *("tests/run/test_worker_engine.py", "tests/demo/test_rankings.py", "tests/run/test_jobs.py"),
    *("tests/cli/test_commands.py", "tests/space/test_hub.py", "tests/finetune/test_opening.py"),
    *("tests/hub_client/test_pinned.py", "tests/metric/test_install.py", "tests/run/test_parts.py"),
    *("tests/cli/test_streams.py", "tests/finetune/test_training.py", "tests/test_registry.py"),
    "tests/presets/test_repositories.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Set the timeout of slow tests, and the groups and order of tests for `--dist loadgroup`."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(600))
    if not config.pluginmanager.hasplugin("xdist"):
        return
    places = {name: place for place, name in enumerate(_LONGEST)}
    groups = {}
    for item in items:
        shared = {_SHARED[name] for name in getattr(item, "fixturenames", ()) if name in _SHARED}
        groups[item] = min(shared, default=item.nodeid.partition("::")[0])
        item.add_marker(pytest.mark.xdist_group(groups[item]))
    items.sort(key=lambda item: places.get(groups[item], len(places)))


def _is_loopback(host: Any) -> bool:
    if host in ("", "localhost", None):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Let connections and name look-ups beyond this machine fail in every test."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(family: int, address: Any) -> None:
        if family in (socket.AF_INET, socket.AF_INET6) and not _is_loopback(address[0]):
            raise OSError(f"a test tried to reach {address[0]}:{address[1]}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self.family, address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if not _is_loopback(name):
            raise socket.gaierror(f"a test tried to look up {name}")
        return getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture
def emms_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty hf_emms cache for one test."""
    root = tmp_path / "emms-cache"
    monkeypatch.setenv("HF_EMMS_CACHE", str(root))
    return root


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of tiny checkpoints, which tests build once and copy before a change."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "zoo"
    folder.mkdir(exist_ok=True)
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    today = 1 + datetime.datetime.now(datetime.UTC).toordinal() % 6
    parser.addoption("--seed", type=int, default=today, help="of slow tests, which draw other settings every day")


def pytest_report_header(config: pytest.Config) -> str:
    return f"slow tests draw settings with --seed {config.option.seed}"


@pytest.fixture(scope="session")
def daily_seed(pytestconfig: pytest.Config) -> int:
    """Return a seed from 1 to 6 that changes every day, or `--seed`."""
    return pytestconfig.option.seed


def pytest_configure(config: pytest.Config) -> None:
    if getattr(config.option, "numprocesses", None) and "PYTEST_XDIST_WORKER" not in os.environ:
        quick_python.start()  # one for the processes that the tests are spread over


def pytest_unconfigure() -> None:
    quick_python.close()
    shutil.rmtree(_HOME, ignore_errors=True)
