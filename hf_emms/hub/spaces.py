"""Spaces: made and filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hf_emms.hub.connection import endpoint, explained


def publish_space(id: str, folder: Path, *, message: str, private: bool = False, ignore: Sequence[str] = ()) -> str:
    """Uploads a folder to a Gradio Space in one commit; the Space is made if it is not there.

    Args:
        id: "USER/NAME".
        folder: what the Space will hold; files it has besides stay.
        message: of the commit.
        private: of a Space that is made anew.
        ignore: shell patterns of files that stay behind.

    Returns:
        The address of the commit.

    Raises:
        EmmsError: no right to write there, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with explained(id, "space", None):
        api = HfApi(endpoint=endpoint())
        api.create_repo(id, repo_type="space", space_sdk="gradio", private=private, exist_ok=True)
        commit = api.upload_folder(
            repo_id=id, repo_type="space", folder_path=folder, commit_message=message, ignore_patterns=list(ignore)
        )
    return str(commit.commit_url)
