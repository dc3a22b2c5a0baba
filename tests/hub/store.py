"""The stand-in Hub's state: repositories in memory, and contents on disk by their sha256."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

Kind = Literal["model", "dataset", "space"]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class File(msgspec.Struct, frozen=True):
    """A file of a commit. `oid` is the sha1 of the git blob, which is the content or the pointer of an LFS file."""

    oid: str
    sha256: str
    size: int
    lfs: bool


class Commit(msgspec.Struct, frozen=True):
    """A commit with its tree by path."""

    sha: str
    files: dict[str, File]
    date: str


class Discussion(msgspec.Struct):
    """A pull request. `base` is the commit of main from which it started."""

    num: int
    title: str
    author: str
    created_at: str
    status: str
    base: str = ""


class Space(msgspec.Struct):
    """Fields of a Space."""

    sdk: str
    hardware: str = "cpu-basic"
    variables: dict[str, dict[str, Any]] = {}


class Repo(msgspec.Struct):
    """A repository: commits by sha, and refs by their full name (refs/heads/main, refs/pr/1, …)."""

    kind: Kind
    id: str
    created_at: str = msgspec.field(default_factory=now)
    private: bool = False
    gated: Literal[False, "auto", "manual"] = False
    downloads: int = 0
    likes: int = 0
    commits: dict[str, Commit] = {}
    refs: dict[str, str] = {}
    discussions: list[Discussion] = []
    space: Space | None = None
    metadata: dict[str, Any] | None = None  # instead of what the Hub reads from the files

    @property
    def namespace(self) -> str:
        return self.id.partition("/")[0]

    def resolve(self, revision: str) -> Commit | None:
        """Return the commit of a branch, full ref or sha."""
        for name in (revision, f"refs/heads/{revision}"):
            if name in self.refs:
                return self.commits[self.refs[name]]
        return self.commits.get(revision)

    def discussion(self, num: int) -> Discussion:
        return self.discussions[num - 1]

    def open_pull_request(self, title: str, author: str, base: str) -> str:
        """Add a pull request that starts at a commit, and return its ref."""
        self.discussions.append(Discussion(len(self.discussions) + 1, title, author, now(), "open", base))
        ref = f"refs/pr/{len(self.discussions)}"
        self.refs[ref] = base
        return ref


LFS_SUFFIXES = (".arrow", ".bin", ".gz", ".h5", ".msgpack", ".npz", ".onnx", ".parquet", ".pt", ".safetensors", ".zip")


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def is_lfs(path: str, size: int) -> bool:
    return size > 0 and Path(path).suffix in LFS_SUFFIXES


@dataclass(frozen=True)
class BoardEntry:
    """An entry of the leaderboard of a benchmark dataset."""

    model: str
    verified: bool = False
    pull_request: int | None = None  # the open pull request with the result; None: it is in the main branch


class Store:
    """All repositories. Acquire `lock` before changes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._blobs = folder / "blobs"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.repos: dict[tuple[Kind, str], Repo] = {}
        self.leaderboards: dict[str, list[BoardEntry]] = {}  # benchmark dataset → entries, the best first

    # ---- repositories --------------------------------------------------------------------------------------------

    def create_repo(self, id: str, kind: Kind = "model", *, sdk: str | None = None, **fields: Any) -> Repo:
        """Create a repository with the Hub's first commit."""
        with self.lock:
            repo = self.repos[kind, id] = Repo(kind, id, **fields)
            if kind == "space":
                repo.space = Space(sdk or "gradio")
            attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
            first = {".gitattributes": attributes}
            if repo.space is not None:
                first["README.md"] = f"---\ntitle: {id.partition('/')[2]}\nsdk: {repo.space.sdk}\n---\n"
            self.put_files(id, first, kind)
            return repo

    def repo(self, id: str, kind: Kind = "model") -> Repo:
        return self.repos[kind, id]

    def delete(self, repo: Repo) -> None:
        del self.repos[repo.kind, repo.id]

    # ---- contents ------------------------------------------------------------------------------------------------

    def add_blob(self, content: bytes) -> str:
        """Store bytes and return their sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.blob(sha256).exists():
            self.blob(sha256).write_bytes(content)
        return sha256

    def blob(self, sha256: str) -> Path:
        """Return the path for the bytes of this sha256."""
        return self._blobs / sha256

    def add_file(self, path: str, content: bytes, *, lfs: bool | None = None) -> File:
        """Store a file's content as git or LFS would."""
        sha256 = self.add_blob(content)
        as_lfs = is_lfs(path, len(content)) if lfs is None else lfs
        oid = git_oid(lfs_pointer(sha256, len(content)) if as_lfs else content)
        return File(oid, sha256, len(content), as_lfs)

    def read(self, id: str, path: str, kind: Kind = "model", revision: str = "main") -> bytes:
        commit = self.repo(id, kind).resolve(revision)
        assert commit is not None, revision
        return self.blob(commit.files[path].sha256).read_bytes()

    def paths(self, id: str, kind: Kind = "model") -> list[str]:
        """Return the files of the main branch, sorted."""
        commit = self.repo(id, kind).resolve("main")
        assert commit is not None
        return sorted(commit.files)

    # ---- commits -------------------------------------------------------------------------------------------------

    def put_files(
        self,
        id: str,
        files: Mapping[str, bytes | str | Path],
        kind: Kind = "model",
        *,
        ref: str = "main",
        sha: str | None = None,
        **fields: Any,
    ) -> str:
        """Commit files in addition to the existing ones. Create the repository and the ref if they are missing."""
        with self.lock:
            repo = self.repos.get((kind, id)) or self.create_repo(id, kind, **fields)
            added = {path: self.add_file(path, _bytes(content)) for path, content in files.items()}
            return self.commit(repo, ref, added, sha).sha

    def commit(self, repo: Repo, ref: str, changes: Mapping[str, File | None], sha: str | None = None) -> Commit:
        """Add a commit to a ref. A new ref starts at main, except for converted copies."""
        with self.lock:
            # Converted copies do not contain files of main.
            start = None if ref.startswith("refs/convert/") else repo.resolve("refs/heads/main")
            ref = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
            head = repo.resolve(ref) or start
            tree = {**(head.files if head else {}), **changes}
            files = {path: file for path, file in sorted(tree.items()) if file is not None}
            parent = head.sha if head else None
            date = now()
            named = [repo.kind, repo.id, parent, {path: file.oid for path, file in files.items()}, date]
            sha = sha or hashlib.sha1(json.dumps(named).encode()).hexdigest()
            repo.commits[sha] = commit = Commit(sha, files, date)
            repo.refs[ref] = sha
            return commit


def _bytes(content: bytes | str | Path) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else content
