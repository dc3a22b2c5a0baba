"""The Space and the Hub: published by a command, fed by a results dataset."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import urllib.parse
import urllib.request
from importlib.metadata import version

import pytest
import yaml
from packaging.requirements import Requirement

from hf_emms.publish.space import files, write_files
from tests.helpers.browser import served
from tests.helpers.hub_client import commands
from tests.helpers.quick_python import python
from tests.helpers.rankings import example
from tests.helpers.space import SPACE, of_rows, scored
from tests.helpers.waiting import eventually
from tests.hub.faults import RESET
from tests.hub.fixtures import client_environment

RESULTS = "ada/emms-results"
SHIPPED = {path for path in files() if path.startswith("hf_emms/")}


@pytest.fixture
def command(hub, tmp_path):
    """Runs hf-emms against the stand-in Hub, all commands in one process."""
    home = tmp_path / "client"
    home.mkdir()
    with commands(hub, home) as running:
        yield running.run


@pytest.fixture
def results(hub):
    """A results dataset with one ranking."""
    put(hub, "one", example())
    return RESULTS


@pytest.fixture
def publish(hub, command, results):
    """Publishes the Space of the results with more words, by default as ada/board; it has to succeed."""

    def run(*words, repo_id="ada/board", token=None):
        token = token or hub.token(user=repo_id.partition("/")[0])
        done = command("publish", "space", "--yes", "--repo-id", repo_id, "--results", results, *words, token=token)
        assert done.code == 0, done.err
        assert done.out == f"{hub.url}/spaces/{repo_id}\n"
        assert token not in done.out + done.err
        return done

    return run


def put(hub, name, ranking):
    hub.store.put_files(RESULTS, {f"rankings/{name}.json": ranking.to_json().encode()}, "dataset")


def front_matter(hub, id, kind):
    return yaml.safe_load(hub.store.read(id, "README.md", kind).decode().split("---")[1])


def test_the_space_is_made_as_planned_in_one_commit(hub, command, publish, results):
    planned = command("publish", "space", "--repo-id", "ada/board", "--results", results, "--dry-run")
    assert planned.code == 0, planned.err
    assert hub.count() == 0
    token = hub.token(user="ada")
    publish(token=token)
    assert hub.count("POST /api/spaces/ada/board/commit/main") == 1
    space = hub.store.repo("ada/board", "space").space
    assert space.variables["EMMS_RESULTS_REPO"]["value"] == results
    assert space.variables["HF_ENDPOINT"]["value"] == hub.url
    assert space.hardware == "zero-a10g"  # of a free account
    paths = {*hub.store.paths("ada/board", "space")} - {".gitattributes"}
    assert paths == {*planned.out.split()}
    assert {path for path in paths if not (SPACE / path).is_file()} == SHIPPED
    assert {"app.py", "requirements.txt", "leaderboard/page.js", "leaderboard/templates/about.html"} <= paths
    assert not [path for path in paths if "pycache" in path]
    for path in paths:
        content = hub.store.read("ada/board", path, "space")
        assert token.encode() not in content
        if path != "README.md":
            assert content == files()[path]
            assert path in SHIPPED or content == (SPACE / path).read_bytes()
    card = front_matter(hub, "ada/board", "space")
    assert (card["sdk"], card["app_file"]) == ("gradio", "app.py")


def test_the_space_installs_an_mcp_package_whose_handlers_it_can_wrap():
    (requirement,) = [
        each for each in map(Requirement, (SPACE / "requirements.txt").read_text().splitlines()) if each.name == "mcp"
    ]
    assert version("mcp") in requirement.specifier
    assert "2.0.0" not in requirement.specifier


def test_an_update_follows_the_results_and_leaves_the_owners_files(hub, publish, results):
    """By its front matter the pages of models and datasets link to the Space."""
    publish()
    measured = {row.checkpoint for row in example().rows if row.revision}
    card = front_matter(hub, "ada/board", "space")
    assert set(card["models"]) == measured
    assert card["datasets"] == [results, example().dataset_id]
    assert card["tags"] == ["leaderboard", "emms", "image-classification"]
    hub.store.put_files("ada/board", {"leaderboard/gone.py": b"old", "notes.txt": b"mine"}, "space")
    put(hub, "two", of_rows("food", scored("org/new", -0.1, 10), task="text-classification"))
    publish()
    card = front_matter(hub, "ada/board", "space")
    assert set(card["models"]) == measured | {"org/new"}
    assert card["tags"][-1] == "text-classification"
    paths = hub.store.paths("ada/board", "space")
    assert "leaderboard/gone.py" not in paths
    assert "notes.txt" in paths


def test_a_paid_account_gets_the_hardware_that_it_asks_for(hub, publish):
    hub.paid.add("bob")
    for words, hardware in (((), "cpu-basic"), (("--hardware", "cpu-upgrade"), "cpu-upgrade")):
        publish(*words, repo_id="bob/board")
        assert hub.store.repo("bob/board", "space").space.hardware == hardware
    publish("--private", repo_id="bob/hidden")
    assert [hub.store.repo(id, "space").private for id in ("bob/board", "bob/hidden")] == [False, True]


def have_two_spaces(hub):
    for name in ("one", "two"):
        hub.store.create_repo(f"ada/{name}", "space", sdk="gradio").space.hardware = "zero-a10g"


CHOICES = ("--static", "--hardware zero-a10g", "https://huggingface.co/pricing")
# Arguments of the command, its preparation, and its messages.
REFUSED = {
    "hardware": (["--hardware", "cpu-basic"], None, CHOICES),
    "an organization": (["--repo-id", "lab/board"], None, CHOICES),
    "a third": ([], have_two_spaces, CHOICES),
    "no results": (["--results", "ada/nothing"], None, ("no dataset 'ada/nothing'",)),
    "somebody else": (["--repo-id", "eve/board"], None, ("eve/board",)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_published_is_said_with_what_can_be_done(hub, command, results, case):
    words, prepare, said = REFUSED[case]
    if prepare is not None:
        prepare(hub)
    token = hub.token(user="ada", orgs=["lab"])
    done = command("publish", "space", "--yes", "--repo-id", "ada/board", "--results", results, *words, token=token)
    assert done.code == 1
    assert not [text for text in said if text not in done.err]
    assert hub.count("POST /api/spaces/*/commit/*") == 0


def test_what_is_published_runs_by_itself_and_imports_nothing_heavy(tmp_path):
    write_files(tmp_path, files())
    script = """
        import json, sys
        import app, hf_emms
        from hf_emms.ranking import Ranking
        print(json.dumps([hf_emms.__file__, sorted(sys.modules)]))
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    package, modules = json.loads(done.stdout.splitlines()[-1])
    assert package == str(tmp_path / "hf_emms" / "__init__.py")
    assert not {name.partition(".")[0] for name in modules} & {"torch", "transformers", "datasets"}
    assert {name.replace(".", "/") for name in modules if name.startswith("hf_emms.")} <= {
        path.removesuffix(".py").removesuffix("/__init__") for path in SHIPPED
    }


@pytest.mark.slow
def test_zero_gpu_finds_a_function_for_it_and_other_hardware_none(tmp_path):
    (tmp_path / "spaces.py").write_text("found = []\ndef GPU(function):\n    found.append(function.__name__)\n")
    script = "import app, sys; print(getattr(sys.modules.get('spaces'), 'found', []))"
    path = os.pathsep.join([str(SPACE), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for settings, printed in (({"SPACES_ZERO_GPU": "true"}, "['unused']"), ({}, "[]")):
        environment = {**os.environ, "PYTHONPATH": path, **settings}
        command = [*python(), "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == printed


def hub_settings(hub, tmp_path, **extra):
    settings = client_environment(hub, tmp_path / "space", **extra)
    wanted = ("HF_", "EMMS_", "SPACE_")
    return {name: value for name, value in settings.items() if name.startswith(wanted)} | {"HF_HUB_OFFLINE": "0"}


def test_the_page_follows_the_results_and_the_hub_and_outlives_both(hub, results, tmp_path):
    card = b"---\nlicense: apache-2.0\nlibrary_name: timm\nlanguage: [de, en]\n---\n"
    hub.store.put_files("org/best", {"README.md": card})
    settings = hub_settings(hub, tmp_path, EMMS_RESULTS_REPO=results, EMMS_REFRESH_SECONDS="1")
    with served(SPACE / "app.py", **settings) as url:
        eventually(lambda: 'name="language" value="de"' in text_of(url))
        for checkpoint, facts in {"org/best": ("timm", "apache-2.0"), "org/close": ("–", "–")}.items():
            shown = "<dt>Library</dt><dd>{}</dd><dt>License</dt><dd>{}</dd>".format(*facts)
            assert shown in text_of(url, f"checkpoint={checkpoint}")
        put(hub, "two", of_rows("food", scored("org/new", -0.1, 10)))
        eventually(lambda: "food" in text_of(url))
        assert "could not be read" not in text_of(url)
        hub.fail("*", RESET, None)
        eventually(lambda: re.search(r"results could not be read \(\w+\): showing the data of 20", text_of(url)))
        assert "org/best" in text_of(url)
        hub.faults.clear()
        eventually(lambda: "could not be read" not in text_of(url))


def text_of(url, query="tab=rankings"):
    with urllib.request.urlopen(f"{url}/?{query}") as answer:
        return answer.read().decode()
