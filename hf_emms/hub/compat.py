"""What huggingface_hub has no public call for: each with its reason, and what will end it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def client_factory() -> Callable[[], Any]:
    """Return the factory of HTTP clients that is in use.

    Limits of time are added to whatever clients the program makes, with its proxies and certificates, and
    huggingface_hub can only set a factory: until it has a getter for it.
    """
    from huggingface_hub.utils import _http

    return _http._GLOBAL_CLIENT_FACTORY


def resolve_with_info(api: HfApi, id: str, kind: str, revision: str | None, *, offline: bool) -> tuple[str, Any]:
    """Return the commit of a revision, and what the Hub said of the repository; None where the local cache answered.

    `HfApi.resolve_revision` asks for that itself and keeps the commit alone. To ask again is a request more for each
    checkpoint of a ranking, which the Hub counts: until it gives its answer back.
    """
    repo_info, infos = api.repo_info, list[Any]()

    def kept_info(*args: Any, **options: Any) -> Any:
        infos.append(repo_info(*args, **options))
        return infos[-1]

    api.repo_info = kept_info  # type: ignore[method-assign]
    sha = api.resolve_revision(id, repo_type=kind, revision=revision, local_files_only=offline).resolved
    return sha, infos[-1] if infos else None
