"""Spaces: created, filled, and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError
from hf_emms.hub.account import Account, require_push, who_am_i
from hf_emms.hub.client import request
from hf_emms.hub.session import page

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_TRIES = 3
_POLL_SECONDS = 3.0
# What a free account may run: https://huggingface.co/docs/hub/spaces-overview
ZERO_GPU = "zero-a10g"
_CHOICES = (
    f"--hardware {ZERO_GPU} (two are free for a user whose account is older than 30 days and whose address is "
    "verified), or a paid plan: https://huggingface.co/pricing"
)
_FAILED = ("BUILD_ERROR", "CONFIG_ERROR", "RUNTIME_ERROR", "NO_APP_FILE", "DELETING")
_BUILT = ("RUNNING", "PAUSED", "SLEEPING", "STOPPED")


def require_space(id: str) -> Account:
    """Whose token is in use, where it may write to a Space; asked before the Space's files are made.

    Raises:
        EmmsError: no right to write there, or the Hub cannot be reached.
    """
    account = who_am_i()
    require_push(account, id, "space", instead=f"--repo-id {account.name}/{id.rpartition('/')[2]}")
    return account


def publish_space(
    account: Account,
    id: str,
    folder: Path,
    *,
    message: str,
    sdk: str = "gradio",
    hardware: str | None = None,
    free: str = "",
    private: bool = False,
    ignore: Sequence[str] = (),
    replace: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> str:
    """Uploads a folder to a Space in one commit; the Space is created where there is none.

    A Space that was created and could not be filled is deleted again.

    Args:
        account: from `require_space`.
        id: "USER/NAME".
        folder: what the Space will hold; its other files stay.
        message: of the commit.
        sdk: "gradio" or "static", as the front matter of its README has it.
        hardware: to run it on, also where it ran on other hardware before; None: for a new one what the account can
            have.
        free: what is free for everyone instead, for a refusal.
        private: of a new Space.
        ignore: shell patterns of files that are not uploaded.
        replace: shell patterns of files of the Space that are deleted when the folder doesn't have them.
        variables: settings of the Space that everybody may read.
        secrets: settings that nobody can read; they are in no file.

    Returns:
        The address of the commit.

    Raises:
        EmmsError: a Space that the account cannot have (nothing is created then), or the Hub cannot be reached.
    """
    is_new = not request(lambda api: api.repo_exists(id, repo_type="space"), id, "space")

    if is_new and hardware is None and sdk != "static":
        hardware = _affordable(account, id)

    choices = f"choose one: {f'{free}; ' if free else ''}{_CHOICES}"

    def publish(api: HfApi) -> str:
        wanted: Any = hardware if is_new else None
        api.create_repo(id, repo_type="space", space_sdk=sdk, space_hardware=wanted, private=private, exist_ok=True)
        if hardware is not None and not is_new:
            api.request_space_hardware(id, hardware)  # type: ignore[arg-type]
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
        return request(publish, id, "space", tries=_TRIES, hints=dict.fromkeys((402, 403), choices))
    except BaseException:
        if is_new:
            with suppress(EmmsError):
                request(lambda api: _delete_empty(api, id), id, "space", tries=_TRIES)
        raise


def sdk_of(id: str) -> str:
    """The SDK of a Space: "gradio", "static" or "docker".

    Raises:
        EmmsError: there is no such Space, or the Hub cannot be reached.
    """
    return request(lambda api: str(api.space_info(id).sdk), id, "space")


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


def _affordable(account: Account, id: str) -> str | None:
    """The hardware of a new Gradio Space; None for the Hub's default, which users pay a plan for."""
    return ZERO_GPU if id.partition("/")[0] == account.name and not account.is_pro else None


def _delete_empty(api: HfApi, id: str) -> None:
    """Deletes a Space without an app: what failed may have been the answer to a commit that was made."""
    if not any(api.file_exists(id, app, repo_type="space") for app in ("app.py", "index.html")):
        api.delete_repo(id, repo_type="space", missing_ok=True)
