"""hf-emms publish metric, against a Hub that answers over HTTP."""

import functools
import subprocess

import pytest
import yaml

from hf_emms.publish import wheel
from hf_emms.publish.metric import source_folder
from tests.helpers.environments import fresh_environment, run
from tests.helpers.hub_client import cli, home, hub
from tests.helpers.metric import IMPORT_EVALUATE
from tests.helpers.quick_python import python
from tests.hub.fixtures import client_environment

__all__ = ["cli", "home", "hub"]

AS_THEY_ARE = ("emms.py", "index.html")


@pytest.fixture
def publish(cli):
    return functools.partial(cli.run, "publish", "metric", "--repo-id")


def test_space_is_created_in_one_commit_and_loads(hub, publish, tmp_path):
    done = publish("ada/emms", token=hub.token(user="ada"))
    assert done.code == 0, done.err
    assert done.out.startswith(f"{hub.url}/spaces/ada/emms/commit/")
    assert hub.count("POST /api/spaces/ada/emms/commit/main") == 1
    files = {path: hub.store.read("ada/emms", path, "space") for path in hub.store.paths("ada/emms", "space")}
    assert set(files) == {".gitattributes", "requirements.txt", "README.md", wheel.NAME, *AS_THEY_ARE}
    for name in AS_THEY_ARE:
        assert files[name] == (source_folder() / name).read_bytes(), name
    address = f"hf-emms @ {hub.url}/spaces/ada/emms/resolve/main/{wheel.NAME}"
    assert address in files["requirements.txt"].decode().splitlines()
    card = files["README.md"].decode()
    assert f'`pip install "{address}"` brings it.' in card
    metadata = yaml.safe_load(card.split("---")[1])
    assert {"evaluate", "metric"} <= set(metadata["tags"])
    assert metadata["sdk"] == hub.store.repo("ada/emms", "space").space.sdk == "static"

    code = """
emms = evaluate.load("ada/emms")
print(emms.compute(predictions=[[1.0], [2.0], [3.0]], references=[[1.0], [2.0], [4.0]])["n"])
"""
    environment = client_environment(hub, tmp_path / "user", HF_EMMS_INSTALL_METRIC="0")
    command = [*python(), "-c", IMPORT_EVALUATE + code]
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert loaded.stdout == "3\n"
    assert hub.count("GET /spaces/ada/emms/resolve/main/emms.py") == 1


def test_existing_space_is_updated_and_keeps_other_files(hub, publish):
    hub.store.put_files("eve/emms", {"emms.py": b"old", "notes.txt": b"mine"}, "space")
    done = publish("eve/emms", "--private", token=hub.token(user="eve"))
    assert done.code == 0, done.err
    assert hub.store.read("eve/emms", "emms.py", "space") == (source_folder() / "emms.py").read_bytes()
    assert hub.store.read("eve/emms", "notes.txt", "space") == b"mine"


@pytest.mark.slow
def test_requirements_of_the_space_install_in_a_new_environment(hub, publish, tmp_path):
    """Of what it names, everything but hf-emms is there already, as no test has a network."""
    assert publish("kim/emms", token=hub.token(user="kim")).code == 0
    requirements = tmp_path / "requirements.txt"
    requirements.write_bytes(hub.store.read("kim/emms", "requirements.txt", "space"))
    python = str(fresh_environment(tmp_path / "venv", with_pip=True) / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
    done = run([*install, "-r", str(requirements)], tmp_path)
    assert done.returncode == 0, done.stderr
    code = "import hf_emms, hf_emms.presets.demo; from hf_emms.publish import space"
    code += "; print(hf_emms.__file__, len(space.files()))"
    done = run([python, "-c", code + "; print(hf_emms.presets.demo.names('datasets'))"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "venv"))
    assert "emms-demo/fashion-mnist" in done.stdout


@pytest.mark.parametrize(
    ("repo_id", "messages"),
    [
        ("bob/metric", ["'bob/metric' is not a valid name", "--repo-id bob/emms"]),
        ("emms", ["--repo-id USER/emms"]),
        ("pat/emms", ["space 'pat/emms' belongs to 'pat'"]),
    ],
)
def test_invalid_publication_is_one_error(hub, publish, repo_id, messages):
    done = publish(repo_id, token=hub.token(user="bob"))
    assert done.code == 1
    assert all(message in done.err for message in messages), done.err
    assert "Traceback" not in done.err
    assert not hub.count("*/bob/*") + hub.count("*/pat/*")
    assert "hf auth login" in publish("bob/emms").err
