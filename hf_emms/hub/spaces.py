"""Spaces: created, filled, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hf_emms.errors import EmmsError
from hf_emms.hub.account import require_push, who_am_i
from hf_emms.hub.client import request
from hf_emms.hub.session import page

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TRIES = 3
_POLL_SECONDS = 3.0
_FAILED = ("BUILD_ERROR", "CONFIG_ERROR", "RUNTIME_ERROR", "NO_APP_FILE", "DELETING")
_BUILT = ("RUNNING", "PAUSED", "SLEEPING", "STOPPED")


def publish_space(
    id: str,
    folder: Path,
    *,
    message: str,
    private: bool = False,
    ignore: Sequence[str] = (),
    replace: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> str:
    """Uploads a folder to a Gradio Space in one commit; the Space is created where there is none.

    A Space that was created and could not be filled is deleted again.

    Args:
        id: "USER/NAME".
        folder: what the Space will hold; its other files stay.
        message: of the commit.
        private: of a new Space.
        ignore: shell patterns of files that are not uploaded.
        replace: shell patterns of files of the Space that are deleted when the folder doesn't have them.
        variables: settings of the Space that everybody may read.
        secrets: settings that nobody can read; they are in no file.

    Returns:
        The address of the commit.

    Raises:
        EmmsError: no right to write there (nothing is created then), or the Hub cannot be reached.
    """
    account = who_am_i()
    require_push(account, id, "space", instead=f"--repo-id {account.name}/{id.rpartition('/')[2]}")
    is_new = not request(lambda api: api.repo_exists(id, repo_type="space"), id, "space")

    def publish(api: HfApi) -> str:
        api.create_repo(id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        # Before the commit: the build that it starts is then the only one.
        for name, value in (variables or {}).items():
            api.add_space_variable(id, name, value)
        for name, value in (secrets or {}).items():
            api.add_space_secret(id, name, value)
        commit = api.upload_folder(
            repo_id=id,
            repo_type="space",
            folder_path=folder,
            commit_message=message,
            ignore_patterns=list(ignore),
            delete_patterns=list(replace) or None,
        )
        return str(commit.commit_url)

    try:
        return request(publish, id, "space", tries=_TRIES)
    except BaseException:
        if is_new:
            with suppress(EmmsError):
                request(lambda api: _delete_empty(api, id), id, "space", tries=_TRIES)
        raise


def wait_for_space(id: str, *, seconds: float = 900.0, progress: Callable[[str], None] | None = None) -> str:
    """Waits until a Space has been built and started.

    Args:
        id: "USER/NAME".
        seconds: how long to wait at most.
        progress: called with every new stage.

    Returns:
        The stage: "RUNNING", or "PAUSED", "SLEEPING" or "STOPPED".

    Raises:
        EmmsError: it could not be built or started, it takes too long, or the Hub cannot be reached.
    """
    end, before = time.monotonic() + seconds, ""
    while True:
        stage = request(lambda api: str(api.get_space_runtime(id).stage), id, "space")
        if stage != before and progress is not None:
            progress(stage)
        before = stage
        if stage in _BUILT:
            return stage
        if stage in _FAILED:
            raise EmmsError(f"the Space {id!r} stopped at {stage}", f"read its logs: {page(id, 'space')}?logs=build")
        if time.monotonic() > end:
            raise EmmsError(f"the Space {id!r} is still at {stage} after {seconds:g} s", f"watch {page(id, 'space')}")
        time.sleep(_POLL_SECONDS)


def _delete_empty(api: HfApi, id: str) -> None:
    """Deletes a Space without an app: what failed may have been the answer to a commit that was made."""
    if not api.file_exists(id, "app.py", repo_type="space"):
        api.delete_repo(id, repo_type="space", missing_ok=True)
