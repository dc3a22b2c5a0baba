"""The stand-in Hub's state: repositories in memory, contents on disk in blobs named by their sha256."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

Kind = Literal["model", "dataset", "space"]


class File(msgspec.Struct, frozen=True):
    """A file of a commit. `oid` is the git blob's sha1: of the content, or of the pointer of an LFS file."""

    oid: str
    sha256: str
    size: int
    lfs: bool


class Commit(msgspec.Struct, frozen=True):
    """A commit, with its whole tree by path."""

    sha: str
    parents: tuple[str, ...]
    files: dict[str, File]
    title: str
    message: str
    author: str
    date: str


class Discussion(msgspec.Struct):
    """A discussion or a pull request."""

    num: int
    title: str
    author: str
    created_at: str
    status: str
    is_pull_request: bool


class Space(msgspec.Struct):
    """What only a Space has. `stage` overrides the stage that follows from the files."""

    sdk: str
    stage: str | None = None
    hardware: str = "cpu-basic"
    sleep_time: int | None = None
    secrets: dict[str, dict[str, Any]] = {}
    variables: dict[str, dict[str, Any]] = {}


class Repo(msgspec.Struct):
    """A repository: commits by sha, and refs by their full name (refs/heads/main, refs/pr/1, …).

    `headers_read` is False where the Hub has not looked into the safetensors files, and tells no parameters.
    """

    kind: Kind
    id: str
    created_at: str
    private: bool = False
    gated: Literal[False, "auto", "manual"] = False
    disabled: bool = False
    downloads: int = 0
    likes: int = 0
    headers_read: bool = True
    commits: dict[str, Commit] = {}
    refs: dict[str, str] = {}
    discussions: list[Discussion] = []
    space: Space | None = None

    @property
    def namespace(self) -> str:
        return self.id.partition("/")[0]

    def resolve(self, revision: str) -> Commit | None:
        """The commit of a branch, tag, full ref, sha or its first seven digits or more; HEAD is main."""
        if revision == "HEAD":
            return self.resolve("main")
        for name in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}"):
            if name in self.refs:
                return self.commits[self.refs[name]]
        if len(revision) < 7:
            return None
        return next((commit for sha, commit in self.commits.items() if sha.startswith(revision)), None)

    def discussion(self, num: int) -> Discussion | None:
        return next((one for one in self.discussions if one.num == num), None)

    def next_number(self) -> int:
        return max((one.num for one in self.discussions), default=0) + 1


def full_ref(name: str) -> str:
    """refs/heads/NAME for a branch's name; a full ref as it is."""
    return name if name.startswith("refs/") else f"refs/heads/{name}"


LFS_SUFFIXES = """
.arrow .bin .ckpt .gguf .gz .h5 .msgpack .npy .npz .onnx .parquet .pickle .pkl .pt .pth .safetensors .tar .tgz .zip
""".split()  # noqa: SIM905
MEDIA_SUFFIXES = ".gif .jpeg .jpg .mp4 .png .wav .webp".split()  # noqa: SIM905
LFS_FROM_BYTES = 10 << 20


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def lfs_pointer(sha256: str, size: int) -> bytes:
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def is_lfs(path: str, size: int, kind: Kind) -> bool:
    suffixes = LFS_SUFFIXES + (MEDIA_SUFFIXES if kind == "dataset" else [])
    return size > 0 and (size > LFS_FROM_BYTES or Path(path).suffix.lower() in suffixes)


class Store:
    """All repositories. Whoever changes something holds `lock`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock = threading.RLock()
        self._blobs = folder / "blobs"
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.repos: dict[tuple[Kind, str], Repo] = {}
        self.moved: dict[str, str] = {}

    # ---- repositories --------------------------------------------------------------------------------------------

    def create_repo(
        self, id: str, kind: Kind = "model", *, sdk: str | None = None, author: str = "", **fields: Any
    ) -> Repo:
        """Makes a repository with the first commit that the Hub makes."""
        with self.lock:
            if (kind, id) in self.repos:
                raise ValueError(f"{kind} {id} exists")
            repo = Repo(kind, id, **{"created_at": now(), **fields})
            if kind == "space":
                repo.space = Space(sdk or "gradio")
            self.repos[kind, id] = repo
            self.moved.pop(f"{kind}s/{id}", None)
            attributes = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES)
            first = {".gitattributes": self.add_file(".gitattributes", attributes.encode(), kind)}
            if repo.space is not None:
                readme = f"---\ntitle: {id.partition('/')[2]}\nsdk: {repo.space.sdk}\napp_file: app.py\n---\n"
                first["README.md"] = self.add_file("README.md", readme.encode(), kind)
            self.commit(repo, "main", first, "initial commit", author=author, date=repo.created_at)
            return repo

    def repo(self, id: str, kind: Kind = "model") -> Repo:
        """The repository of this id."""
        return self.repos[kind, id]

    def delete(self, repo: Repo) -> None:
        del self.repos[repo.kind, repo.id]

    def move(self, repo: Repo, to_id: str) -> None:
        """Renames a repository; its old name leads to the new one."""
        self.delete(repo)
        self.moved[f"{repo.kind}s/{repo.id}"] = to_id
        repo.id = to_id
        self.repos[repo.kind, to_id] = repo

    # ---- contents ------------------------------------------------------------------------------------------------

    def add_blob(self, content: bytes) -> str:
        """Keeps the bytes; returns their sha256."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.blob(sha256).exists():
            _write(self.blob(sha256), content)
        return sha256

    def blob(self, sha256: str) -> Path:
        """Where the bytes of this sha256 lie, or would lie."""
        return self._blobs / sha256

    def add_file(self, path: str, content: bytes, kind: Kind, *, lfs: bool | None = None) -> File:
        """Keeps a file's content as git or LFS would."""
        sha256 = self.add_blob(content)
        as_lfs = is_lfs(path, len(content), kind) if lfs is None else lfs
        oid = git_oid(lfs_pointer(sha256, len(content)) if as_lfs else content)
        return File(oid, sha256, len(content), as_lfs)

    def read(self, id: str, path: str, kind: Kind = "model", revision: str = "main") -> bytes:
        """The content of a file."""
        return self.blob(self._commit(id, kind, revision).files[path].sha256).read_bytes()

    def paths(self, id: str, kind: Kind = "model", revision: str = "main") -> list[str]:
        """The files of a revision, sorted."""
        return sorted(self._commit(id, kind, revision).files)

    def _commit(self, id: str, kind: Kind, revision: str) -> Commit:
        commit = self.repo(id, kind).resolve(revision)
        if commit is None:
            raise KeyError(revision)
        return commit

    # ---- commits -------------------------------------------------------------------------------------------------

    def put_files(
        self,
        id: str,
        files: Mapping[str, bytes | str | Path],
        kind: Kind = "model",
        *,
        ref: str = "main",
        message: str = "Add files",
        author: str = "",
        date: str | None = None,
        sha: str | None = None,
        **fields: Any,
    ) -> str:
        """Commits files beside those that are there; makes the repository and the ref if need be."""
        with self.lock:
            repo = self.repos.get((kind, id)) or self.create_repo(id, kind, **fields)
            added = {path: self.add_file(path, _bytes(content), kind) for path, content in files.items()}
            commit = self.commit(repo, ref, added, message, author=author, date=date, sha=sha)
            if ref.startswith("refs/pr/") and repo.discussion(int(ref.removeprefix("refs/pr/"))) is None:
                num = int(ref.removeprefix("refs/pr/"))
                repo.discussions.append(Discussion(num, message, commit.author, commit.date, "open", True))
            return commit.sha

    def commit(
        self,
        repo: Repo,
        ref: str,
        changes: Mapping[str, File | None],
        title: str,
        *,
        message: str = "",
        author: str = "",
        date: str | None = None,
        sha: str | None = None,
    ) -> Commit:
        """Puts a commit on a ref; a new ref starts at main, but for the refs of converted copies."""
        with self.lock:
            # The Hub's converted copies hold nothing of main.
            start = None if ref.startswith("refs/convert/") else repo.resolve("refs/heads/main")
            head = repo.resolve(full_ref(ref)) or start
            tree = {**(head.files if head else {}), **changes}
            files = {path: file for path, file in sorted(tree.items()) if file is not None}
            parents = (head.sha,) if head else ()
            author, date = author or repo.namespace, date or now()
            named = [repo.kind, repo.id, parents, {path: file.oid for path, file in files.items()}, title, author, date]
            sha = sha or hashlib.sha1(json.dumps(named).encode()).hexdigest()
            repo.commits[sha] = commit = Commit(sha, parents, files, title, message, author, date)
            repo.refs[full_ref(ref)] = sha
            return commit


def _bytes(content: bytes | str | Path) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else content


def _write(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.{threading.get_ident()}.part")
    part.write_bytes(content)
    part.replace(path)
