"""hf-emms publish metric, against a Hub that answers over HTTP."""

import subprocess

import pytest
import yaml

from hf_emms.metric.install import source_folder
from hf_emms.publish import wheel
from tests.helpers.environments import fresh_environment, run
from tests.helpers.metric import IMPORT_EVALUATE
from tests.helpers.quick_python import python
from tests.hub.fixtures import client_environment

FILES = ["README.md", "app.py", "emms.py", "requirements.txt", "screenshot.png"]


@pytest.fixture
def publish(hub, tmp_path):
    def run(*arguments, **environment):
        settings = client_environment(hub, tmp_path / "client", **environment)
        command = [*python(), "-m", "hf_emms", "publish", "metric", *arguments]
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)

    return run


def test_the_space_is_made_filled_in_one_commit_and_loads(hub, publish, tmp_path):
    done = publish("--repo-id", "ada/emms", HF_TOKEN=hub.token(user="ada"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{hub.url}/spaces/ada/emms/commit/")
    assert hub.count("POST /api/spaces/ada/emms/commit/main") == 1
    for name in ("app.py", "emms.py", "screenshot.png"):
        assert hub.store.read("ada/emms", name, "space") == (source_folder() / name).read_bytes(), name
    assert hub.store.paths("ada/emms", "space") == sorted([".gitattributes", *FILES, wheel.NAME])
    address = f"hf-emms @ {hub.url}/spaces/ada/emms/resolve/main/{wheel.NAME}"
    assert address in hub.store.read("ada/emms", "requirements.txt", "space").decode().splitlines()
    assert f'`pip install "{address}"` brings it.' in hub.store.read("ada/emms", "README.md", "space").decode()
    space = hub.store.repo("ada/emms", "space").space
    card = yaml.safe_load(hub.store.read("ada/emms", "README.md", "space").decode().split("---")[1])
    assert (space.sdk, card["sdk"], card["sdk_version"]) == ("gradio", "gradio", "6.31.0")
    assert {"evaluate", "metric"} <= set(card["tags"])

    code = """
emms = evaluate.load("ada/emms")
print(emms.compute(predictions=[[1.0], [2.0], [3.0]], references=[[1.0], [2.0], [4.0]])["n"])
"""
    environment = client_environment(hub, tmp_path / "user", HF_EMMS_INSTALL_METRIC="0")
    command = [*python(), "-c", IMPORT_EVALUATE + code]
    loaded = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert loaded.stdout == "3\n"
    assert hub.count("GET /spaces/ada/emms/resolve/main/emms.py") == 1


def test_an_existing_space_is_updated_and_its_own_files_stay(hub, publish):
    token = hub.token(user="ada")
    hub.store.create_repo("ada/emms", "space", sdk="gradio")
    hub.store.put_files("ada/emms", {"emms.py": b"old", "notes.txt": b"mine"}, "space")
    assert publish("--repo-id", "ada/emms", HF_TOKEN=token).returncode == 0
    assert hub.store.read("ada/emms", "emms.py", "space") == (source_folder() / "emms.py").read_bytes()
    assert hub.store.read("ada/emms", "notes.txt", "space") == b"mine"


def test_a_private_space_needs_another_place_to_install_from(hub, publish):
    refused = publish("--repo-id", "ada/emms", "--private", HF_TOKEN=hub.token(user="ada"))
    assert refused.returncode == 1
    assert "name another place of hf-emms" in refused.stderr
    done = publish("--repo-id", "ada/emms", "--private", "--package", "emms @ x", HF_TOKEN=hub.token(user="ada"))
    assert done.returncode == 0, done.stderr
    assert "emms @ x" in hub.store.read("ada/emms", "requirements.txt", "space").decode().splitlines()
    assert wheel.NAME not in hub.store.paths("ada/emms", "space")


@pytest.mark.slow
def test_the_requirements_of_a_published_space_install_in_a_fresh_environment(hub, publish, tmp_path):
    """Of what it names, everything but hf-emms is there already, as no test has a network."""
    assert publish("--repo-id", "ada/emms", HF_TOKEN=hub.token(user="ada")).returncode == 0
    requirements = tmp_path / "requirements.txt"
    requirements.write_bytes(hub.store.read("ada/emms", "requirements.txt", "space"))
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
    ("repo_id", "message"),
    [
        ("ada/metric", "'ada/metric' cannot hold the metric"),
        ("emms", "--repo-id"),
        ("bob/emms", "space 'bob/emms' belongs to 'bob'"),
    ],
)
def test_what_cannot_be_published_is_said_in_one_error(hub, publish, repo_id, message):
    done = publish("--repo-id", repo_id, HF_TOKEN=hub.token(user="ada"))
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not [entry for entry in hub.requests if "/commit/" in entry.path]


def test_without_a_token_and_offline(hub, publish):
    done = publish("--repo-id", "ada/emms")
    assert done.returncode == 1
    assert "hf auth login" in done.stderr
    done = publish("--repo-id", "ada/emms", HF_HUB_OFFLINE="1", HF_TOKEN=hub.token(user="ada"))
    assert done.returncode == 1
    assert "HF_HUB_OFFLINE" in done.stderr
