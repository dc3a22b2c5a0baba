"""The Space and the Hub: published by a command, fed by a results dataset, answering with pull requests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml

from hf_emms.metric.install import source_folder
from hf_emms.publish.space import _SHIPPED, files, write_files
from hf_emms.ranking import Ranking
from tests.helpers.browser import served
from tests.helpers.quick_python import python
from tests.helpers.rankings import example
from tests.helpers.space import SPACE, of_rows, scored
from tests.helpers.waiting import eventually
from tests.hub.fault_proxy import RESET, running_proxy
from tests.hub.fixtures import client_environment

RESULTS = "ada/emms-results"
SHIPPED = {f"hf_emms/{name}" for name in ("__init__.py", *_SHIPPED)} | {"leaderboard/tasks.txt"}


@pytest.fixture
def command(hub, tmp_path):
    """Runs hf-emms against the stand-in Hub."""

    def run(*arguments, **environment):
        settings = client_environment(hub, tmp_path / "client", **environment)
        return subprocess.run(
            [*python(), "-m", "hf_emms", *arguments], env=settings, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def results(hub):
    """A results dataset with one ranking."""
    put(hub, "one", example())
    return RESULTS


def put(hub, name, ranking):
    if not any(repo.id == RESULTS for repo in hub.store.repos.values()):
        hub.store.create_repo(RESULTS, "dataset")
    hub.store.put_files(RESULTS, {f"rankings/{name}.json": ranking.to_json().encode()}, "dataset")


def test_a_dry_run_lists_the_files_and_asks_nobody(hub, command):
    done = command("publish", "space", "--repo-id", "ada/board", "--results", RESULTS, "--dry-run")
    assert done.returncode == 0, done.stderr
    listed = done.stdout.split()
    assert {
        "app.py",
        "README.md",
        "requirements.txt",
        "leaderboard/page.py",
        "leaderboard/page.js",
        "leaderboard/about.html",
    } <= set(listed)
    assert {path for path in listed if not (SPACE / path).is_file()} == SHIPPED
    assert not [path for path in listed if "pycache" in path]
    assert hub.count() == 0


def test_the_space_is_made_in_one_commit_with_its_secret_in_no_file(hub, command, results):
    token = hub.token(user="ada")
    arguments = ("publish", "space", "--repo-id", "ada/board", "--results", results, "--secret", "HF_TOKEN")
    done = command(*arguments, HF_TOKEN=token)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.url}/spaces/ada/board\n"
    assert "the Space is at RUNNING" in done.stderr
    assert token not in done.stdout + done.stderr
    assert hub.count("POST /api/spaces/ada/board/commit/main") == 1
    space = hub.store.repo("ada/board", "space").space
    assert space.secrets["HF_TOKEN"]["value"] == token
    assert space.variables["EMMS_RESULTS_REPO"]["value"] == results
    assert space.variables["HF_ENDPOINT"]["value"] == hub.url
    paths = [path for path in hub.store.paths("ada/board", "space") if path != ".gitattributes"]
    for path in paths:
        content = hub.store.read("ada/board", path, "space")
        if path != "README.md":
            assert content == files()[path]
            if path not in SHIPPED:
                assert content == (SPACE / path).read_bytes()
        assert token.encode() not in content
    card = front_matter(hub, "ada/board", "space")
    assert (card["sdk"], card["hf_oauth"], card["app_file"]) == ("gradio", True, "app.py")


def front_matter(hub, id, kind):
    return yaml.safe_load(hub.store.read(id, "README.md", kind).decode().split("---")[1])


def test_the_pages_of_models_and_datasets_link_to_the_space_and_follow_the_results(hub, command, results):
    arguments = ("publish", "space", "--repo-id", "ada/board", "--results", results)
    assert command(*arguments, HF_TOKEN=(token := hub.token(user="ada"))).returncode == 0
    measured = {row.checkpoint for row in example().rows if row.revision}
    card = front_matter(hub, "ada/board", "space")
    assert set(card["models"]) == measured
    assert card["datasets"] == [results, example().dataset_id]
    assert card["tags"] == ["leaderboard", "emms", "image-classification"]
    put(hub, "two", of_rows("food", scored("org/new", -0.1, 10), task="text-classification"))
    assert command(*arguments, HF_TOKEN=token).returncode == 0
    card = front_matter(hub, "ada/board", "space")
    assert set(card["models"]) == measured | {"org/new"}
    assert card["tags"][-1] == "text-classification"


# What an account can have


def test_a_free_account_gets_zero_gpu_and_a_paid_one_the_usual_hardware(hub, command, results):
    arguments = ("publish", "space", "--results", results, "--repo-id")
    for user, hardware in (("ada", "zero-a10g"), ("bob", "cpu-basic")):
        hub.paid.add("bob")
        done = command(*arguments, f"{user}/board", HF_TOKEN=hub.token(user=user))
        assert done.returncode == 0, done.stderr
        assert hub.store.repo(f"{user}/board", "space").space.hardware == hardware
    done = command(*arguments, "bob/board", "--hardware", "cpu-upgrade", HF_TOKEN=hub.token(user="bob"))
    assert done.returncode == 0, done.stderr
    assert hub.store.repo("bob/board", "space").space.hardware == "cpu-upgrade"


@pytest.mark.parametrize("case", ["cpu", "organisation", "third"])
def test_a_space_that_the_account_cannot_have_is_refused_with_what_it_can_have(hub, command, results, case):
    repo_id, more = "ada/board", ()
    if case == "cpu":
        more = ("--hardware", "cpu-basic")
    elif case == "organisation":
        repo_id = "lab/board"
    else:
        for name in ("one", "two"):
            hub.store.create_repo(f"ada/{name}", "space", sdk="gradio").space.hardware = "zero-a10g"
    token = hub.token(user="ada", orgs=["lab"])
    done = command("publish", "space", "--repo-id", repo_id, "--results", results, *more, HF_TOKEN=token)
    assert done.returncode == 1
    for choice in ("--static", "--hardware zero-a10g", "https://huggingface.co/pricing"):
        assert choice in done.stderr
    assert ("space", repo_id) not in hub.store.repos


def test_an_update_takes_old_modules_away_and_leaves_the_owners_files(hub, command, results):
    hub.store.create_repo("ada/board", "space", sdk="gradio")
    hub.store.put_files("ada/board", {"leaderboard/gone.py": b"old", "notes.txt": b"mine"}, "space")
    done = command("publish", "space", "--repo-id", "ada/board", "--results", results, HF_TOKEN=hub.token(user="ada"))
    assert done.returncode == 0, done.stderr
    paths = hub.store.paths("ada/board", "space")
    assert "leaderboard/gone.py" not in paths
    assert "notes.txt" in paths


def test_a_space_that_cannot_be_built_is_an_error_with_its_logs(hub, command, results):
    hub.store.create_repo("ada/board", "space", sdk="gradio")
    repo = hub.store.repo("ada/board", "space")
    repo.space.stage = "BUILD_ERROR"
    done = command("publish", "space", "--repo-id", "ada/board", "--results", results, HF_TOKEN=hub.token(user="ada"))
    assert done.returncode == 1
    assert "stopped at BUILD_ERROR" in done.stderr
    assert "?logs=build" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--results", "ada/nothing"], "no dataset 'ada/nothing'"),
        (["--results", RESULTS, "--secret", "NO_SUCH"], "NO_SUCH is no environment variable"),
        (["--results", RESULTS, "--repo-id", "eve/board"], "eve/board"),
    ],
)
def test_what_cannot_be_published_is_told_before_anything_is_written(hub, command, results, arguments, message):
    done = command("publish", "space", "--repo-id", "ada/board", *arguments, HF_TOKEN=hub.token(user="ada"))
    assert done.returncode == 1
    assert message in done.stderr
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
@pytest.mark.parametrize("app", [SPACE / "app.py", source_folder() / "app.py"], ids=["leaderboard", "metric"])
def test_zero_gpu_finds_a_function_for_it_and_other_hardware_none(tmp_path, app):
    (tmp_path / "spaces.py").write_text("found = []\ndef GPU(function):\n    found.append(function.__name__)\n")
    script = "import app, sys; print(getattr(sys.modules.get('spaces'), 'found', []))"
    path = os.pathsep.join([str(app.parent), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    for settings, printed in (({"SPACES_ZERO_GPU": "true"}, "['unused']"), ({}, "[]")):
        environment = {**os.environ, "PYTHONPATH": path, **settings}
        command = [*python(), "-c", script]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == printed


# A results dataset behind the page


def hub_settings(hub, tmp_path, **extra):
    settings = client_environment(hub, tmp_path / "space", **extra)
    wanted = ("HF_", "EMMS_", "SPACE_", "OAUTH_", "OPENID_")
    return {name: value for name, value in settings.items() if name.startswith(wanted)} | {"HF_HUB_OFFLINE": "0"}


def listed(url):
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(url, verbose=False, analytics_enabled=False)
    try:
        return {one["id"] for one in client.predict(task="", api_name="/list_rankings")}, client
    finally:
        client.close()


def test_the_page_follows_the_results_dataset_and_knows_licenses_from_the_hub(hub, results, tmp_path):
    hub.store.create_repo("org/best", "model")
    card = b"---\nlicense: apache-2.0\nlibrary_name: timm\nlanguage: [de, en]\n---\n"
    hub.store.put_files("org/best", {"README.md": card}, "model")
    hub.store.create_repo("AI-Lab-Makerere/beans", "dataset")
    hub.store.put_files("AI-Lab-Makerere/beans", {"README.md": b"---\nlicense: cc-by-4.0\n---\n"}, "dataset")
    with served(
        SPACE / "app.py", **hub_settings(hub, tmp_path, EMMS_RESULTS_REPO=results, EMMS_REFRESH_SECONDS="1")
    ) as url:
        eventually(lambda: listed(url)[0] == {"one"})
        put(hub, "two", of_rows("food", scored("org/new", -0.1, 10)))
        eventually(lambda: listed(url)[0] == {"one", "two"})
        eventually(lambda: rows(url)["org/best"]["license"] == "apache-2.0")
        assert rows(url)["org/best"]["library"] == "timm"
        text = text_of(url)
        assert "license cc-by-4.0" in text
        assert 'name="language" value="de"' in text
        assert rows(url)["org/close"]["license"] is None


def test_a_hub_that_cannot_be_reached_is_named_with_the_age_of_the_data(hub, results, tmp_path):
    with running_proxy(hub) as proxy:
        settings = hub_settings(hub, tmp_path, EMMS_RESULTS_REPO=results, EMMS_REFRESH_SECONDS="1")
        with served(SPACE / "app.py", **settings | {"HF_ENDPOINT": proxy.url}) as url:
            eventually(lambda: "org/best" in text_of(url))
            assert "could not be read" not in text_of(url)
            proxy.fail("*", RESET)
            eventually(lambda: re.search(r"results could not be read \(\w+\): the data are those of 20", text_of(url)))
            assert "org/best" in text_of(url)
            proxy.clear()
            eventually(lambda: "could not be read" not in text_of(url))


def text_of(url):
    with urllib.request.urlopen(f"{url}/?tab=rankings") as answer:
        return answer.read().decode()


def rows(url):
    gradio_client = pytest.importorskip("gradio_client")
    client = gradio_client.Client(url, verbose=False, analytics_enabled=False)
    answer = client.predict(ranking="one", api_name="/get_ranking")
    client.close()
    return {row["checkpoint"]: row for row in answer["rows"]}


# Submissions

PROPOSE = """
import json, sys
sys.path.insert(0, {space!r})
from pathlib import Path
from leaderboard import submit
ranking = submit.checked(Path({file!r}).read_bytes()).ranking
try:
    url = submit.open_pull_request(ranking, {repo!r}, {token!r})
    print(json.dumps({{"url": url, "path": submit.file_of(ranking)}}))
except submit.SubmissionError as error:
    print(json.dumps({{"error": str(error)}}))
"""


@pytest.fixture
def propose(client, tmp_path):
    def run(token, repo=RESULTS, ranking=None):
        file = tmp_path / "ranking.json"
        file.write_text((ranking or example()).to_json())
        return client(PROPOSE.format(space=str(SPACE), file=str(file), repo=repo, token=token))

    return run


def test_a_submission_becomes_a_pull_request_of_the_user(hub, results, propose):
    answer = propose(hub.token(user="eve"))
    assert re.fullmatch(rf"{hub.url}/datasets/{RESULTS}/discussions/\d+", answer["url"])
    number = answer["url"].rpartition("/")[2]
    repo = hub.store.repo(RESULTS, "dataset")
    assert repo.discussion(int(number)).author == "eve"
    proposed = hub.store.read(RESULTS, answer["path"], "dataset", f"refs/pr/{number}")
    assert [row.checkpoint for row in Ranking.from_json(proposed).rows] == [row.checkpoint for row in example().rows]
    assert hub.store.paths(RESULTS, "dataset") == [".gitattributes", "rankings/one.json"]


def test_a_submission_adds_to_what_is_there(hub, results, propose):
    token = hub.token(user="eve")
    path = propose(token)["path"]
    other = of_rows("beans", scored("org/other", -0.2, 10), dataset_id="AI-Lab-Makerere/beans")
    hub.store.put_files(RESULTS, {path: other.to_json().encode()}, "dataset")
    number = propose(token)["url"].rpartition("/")[2]
    proposed = Ranking.from_json(hub.store.read(RESULTS, path, "dataset", f"refs/pr/{number}"))
    assert {row.checkpoint for row in proposed.rows} == {"org/other", *(row.checkpoint for row in example().rows)}
    hub.store.put_files(RESULTS, {path: proposed.to_json().encode()}, "dataset")
    assert "has all of this ranking already" in propose(token)["error"]


def test_a_refused_submission_says_why_and_shows_no_token(hub, results, propose):
    for token, repo, message in (
        ("hf_wrong" + "0" * 30, RESULTS, "sign in again"),
        (hub.token(user="eve", role="read"), RESULTS, "may not open pull requests"),
        (hub.token(user="eve"), "ada/nothing", "there is no dataset ada/nothing"),
    ):
        answer = propose(token, repo)
        assert message in answer["error"]
        assert token not in answer["error"]


def test_where_users_can_sign_in_the_page_asks_for_it(hub, results, tmp_path):
    pytest.importorskip("authlib", reason="signing in needs gradio[oauth]")
    oauth = {"OAUTH_CLIENT_ID": "id", "OAUTH_CLIENT_SECRET": "secret-of-the-app", "OAUTH_SCOPES": "openid profile"}
    settings = hub_settings(hub, tmp_path, EMMS_RESULTS_REPO=results)
    settings |= oauth | {"SYSTEM": "spaces", "SPACE_ID": "ada/board", "OPENID_PROVIDER_URL": hub.url}
    with served(SPACE / "app.py", **settings) as url:
        for path in ("/?tab=submit", "/config"):
            with urllib.request.urlopen(url + path) as answer:
                text = answer.read().decode()
            assert "secret-of-the-app" not in text
            assert ("Sign in with Hugging Face" in text) == (path != "/config")
        form = urllib.parse.urlencode({"pasted": example().to_json(), "propose": "yes"}).encode()
        for origin in ("same-origin", "cross-site"):
            asked = urllib.request.Request(f"{url}/?tab=submit", form, {"sec-fetch-site": origin})
            with urllib.request.urlopen(asked) as answer:
                assert "Sign in first" in answer.read().decode()


@pytest.mark.slow
def test_the_published_folder_runs_by_itself(hub, command, results, tmp_path):
    """In a fresh environment with only its requirements, from the index that pip uses."""
    done = command("publish", "space", "--repo-id", "ada/board", "--results", results, HF_TOKEN=hub.token(user="ada"))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "board"
    for path in hub.store.paths("ada/board", "space"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(hub.store.read("ada/board", path, "space"))
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(folder / "requirements.txt")]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode and "No matching distribution" not in installed.stderr:
        pytest.skip(f"pip reaches no index here: {installed.stderr.strip().splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    shown = Path(tmp_path / "shown")
    shown.mkdir()
    (shown / "beans.json").write_text(example().to_json())
    with served(folder / "app.py", python=[python], EMMS_RESULTS=str(shown), PYTHONPATH="") as url:
        assert listed(url)[0] == {"beans"}
        tools = urllib.request.Request(f"{url}/gradio_api/mcp/schema")
        with urllib.request.urlopen(tools) as answer:
            assert b"recommend_checkpoints" in answer.read()
    assert not (Path(os.environ["HF_HOME"]) / "token").exists()
