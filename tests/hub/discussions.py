"""Discussions and pull requests as state: events, differences, merges."""

from __future__ import annotations

import difflib
import secrets
from typing import Any

from .records import Commit, Discussion, File, Repo
from .store import Store, lfs_pointer, now


def event(kind: str, author: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": secrets.token_hex(12), "type": kind, "createdAt": now(), "author": {"name": author}, "data": data}


def comment_event(author: str, text: str) -> dict[str, Any]:
    latest = {"raw": text, "html": text, "updatedAt": now(), "author": {"name": author}}
    return event("comment", author, {"edited": False, "hidden": False, "latest": latest, "history": [latest]})


def open_discussion(repo: Repo, title: str, description: str, author: str, *, status: str = "open") -> Discussion:
    return _opened(repo, title, description, author, status, pull=False)


def open_pull_request(
    store: Store, repo: Repo, base: Commit, title: str, description: str, author: str, *, status: str = "open"
) -> Discussion:
    """Opens a pull request whose ref is at `base`; the caller commits to it."""
    pull = _opened(repo, title, description, author, status, pull=True)
    repo.refs[f"refs/pr/{pull.num}"] = base.sha
    store.save(repo)
    return pull


def _opened(repo: Repo, title: str, description: str, author: str, status: str, *, pull: bool) -> Discussion:
    one = Discussion(repo.next_number(), title, author, now(), status, pull, [comment_event(author, description)])
    repo.discussions.append(one)
    return one


def commit_event(repo: Repo, num: int, commit: Commit) -> None:
    pull = repo.discussion(num)
    if pull is not None:
        pull.events.append(event("commit", commit.author, {"subject": commit.title, "oid": commit.sha}))


def change_status(one: Discussion, status: str, author: str) -> dict[str, Any]:
    changed = event("status-change", author, {"status": status})
    one.status = status
    one.events.append(changed)
    return changed


def merge_base(repo: Repo, pull: Discussion) -> Commit:
    """Where a pull request left main."""
    on_main = _ancestors(repo, repo.refs["refs/heads/main"])
    sha = repo.refs[f"refs/pr/{pull.num}"]
    while sha not in on_main:
        sha = repo.commits[sha].parents[0]
    return repo.commits[sha]


def _ancestors(repo: Repo, sha: str) -> set[str]:
    seen, waiting = set(), [sha]
    while waiting:
        sha = waiting.pop()
        if sha not in seen:
            seen.add(sha)
            waiting += repo.commits[sha].parents
    return seen


def changes(repo: Repo, pull: Discussion) -> dict[str, File | None]:
    """What a pull request changes, by path; None for files that it deletes."""
    base, head = merge_base(repo, pull).files, repo.commits[repo.refs[f"refs/pr/{pull.num}"]].files
    return {path: head.get(path) for path in sorted({*base, *head}) if base.get(path) != head.get(path)}


def conflicts(repo: Repo, pull: Discussion) -> list[str]:
    """The files that main has changed since in another way."""
    base, main = merge_base(repo, pull).files, repo.commits[repo.refs["refs/heads/main"]].files
    return [path for path, file in changes(repo, pull).items() if main.get(path) not in (base.get(path), file)]


def merge(store: Store, repo: Repo, pull: Discussion, author: str) -> Commit:
    head = repo.refs[f"refs/pr/{pull.num}"]
    title = f"{pull.title} (#{pull.num})"
    made = store.commit(repo, "main", changes(repo, pull), title, author=author, merged=(head,))
    pull.merge_commit = made.sha
    change_status(pull, "merged", author)
    store.save(repo)
    return made


def diff(store: Store, repo: Repo, pull: Discussion) -> str:
    """The changes of a pull request as git shows them; LFS files by their pointers."""
    base = merge_base(repo, pull).files
    pieces = []
    for path, after in changes(repo, pull).items():
        old, new = (_lines(store, file) for file in (base.get(path), after))
        names = ("/dev/null" if path not in base else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
        body = difflib.unified_diff(old, new, *names)
        pieces.append(
            f"diff --git a/{path} b/{path}\n" + "".join(line if line[-1:] == "\n" else f"{line}\n" for line in body)
        )
    return "".join(pieces)


def _lines(store: Store, file: File | None) -> list[str]:
    if file is None:
        return []
    content = lfs_pointer(file.sha256, file.size) if file.lfs else store.blob(file.sha256).read_bytes()
    return content.decode("utf-8", "replace").splitlines(keepends=True)
