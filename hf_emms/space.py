"""The leaderboard Space: its files, a local server of it, and its publication on the Hub."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path

from hf_emms import hub
from hf_emms.atomic_files import write_atomic
from hf_emms.errors import EmmsError

_LEFT_OUT = ("*.pyc", "__pycache__/*", "*/__pycache__/*", "results/*", ".*")
# The modules of this package that the Space uses. None imports anything else of it.
_SHIPPED = (
    "atomic_files.py",
    "errors.py",
    "formatting.py",
    "ranking.py",
    "ranking_methods.py",
    "views.py",
    "merging.py",
)
# Modules that a newer version no longer has are deleted; other files of the owner stay.
_REPLACED = ("leaderboard/*", "hf_emms/*")


@dataclass(frozen=True)
class Published:
    """A published Space: its page, the commit, and the stage that it reached."""

    url: str
    commit: str
    stage: str | None


def source_folder() -> Path:
    """The Space's files: inside the installed package; in a checkout they are next to it.

    Raises:
        EmmsError: they are in neither folder.
    """
    package = Path(str(resources.files("hf_emms")))
    for folder in (package / "spaces_app", package.parent / "spaces_app"):
        if (folder / "app.py").is_file():
            return folder
    raise EmmsError("this installation lacks the files of the leaderboard", "install hf-emms again, as a whole")


def files() -> dict[str, bytes]:
    """Path → content of the files that are published: the Space's own, and the modules of hf_emms that it uses."""
    folder, package = source_folder(), Path(str(resources.files("hf_emms")))
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    own = {name: path for name, path in paths.items() if not any(fnmatch(name, pattern) for pattern in _LEFT_OUT)}
    sources = own | {f"hf_emms/{name}": package / name for name in _SHIPPED}
    title = b'"""The modules of hf-emms that the leaderboard uses."""\n'
    return {name: path.read_bytes() for name, path in sources.items()} | {"hf_emms/__init__.py": title}


def write_files(folder: Path) -> None:
    """Writes `files` to a folder, which is a whole Space then."""
    for name, content in files().items():
        write_atomic(folder / name, content)


def publish(
    repo_id: str,
    results: str,
    *,
    private: bool = False,
    secrets: Sequence[str] = (),
    wait: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Published:
    """Creates or updates the Space in one commit.

    Args:
        repo_id: "ORG/emms-leaderboard".
        results: the results dataset that it shows, "ORG/emms-results".
        private: of a new Space.
        secrets: names of environment variables whose values become secrets of the Space.
        wait: whether to wait until it runs.
        progress: called with every new stage.

    Raises:
        EmmsError: no such dataset, a secret without a value, no rights, the Space fails, or no Hub.
    """
    values = _secret_values(secrets)
    hub.resolve(results, "dataset")
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        commit = hub.publish_space(
            repo_id,
            Path(folder),
            message="EMMS leaderboard",
            private=private,
            replace=_REPLACED,
            variables={"EMMS_RESULTS_REPO": results, **hub.other_endpoint()},
            secrets=values,
        )
    stage = hub.wait_for_space(repo_id, progress=progress) if wait else None
    return Published(hub.page(repo_id, "space"), commit, stage)


def serve(settings: Mapping[str, str]) -> int:
    """Runs the Space on this machine until it is interrupted.

    Args:
        settings: environment variables of the app.

    Returns:
        The exit status; 0 where the user ended it.

    Raises:
        EmmsError: gradio is not installed.
    """
    for module in ("gradio", "msgspec", "pyarrow"):
        if importlib.util.find_spec(module) is None:
            raise EmmsError(f"the leaderboard needs {module}, which is not installed", "pip install 'hf-emms[space]'")
    folder = source_folder()
    usual = {"GRADIO_ANALYTICS_ENABLED": "False", "PYTHONDONTWRITEBYTECODE": "1"}
    environment = {**usual, **os.environ, **settings}
    try:
        return subprocess.run(
            [sys.executable, str(folder / "app.py")], cwd=folder, env=environment, check=False
        ).returncode
    except KeyboardInterrupt:
        return 0


def _secret_values(names: Sequence[str]) -> dict[str, str]:
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise EmmsError(
            f"--secret {missing[0]}: there is no environment variable {missing[0]}", f"export {missing[0]}=…"
        )
    return {name: os.environ[name] for name in names}
