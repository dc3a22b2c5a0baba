"""What the stand-in Hub remembers, as plain records that go to disk as JSON."""

from __future__ import annotations

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
    """A discussion or a pull request; `events` are as the API gives them."""

    num: int
    title: str
    author: str
    created_at: str
    status: str
    is_pull_request: bool
    events: list[dict[str, Any]] = []
    merge_commit: str | None = None


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
    granted: list[str] = []
    commits: dict[str, Commit] = {}
    refs: dict[str, str] = {}
    discussions: list[Discussion] = []
    space: Space | None = None

    @property
    def namespace(self) -> str:
        return self.id.partition("/")[0]

    def resolve(self, revision: str) -> Commit | None:
        """The commit of a branch, tag, full ref, sha or its first seven digits or more."""
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
