"""Installation of the metric in evaluate's cache of modules."""

import hashlib
import os
import runpy
import subprocess
import sys

import pytest

from hf_emms.publish import metric as install
from hf_emms.texts import install_command
from tests import ROOT
from tests.helpers.errors import raises_code
from tests.helpers.metric import HIDE_HF_EMMS, IMPORT_EVALUATE
from tests.helpers.quick_python import python


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty modules cache."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    return tmp_path / "modules"


def run(code, cache, interpreter=None, **environment):
    settings = {"HF_MODULES_CACHE": str(cache), "HF_EVALUATE_OFFLINE": "1", "PYTHONSAFEPATH": "1", **environment}
    command = [*(interpreter or python()), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **settings}, check=False)


@pytest.mark.filterwarnings("ignore:.*evaluate.config")
def test_modules_cache_equals_that_of_evaluate(tmp_path, monkeypatch):
    home = str(tmp_path / "home")
    for settings in (
        {},
        {"HF_HOME": home},
        {"HF_HOME": "~/home"},
        {"XDG_CACHE_HOME": home},
        {"HF_HOME": home, "HF_MODULES_CACHE": str(tmp_path / "a b ü")},
    ):
        for name in ("HF_HOME", "XDG_CACHE_HOME", "HF_MODULES_CACHE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        # evaluate reads the variables once, when this module of it is run.
        assert runpy.run_module("evaluate.config")["HF_MODULES_CACHE"] == install.modules_cache(), settings


def test_second_import_writes_nothing_and_repairs_a_damaged_module(cache):
    run("import hf_emms", cache)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    run("import hf_emms", cache)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*")} == before
    module = install.installed_module()
    for damage in (b"", install.MODULE[:50]):
        module.write_bytes(damage)
        run("import hf_emms", cache)
        assert module.read_bytes() == install.MODULE


def test_import_loads_no_other_package(cache):
    """It is quick, then, whether or not there is something to write."""
    code = """
import sys
before = set(sys.modules)
import hf_emms
print({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names - {"__mp_main__"})
"""
    for _ in range(2):
        assert run(code, cache, [sys.executable]).stdout == "{'hf_emms'}\n"


def test_concurrent_imports_leave_one_complete_module(cache):
    environment = {**os.environ, "HF_MODULES_CACHE": str(cache)}
    command = [*python(), "-c", "import hf_emms"]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[1] for process in running] == [""] * 4
    assert install.is_installed()
    folder = install.installed_module().parent
    assert folder.name == hashlib.sha256(install.MODULE).hexdigest()
    assert sorted(path.name for path in folder.parent.iterdir()) == sorted(["__init__.py", folder.name])
    assert {path.parent for path in cache.parent.rglob("__init__.py")} == {folder, *folder.parents[:4]}


@pytest.mark.parametrize("value", ["", "modules", "~/modules"])
def test_import_writes_nothing_to_a_relative_cache(tmp_path, monkeypatch, value):
    monkeypatch.chdir(tmp_path)
    assert run("import hf_emms; print(hf_emms.__version__)", value).returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_unwritable_cache(tmp_path, monkeypatch):
    """A file has the name of the folder, which fails like a read-only folder, even for root."""
    (tmp_path / "modules").touch()
    done = run("import hf_emms; print(hf_emms.__version__)", tmp_path / "modules")
    assert done.returncode == 0
    assert "HF_MODULES_CACHE" in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    with raises_code("cannot-write"):
        install.install()


def test_the_import_installs_nothing_if_that_is_turned_off(cache):
    run("import hf_emms", cache, HF_EMMS_INSTALL_METRIC="0")
    assert not cache.exists()


def test_module_without_hf_emms_names_the_package(cache):
    """The module in an environment without hf_emms, and the folder of a Space likewise."""
    install.install()
    load = f"""
for name in ("emms", {str(ROOT / "hf_emms" / "metric" / "emms")!r}):
    try:
        evaluate.load(name)
    except ImportError as error:
        print(error)
"""
    done = run(HIDE_HF_EMMS + IMPORT_EVALUATE + load, cache)
    line = f'the metric "emms" needs the package hf-emms, or a newer one: {install_command()}'
    assert done.stdout.splitlines() == [line, line], done.stderr


def test_online_load_asks_the_hub_then_the_cache(cache, hub):
    """The Hub has no evaluate-metric/emms: it says 401 to strangers."""
    run("import hf_emms", cache)
    rows = "predictions=[[1.0], [2.0], [3.0], [4.0]], references=[[1.0], [2.0], [3.1], [3.9]]"
    code = f"print(evaluate.load('emms').compute({rows})['n'])"
    done = run(IMPORT_EVALUATE + code, cache, HF_EVALUATE_OFFLINE="0", HF_ENDPOINT=hub.url)
    assert done.stdout == "4\n", done.stderr
    assert hub.count("* /spaces/evaluate-metric/emms/*") > 0
