"""Repositories of checkpoints and datasets: on the Hub, in folders, or in the embedded demo."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import threading
import time
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_emms.errors import EmmsError
from hf_emms.hub.client import RETRY_HINT, Kind, endpoint, repo_url, request
from hf_emms.hub.file_limits import check_sizes
from hf_emms.texts import printable

if TYPE_CHECKING:
    from hf_emms.hub.api import Api

# An event that ends downloads in the background.
CANCELLED: ContextVar[threading.Event | None] = ContextVar("CANCELLED", default=None)

# Exports and training files, which loading a checkpoint does not need.
IGNORED_FILES = ("onnx/*", "openvino/*", "coreml/*", "runs/*", "checkpoint-*/*", "original/*")

# Prefix of ids in the embedded demo, which contains small datasets, checkpoints and label encoders.
DEMO_PREFIX = "emms-demo/"
_DEMO_KINDS = ("checkpoints", "encoders", "datasets")
_DEMO = Path(__file__).resolve().parents[1] / "presets" / "demo"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
_DATA_FILES = (".parquet", ".json", ".jsonl", ".csv", ".tsv", ".xlsx", ".arrow", ".feather", ".zip")
_LICENSE = "license:"
_MAX_SHOWN = 120
# Seconds to measure the bandwidth.
_MEASURED_SECONDS = 2.0


@dataclass(frozen=True)
class HubFacts:
    """Facts about a repository from the request that resolved its name; None if unknown."""

    downloads: int | None = None  # in the last 30 days
    library: str | None = None  # e.g. "transformers", "timm"
    license: str | None = None


@dataclass(frozen=True)
class Repo:
    """A checkpoint or dataset at a fixed revision."""

    id: str  # "ORG/NAME", "emms-demo/NAME" or the path that the user typed
    kind: Kind
    revision: str  # the 40 hex digits of a commit, or "local-" and 16 hex digits of a content hash
    folder: Path | None = None  # or a single file; None for a Hub repository
    facts: HubFacts = field(default=HubFacts(), compare=False)  # empty for a commit, a folder, or offline


@dataclass(frozen=True)
class RepoFile:
    """A file of a repository."""

    bytes: int
    cached: bool  # whether it is on this machine
    sha256: str | None = None  # of a large file on the Hub


def resolve(id: str, kind: Kind, *, revision: str | None = None) -> Repo:
    """Return a repository at a fixed revision, under its current name.

    The id is a path, ``emms-demo/NAME``, or ``ORG/NAME[@REVISION]`` (branch, tag, commit, refs/pr/N). A revision in the
    id takes precedence. Offline, resolves branches and tags from the local cache.

    Raises:
        RepoNotFoundError: The repository does not exist on the Hub.
        EmmsError: The folder or revision does not exist, access is refused, or it is not cached and offline.
    """
    local = _local(id, kind)
    if local is not None:
        return local
    if looks_like_path(id):
        raise EmmsError(
            "unknown-folder", f"there is no file or folder {id!r}", f"a Hub {kind} is written ORG/NAME[@REVISION]"
        )
    name, _, pinned = id.partition("@")
    embedded = embedded_folder(name)
    if embedded is not None:
        if pinned:
            raise EmmsError(
                "no-revisions", f"{name} ships with hf_emms and has no revisions: @{pinned}", f"leave it out: {name}"
            )
        return Repo(name, kind, content_revision(embedded), embedded)
    if not _HUB_ID.fullmatch(name):
        raise EmmsError(
            "invalid-id", f"{id!r} is neither a folder nor a Hub id", "write ORG/NAME[@REVISION] or ./FOLDER"
        )
    return _resolve_on_hub(name, kind, pinned or revision)


def embedded_folder(id: str) -> Path | None:
    """Return the folder of a demo repository, or None if the id does not start with `DEMO_PREFIX`."""
    if not id.startswith(DEMO_PREFIX):
        return None
    name = id.removeprefix(DEMO_PREFIX)
    folders = {folder.name: folder for kind in _DEMO_KINDS for folder in _embedded(kind)}
    if name not in folders:
        raise EmmsError(
            "unknown-demo", f"{id} is not part of the embedded demo", "hf-emms presets lists its repositories"
        )
    return folders[name]


def embedded_ids(kind: str) -> tuple[str, ...]:
    """Return the ids of the embedded "datasets", "checkpoints" or "encoders", sorted."""
    return tuple(sorted(DEMO_PREFIX + folder.name for folder in _embedded(kind)))


def _embedded(kind: str) -> list[Path]:
    return [folder for folder in (_DEMO / kind).iterdir() if (folder / "README.md").is_file()]


def license_of(tags: Sequence[str] | None) -> str | None:
    """Return the license among the tags of a repository."""
    return next((tag.removeprefix(_LICENSE) for tag in tags or () if tag.startswith(_LICENSE)), None)


def listing(repo: Repo) -> dict[str, RepoFile]:
    """Return the files of a repository by path. Offline, return the cached files."""
    if repo.folder is not None:
        return _on_disk(repo.folder)
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.hf_api import RepoFile as HubFile

    if constants.HF_HUB_OFFLINE:
        return _on_disk(_download(repo, ["*"]))
    entries = request(
        lambda api: list(api.list_repo_tree(repo.id, repo_type=repo.kind, revision=repo.revision, recursive=True)),
        repo.id,
        repo.kind,
        repo.revision,
    )
    files = {}
    for entry in entries:
        if isinstance(entry, HubFile):
            cached = try_to_load_from_cache(repo.id, entry.path, revision=repo.revision, repo_type=repo.kind)
            digest = entry.lfs.sha256 if entry.lfs is not None else None
            files[entry.path] = RepoFile(entry.size, isinstance(cached, str), digest)
    return files


def measured_bandwidth(repo: Repo, path: str) -> float:
    """Return the bytes per second at which a file of a Hub repository arrives. Reads it for two seconds at most."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    def measure(api: Api) -> float:
        url = hf_hub_url(repo.id, path, revision=repo.revision, endpoint=endpoint())
        started, received, seconds = time.monotonic(), 0, 0.0
        with get_session().stream("GET", url, headers=build_hf_headers(), follow_redirects=True) as response:
            hf_raise_for_status(response)
            for piece in response.iter_bytes():
                received, seconds = received + len(piece), time.monotonic() - started
                if seconds > _MEASURED_SECONDS:
                    break
        return received / max(seconds, 1e-3)

    return request(measure, repo.id, repo.kind, repo.revision)


class NoMatchingFileError(EmmsError):
    """A Hub repository has no file that matches the patterns."""


def fetch(repo: Repo, allow_patterns: Sequence[str]) -> Path:
    """Download the files that match shell patterns unless they are cached, and return their folder.

    Compares new files with the Hub's checksums.

    Raises:
        NoMatchingFileError: No file matches.
        EmmsError: A file is too large (see `check_sizes`), or damaged; it is removed.
    """
    if repo.folder is not None:
        return repo.folder
    from huggingface_hub import constants

    started = time.time()
    folder = _download(repo, allow_patterns)
    if not folder.is_dir():
        raise NoMatchingFileError(
            "no-matching-file",
            f"{repo.kind} {repo.id!r} has no file that matches {', '.join(allow_patterns)}",
            f"look at its files: {repo_url(repo.id, repo.kind)}/tree/{repo.revision}",
        )
    matching = _matching([file.relative_to(folder).as_posix() for file in _visible_files(folder)], allow_patterns)
    if repo.kind == "model":
        check_sizes(repo.id, {path: (folder / path).stat().st_size for path in matching})
    # Some file systems round times to seconds.
    if not constants.HF_HUB_OFFLINE and any((folder / path).stat().st_mtime > started - 1 for path in matching):
        damaged = _damaged_files(repo, allow_patterns)
        for path in damaged:
            (folder / path).resolve().unlink()
            (folder / path).unlink(missing_ok=True)  # a link
        if damaged:
            raise EmmsError(
                "damaged-download", f"the download of {damaged[0]} of {repo.id} is damaged: wrong checksum", RETRY_HINT
            )
    return folder


def replacement_hint(repo: Repo, path: Path) -> str:
    """Return the hint for a damaged file: how to remove or replace it."""
    if repo.folder is not None:
        return f"write it again: {path}"
    return f"remove {path.resolve()}, then run the same command again"


def _damaged_files(repo: Repo, patterns: Sequence[str]) -> list[str]:
    """Return the files that match shell patterns and whose checksums differ from the Hub's."""
    checked = request(
        lambda api: api.verify_repo_checksums(repo.id, repo_type=repo.kind, revision=repo.revision),
        repo.id,
        repo.kind,
        repo.revision,
    )
    return _matching([mismatch["path"] for mismatch in checked.mismatches], patterns)


def _matching(paths: Sequence[str], patterns: Sequence[str]) -> list[str]:
    from huggingface_hub.utils import filter_repo_objects

    return list(filter_repo_objects(paths, allow_patterns=list(patterns), ignore_patterns=list(IGNORED_FILES)))


def on_this_machine(id: str) -> bool:
    """Return whether `resolve` searches for this name only on this machine."""
    return _is_path(Path(id).expanduser(), id) or looks_like_path(id)


def looks_like_path(id: str) -> bool:
    """Return whether the text can only be a path, even if it does not exist."""
    nested = id.count("/") > 1 and "@" not in id
    return id.startswith((".", "/", "~", os.sep)) or id.endswith(_DATA_FILES) or "\\" in id or nested


def content_revision(path: Path) -> str:
    """Return "local-" and a hash of a file, or of the visible files of a folder and their names.

    A process hashes files again only if their size or time has changed.
    """
    files = [path] if path.is_file() else _visible_files(path)
    base = path.parent if path.is_file() else path
    states = [(file.relative_to(base), file.stat()) for file in files]
    return _hash_of_files(
        base.absolute(),
        tuple((name, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino) for name, state in states),
    )


@functools.lru_cache
def _hash_of_files(base: Path, files: tuple[tuple[Path, int, int, int, int], ...]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for path, size, *_ in files:
        name = path.as_posix()
        # Lengths keep (name, content) pairs apart: "a" + "bc" is not "ab" + "c".
        digest.update(f"{len(name)}:{name}:{size}:".encode("utf-8", "surrogateescape"))
        with (base / path).open("rb") as stream:
            hashlib.file_digest(stream, lambda: digest)
    return f"local-{digest.hexdigest()}"


def cached_revisions() -> frozenset[str]:
    """Return the commits of which the Hub's cache has files."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        return frozenset(revision.commit_hash for repo in scan_cache_dir().repos for revision in repo.revisions)
    except CacheNotFound:
        return frozenset()


def delete_revision(repo: Repo, keep: frozenset[str] | None) -> None:
    """Delete a repository's revision from the Hub's cache unless it is in `keep`; None keeps all."""
    from huggingface_hub import scan_cache_dir

    if keep is not None and repo.revision in cached_revisions() - keep:
        scan_cache_dir().delete_revisions(repo.revision).execute()


def check_unchanged(repo: Repo) -> None:
    """Raise an `EmmsError` if a folder or file has changed since `resolve`. Hub commits cannot change."""
    if repo.folder is None:
        return
    try:
        present = content_revision(repo.folder)
    except OSError:  # a file was removed meanwhile
        present = None
    if present != repo.revision:
        raise EmmsError(
            "changed",
            f"the files of {repo.id} have changed since this run started",
            "run it again when no other program writes there",
        )


def _resolve_on_hub(name: str, kind: Kind, revision: str | None) -> Repo:
    from huggingface_hub import constants

    def resolved(api: Api) -> tuple[str, Any]:
        offline = constants.HF_HUB_OFFLINE
        sha = api.resolve_revision(name, repo_type=kind, revision=revision, local_files_only=offline).resolved
        return sha, api.info

    sha, info = request(resolved, name, kind, revision)
    if info is None:
        return Repo(name, kind, sha)
    facts = HubFacts(info.downloads, getattr(info, "library_name", None), license_of(info.tags))
    return Repo(info.id, kind, sha, facts=facts)


def _download(repo: Repo, allow_patterns: Sequence[str]) -> Path:
    from huggingface_hub.utils import tqdm

    cancelled = CANCELLED.get()

    class Bar(tqdm):
        """Hides downloads in the background, whose bar would overwrite other output, and ends them if cancelled."""

        def __init__(self, *args: Any, **options: Any) -> None:
            hidden = cancelled is not None or options.get("disable")
            label = printable(options.get("desc") or "")  # may be the name of a file
            super().__init__(*args, **{**options, "desc": label, "disable": hidden})

        def update(self, *amount: float | None) -> bool | None:
            if cancelled is not None and cancelled.is_set():
                raise InterruptedError("the download is no longer needed")
            return super().update(*amount)

    def download(api: Api) -> str:
        return api.snapshot_download(
            repo.id,
            repo_type=repo.kind,
            revision=repo.revision,
            allow_patterns=list(allow_patterns),
            ignore_patterns=list(IGNORED_FILES),
            tqdm_class=Bar,
        )

    return Path(request(download, repo.id, repo.kind, repo.revision))


def _local(id: str, kind: Kind) -> Repo | None:
    path = Path(id)
    try:
        path = path.expanduser()
        if not _is_path(path, id):
            return None
        if kind == "model" and path.is_dir() and not _visible_files(path):
            raise EmmsError(
                "no-data-files",
                f"the folder {id!r} contains no files",
                "choose the folder that model.save_pretrained wrote",
            )
        if kind == "model":
            check_sizes(id, {name: file.bytes for name, file in _on_disk(path).items()})
        return Repo(id, kind, content_revision(path), path.absolute())
    except EmmsError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # e.g. an invalid file name or an unknown home folder
        raise EmmsError(
            "cannot-read",
            f"{id[:_MAX_SHOWN]!r} cannot be read: {str(error)[:_MAX_SHOWN]}",
            f"a Hub {kind} is written ORG/NAME[@REVISION]",
        ) from error


def _is_path(path: Path, id: str) -> bool:
    # The empty text would be the current folder.
    return bool(id) and path.exists() and not id.startswith(DEMO_PREFIX)


def _on_disk(path: Path) -> dict[str, RepoFile]:
    if path.is_file():
        return {path.name: RepoFile(path.stat().st_size, True)}
    files = _visible_files(path) if path.is_dir() else []
    return {file.relative_to(path).as_posix(): RepoFile(file.stat().st_size, True) for file in files}


def _visible_files(folder: Path) -> list[Path]:
    def is_visible(file: Path) -> bool:
        parts = file.relative_to(folder).parts
        return file.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts)

    return sorted(filter(is_visible, folder.rglob("*")), key=lambda file: file.relative_to(folder).as_posix())
