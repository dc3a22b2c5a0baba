"""The metric as a Space: its folder is complete, is uploaded by the command of the page, and loads from the Hub."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from hf_emms.texts import install_command
from scripts.docs.screenshots import served
from tests import ROOT
from tests.helpers.metric import HIDE_HF_EMMS, IMPORT_EVALUATE
from tests.helpers.quick_python import python
from tests.hub import Hub
from tests.hub.fixtures import client_environment

FOLDER = ROOT / "hf_emms" / "metric" / "emms"


def front_matter(card: Path) -> dict[str, object]:
    return yaml.safe_load(card.read_text(encoding="utf-8").split("---")[1])


def test_the_front_matter_names_files_and_versions_that_exist() -> None:
    settings = front_matter(FOLDER / "README.md")
    assert (settings["sdk"], settings["app_file"], settings["tags"]) == ("gradio", "app.py", ["evaluate", "metric"])
    assert settings["sdk_version"] == front_matter(ROOT / "spaces_app" / "README.md")["sdk_version"]
    (requirement,) = map(Requirement, (FOLDER / "requirements.txt").read_text().splitlines())
    assert requirement.name == "gradio"
    assert str(settings["sdk_version"]) in requirement.specifier
    assert {path.name for path in FOLDER.iterdir()} >= {"README.md", "app.py", "emms.py", "requirements.txt"}


def test_the_command_of_the_page_uploads_a_space_that_evaluate_loads(hub: Hub, tmp_path: Path) -> None:
    hub.paid.add("ada")
    environment = client_environment(hub, tmp_path, HF_TOKEN=hub.token(user="ada"), PYTHONSAFEPATH="1")
    (line,) = re.findall(r"^ +hf (upload ORG/emms .*)$", (ROOT / "docs" / "metric.md").read_text(), re.M)
    program = Path(sysconfig.get_path("scripts")) / "hf"
    command = [str(program), *shlex.split(line.replace("ORG", "ada"))]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    repo = hub.store.repo("ada/emms", "space")
    assert repo.space is not None
    assert repo.space.sdk == "gradio"
    assert hub.store.read("ada/emms", "emms.py", "space") == (FOLDER / "emms.py").read_bytes()

    rows = "predictions=[[1.0], [2.0], [3.0], [4.0]], references=[[1.0], [2.0], [3.1], [3.9]]"
    scored = f"metric = evaluate.load('ada/emms')\nprint(type(metric).__name__, metric.compute({rows})['n'])"
    failed = "try:\n    evaluate.load('ada/emms')\nexcept ImportError as error:\n    print(error)"
    for code, output in (
        (scored, "Emms 4"),
        (HIDE_HF_EMMS + failed, f'the metric "emms" needs the package hf-emms, or a newer one: {install_command()}'),
    ):
        home = {"HF_HOME": str(tmp_path / output[:4])}
        done = subprocess.run(
            [*python(), "-c", IMPORT_EVALUATE + code],
            env={**environment, **home},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.stdout.splitlines()[-1:] == [output], done.stderr
    assert hub.count("GET /spaces/ada/emms/resolve/main/emms.py") == 2


@pytest.mark.slow
def test_the_page_of_the_space_shows_the_card(tmp_path: Path) -> None:
    app = Path(shutil.copytree(FOLDER, tmp_path / "space")) / "app.py"
    with served(app, (sys.executable,), HOME=str(tmp_path), HF_HOME=os.environ.get("HF_HOME", "")) as address:
        page = urllib.request.urlopen(address, timeout=100).read().decode()
    assert "Metric Card for EMMS" in page
    assert "sdk_version:" not in page
