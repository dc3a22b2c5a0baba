"""Where checkpoints and datasets come from: the Hub, a folder, the embedded demo."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hf_emms.demo as demo
from hf_emms.errors import EmmsError
from hf_emms.hub.connection import Kind, endpoint, explained, page

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_DATA_FILES = (".parquet", ".json", ".jsonl", ".csv", ".tsv")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Repo:
    """A checkpoint or a dataset at one exact state.

    Attributes:
        id: "ORG/NAME", "emms-demo/NAME" or the path of a folder or file, as the user typed it.
        kind: "model" or "dataset".
        revision: the commit's 40 hex digits, or "local-" and 16 hex digits of the content.
        folder: the folder (or single file) of a local or embedded repository; None for one of the Hub.
    """

    id: str
    kind: Kind
    revision: str
    folder: Path | None = None


def resolve(id: str, kind: Kind, *, revision: str | None = None) -> Repo:
    """Finds a repository and pins its state.

    Args:
        id: a path, ``emms-demo/NAME``, or ``ORG/NAME[@REVISION]`` (branch, tag, commit, refs/pr/N).
        kind: "model" or "dataset".
        revision: the revision of a Hub repository; one behind an "@" in the id wins.

    Returns:
        The repository. Offline, a branch or tag is looked up among those that the local cache has seen.

    Raises:
        RepoNotFoundError: the Hub has no such repository.
        EmmsError: no such folder or revision, access refused, or offline and not in the cache.
    """
    path = Path(id).expanduser()
    if path.exists() and not id.startswith(demo.DEMO_PREFIX):
        return Repo(id, kind, content_revision(path), path.absolute())
    if looks_like_path(id):
        raise EmmsError(f"there is no file or folder {id!r}", f"a Hub {kind} is written ORG/NAME[@REVISION]")
    name, _, pinned = id.partition("@")
    embedded = demo.folder_of(name)
    if embedded is not None:
        return Repo(name, kind, content_revision(embedded), embedded)
    if not _HUB_ID.fullmatch(name):
        raise EmmsError(f"{id!r} is neither a folder nor a Hub id", "write ORG/NAME[@REVISION] or ./FOLDER")

    from huggingface_hub import HfApi

    with explained(name, kind, pinned or revision):
        sha = HfApi(endpoint=endpoint()).resolve_revision(name, repo_type=kind, revision=pinned or revision)
    return Repo(name, kind, sha.resolved)


def fetch(repo: Repo, allow_patterns: Sequence[str]) -> Path:
    """Brings the files that match the patterns onto this machine.

    Args:
        repo: what `resolve` returned.
        allow_patterns: shell patterns, e.g. ``["*.json", "*.safetensors"]``.

    Returns:
        The folder that holds them; a local repository's own folder as it is.

    Raises:
        EmmsError: the files cannot be had (access, network, offline), or none matches.
    """
    if repo.folder is not None:
        return repo.folder
    from huggingface_hub import snapshot_download

    with explained(repo.id, repo.kind, repo.revision):
        folder = snapshot_download(
            repo.id,
            repo_type=repo.kind,
            revision=repo.revision,
            allow_patterns=list(allow_patterns),
            endpoint=endpoint(),
        )
    if not Path(folder).is_dir():
        raise EmmsError(
            f"{repo.kind} {repo.id!r} has no file that matches {', '.join(allow_patterns)}",
            f"look at its files: {page(repo.id, repo.kind)}/tree/{repo.revision}",
        )
    return Path(folder)


def looks_like_path(id: str) -> bool:
    """Whether the text can only be a path, whether or not something is there."""
    nested = id.count("/") > 1 and "@" not in id
    return id.startswith((".", "/", "~", os.sep)) or id.endswith(_DATA_FILES) or "\\" in id or nested


def content_revision(path: Path) -> str:
    """Hashes names and bytes of a file, or of all files of a folder but the hidden ones.

    Returns:
        "local-" and 16 hex digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    for file in [path] if path.is_file() else _visible_files(path):
        name = file.name if file == path else file.relative_to(path).as_posix()
        # Lengths keep (name, content) pairs apart: "a" + "bc" is not "ab" + "c".
        digest.update(f"{len(name)}:{name}:{file.stat().st_size}:".encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
    return f"local-{digest.hexdigest()}"


def _visible_files(folder: Path) -> list[Path]:
    def visible(file: Path) -> bool:
        parts = file.relative_to(folder).parts
        return file.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts)

    return sorted(filter(visible, folder.rglob("*")), key=lambda file: file.relative_to(folder).as_posix())
