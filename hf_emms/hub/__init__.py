"""The Hugging Face Hub: the only room that talks to its API."""

from hf_emms.hub.connection import Kind, RepoNotFoundError, page
from hf_emms.hub.read import Repo, content_revision, fetch, looks_like_path, resolve
from hf_emms.hub.spaces import publish_space

__all__ = [
    "Kind",
    "Repo",
    "RepoNotFoundError",
    "content_revision",
    "fetch",
    "looks_like_path",
    "page",
    "publish_space",
    "resolve",
]
