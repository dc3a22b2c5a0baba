"""The leaderboard Space: where its files are, how it runs here, and how it gets to the Hub."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path

from hf_emms import hub
from hf_emms.errors import EmmsError

# What lies beside the files of the Space and is none of them.
_LEFT_OUT = ("*.pyc", "__pycache__/*", "*/__pycache__/*", "results/*", ".*")
# Modules that a newer version no longer has go; what the owner has added elsewhere stays.
_REPLACED = ("leaderboard/*",)


@dataclass(frozen=True)
class Published:
    """Where the Space is, and what became of it."""

    url: str
    commit: str
    stage: str | None


def source_folder() -> Path:
    """The Space's files: inside the installed package; in a checkout they lie beside it.

    Raises:
        EmmsError: they are in neither place.
    """
    package = Path(str(resources.files("hf_emms")))
    for folder in (package / "spaces_app", package.parent / "spaces_app"):
        if (folder / "app.py").is_file():
            return folder
    raise EmmsError("this installation lacks the files of the leaderboard", "pip install --force-reinstall hf-emms")


def files() -> list[str]:
    """The paths of the files that are published."""
    folder = source_folder()
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [path for path in paths if not any(fnmatch(path, pattern) for pattern in _LEFT_OUT)]


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
        private: of a Space that is made anew.
        secrets: names of environment variables whose values become secrets of the Space.
        wait: whether to wait until it runs.
        progress: is told every new stage.

    Raises:
        EmmsError: no such dataset, a secret without a value, no rights, the Space fails, or no Hub.
    """
    values = _secret_values(secrets)
    hub.resolve(results, "dataset")
    commit = hub.publish_space(
        repo_id,
        source_folder(),
        message="EMMS leaderboard",
        private=private,
        ignore=_LEFT_OUT,
        replace=_REPLACED,
        variables={"EMMS_RESULTS_REPO": results},
        secrets=values,
    )
    stage = hub.wait_for_space(repo_id, progress=progress) if wait else None
    return Published(hub.page(repo_id, "space"), commit, stage)


def serve(settings: Mapping[str, str]) -> int:
    """Runs the Space here until it is interrupted.

    Args:
        settings: environment variables of the app.

    Returns:
        The exit status: 0 when the user has ended it.

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
