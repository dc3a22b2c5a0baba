"""The leaderboard as a Gradio or static Space: its files, and their publication."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path

from hf_emms import __version__, hub
from hf_emms.cache.files import write_atomic
from hf_emms.errors import EmmsError
from hf_emms.publish.local_server import source_folder
from hf_emms.publish.results import rankings_below
from hf_emms.ranking import Ranking, is_commit
from hf_emms.ranking.merge import JSON_FOLDER, path_of
from hf_emms.texts import install_command, setting_ref

_LEFT_OUT = ("*.pyc", "__pycache__/*", "*/__pycache__/*", "results/*", ".*", "leaderboard/static.*")
# The modules of this package that the Space uses. Others are imported only by methods that the Space does not call.
_SHIPPED = (
    *("errors.py", "texts.py", "formatting.py", "options/*.py", "cache/*.py", "ranking/*.py", "ranking/*.csv"),
    "scoring/__init__.py",
    *(f"scoring/{name}.py" for name in ("estimators", "generative", "quantity", "ratio")),
)
# Files that an update deletes if the new version does not have them. Other files of the owner stay.
_REPLACED = ("leaderboard/*", "hf_emms/*", "views/*")
_APP_OF_OTHER_SDK = {"gradio": "index.html", "static": "app.py"}
_README = "README.md"
_PAGE = "index.html"
# Metadata of a static Space.
_STATIC = {"sdk": "static", "app_file": _PAGE, "sdk_version": None, "python_version": None}
_TAGS = ("leaderboard", "emms")


@dataclass(frozen=True)
class Published:
    """A published Space: URL, commit, and the reasons why it cannot show some rankings."""

    url: str
    commit: str
    problems: tuple[str, ...]


def files() -> dict[str, bytes]:
    """Return path → content of the files of the Space, including the modules of hf_emms that it uses."""
    folder, package = source_folder(), Path(str(resources.files("hf_emms")))
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    app_files = {name: path for name, path in paths.items() if not any(fnmatch(name, pattern) for pattern in _LEFT_OUT)}
    shipped = [path for pattern in _SHIPPED for path in sorted(package.glob(pattern))]
    sources = app_files | {f"hf_emms/{path.relative_to(package).as_posix()}": path for path in shipped}
    title = f'"""The modules of hf-emms that the leaderboard uses."""\n\n__version__ = "{__version__}"\n'.encode()
    return {name: path.read_bytes() for name, path in sources.items()} | {"hf_emms/__init__.py": title}


def write_files(folder: Path, content_by_path: Mapping[str, bytes]) -> None:
    """Write files to a folder."""
    for path, content in content_by_path.items():
        write_atomic(folder / path, content)


def links(rankings: Iterable[Ranking], repo_id: str) -> dict[str, list[str]]:
    """Return the metadata that makes pages of models and datasets link to a Space with these rankings."""
    shown = sorted(rankings, key=path_of)
    models = [row.checkpoint.partition("@")[0] for ranking in shown for row in ranking.rows if is_commit(row.revision)]
    datasets = [ranking.dataset_id for ranking in shown if is_commit(ranking.dataset_revision)]
    tasks = [ranking.task for ranking in shown]
    named = {"models": models, "datasets": [repo_id, *datasets], "tags": [*_TAGS, *tasks]}
    return {name: list(dict.fromkeys(values)) for name, values in named.items()}


def static_files(folder: Path, results: str) -> dict[str, bytes]:
    """Return path → content of the static pages, which the code of the app renders."""
    source = source_folder()
    path = os.pathsep.join([str(Path(str(resources.files("hf_emms"))).parent), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as made:
        drawn = subprocess.run(
            [sys.executable, "-m", "leaderboard.static", str(folder), results, made],
            cwd=source,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if drawn.returncode:
            reason = (drawn.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise EmmsError(
                "package-missing", f"cannot render the static pages of {results}: {reason}", install_command()
            )
        paths = sorted(path for path in Path(made).rglob("*") if path.is_file())
        return {path.relative_to(made).as_posix(): path.read_bytes() for path in paths}


def publish(repo_id: str, results: str, *, static: bool, hardware: str | None, private: bool) -> Published:
    """Create or update the Space of a results dataset in one commit.

    Args:
        repo_id: The Space.
        results: The results dataset.
        static: Publish pages of the current rankings, without a server.
        hardware: See `hub.publish_space`.
        private: Whether a new Space is private.

    Raises:
        EmmsError: The dataset does not exist, or access is refused.
    """
    from huggingface_hub import RepoCard

    account = hub.who_am_i()
    id_of_user = f"{account.name}/{repo_id.rpartition('/')[2]}"
    hub.require_push(account, repo_id, "space", instead=setting_ref("repo_id", id_of_user))
    data = hub.fetch(hub.resolve(results, "dataset"), [_README, f"{JSON_FOLDER}/*.json"])
    rankings, problems = rankings_below(data / JSON_FOLDER)
    if problems and not rankings:
        raise EmmsError(
            "no-ranking",
            f"no ranking of {results} can be read: {problems[0]}",
            "publish it again: hf-emms publish results",
        )
    sdk = "static" if static else "gradio"
    endpoint = {"HF_ENDPOINT": os.environ["HF_ENDPOINT"]} if os.environ.get("HF_ENDPOINT") else {}
    content = {_README: files()[_README]} | static_files(data, results) if static else files()
    card = RepoCard(content[_README].decode())
    for name, value in ((_STATIC if static else {}) | links(rankings.values(), results)).items():
        card.data[name] = value
    content[_README] = str(card).encode()
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), content)
        commit = hub.publish_space(
            account,
            repo_id,
            Path(folder),
            message="EMMS leaderboard",
            sdk=sdk,
            hardware=hardware,
            private=private,
            replace=(*_REPLACED, _APP_OF_OTHER_SDK[sdk]),
            variables={"EMMS_RESULTS_REPO": results, **endpoint},
        )
    return Published(hub.repo_url(repo_id, "space"), commit, tuple(problems))
