"""Downloads ahead: while one checkpoint computes, the next ones arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from multiprocessing import TimeoutError as WaitTimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool
from types import TracebackType

from hf_emms.engines.engine import Work
from hf_emms.engines.extraction import bring
from hf_emms.hub import CALLED_OFF, Repo

# How many may lie ready before they are used: a slow one delays nobody, and a run that is stopped leaves little on
# the disk that nobody will use.
AHEAD = 2
_PATIENCE_SECONDS = 1.0


class Prefetch:
    """Brings repositories of the Hub in order, one at a time, at most `AHEAD` before the one that is in use.

    Args:
        repos: in the order in which they will be taken; local ones need no bringing.
        bring: downloads one; runs in another thread.
        on_wait: is told the id of a repository that has to be waited for.
    """

    def __init__(
        self, repos: Iterable[Repo], bring: Callable[[Repo], None], on_wait: Callable[[str], None] = lambda id: None
    ) -> None:
        self._waiting = list(dict.fromkeys(repo for repo in repos if repo.folder is None))
        self._bring = bring
        self._on_wait = on_wait
        self._running: dict[Repo, AsyncResult[None]] = {}
        self._over = threading.Event()
        # Its thread is a daemon, which does not keep the program from ending.
        self._pool = ThreadPool(1, CALLED_OFF.set, (self._over,))

    def __enter__(self) -> Prefetch:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._pool.terminate()

    def take(self, repo: Repo) -> None:
        """Waits until a repository is there, and starts with those behind it.

        Raises:
            Exception: what `bring` raised for it.
        """
        result = self._running.pop(repo, None)
        if result is None:
            return
        self._start()
        try:
            result.get(_PATIENCE_SECONDS)
        except WaitTimeoutError:
            self._on_wait(repo.id)
            result.get()

    def _start(self) -> None:
        while self._waiting and len(self._running) < AHEAD:
            repo = self._waiting.pop(0)
            self._running[repo] = self._pool.apply_async(self._bring, (repo,))


def downloads_ahead(work: Work) -> Prefetch:
    """Brings what an engine's checkpoints will load, in their order."""
    return Prefetch(
        work.checkpoints.values(),
        lambda repo: bring(repo, work.target, work.settings, work.cache),
        lambda id: work.progress.noted(f"waiting for the download of {id}"),
    )
