"""One checkpoint after the other, in this process, while the weights of the next ones are downloaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from functools import partial
from multiprocessing import TimeoutError as WaitTimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool
from types import TracebackType

from hf_emms.engines.base import Work, or_failed_row
from hf_emms.engines.checkpoint import score_layers, scored_row, scoring_inputs
from hf_emms.engines.extraction import extract, prefetch_weights
from hf_emms.engines.shards import memory_note, whole
from hf_emms.hub import CANCELLED, Repo
from hf_emms.ranking import Row
from hf_emms.scoring.label_basis import LabelTable

# Checkpoints that may be downloaded before they are needed: a slow one delays none, and an interrupted run leaves
# little on the disk that nothing uses.
AHEAD = 2
_NOTED_SECONDS = 1.0


class LocalEngine:
    """Runs checkpoints in order."""

    def rows(self, work: Work) -> Generator[Row, None, None]:
        """See `Engine.rows`."""
        work = with_shared_pixels(work)
        with prefetch_checkpoints(work) as prefetch:
            labels = work.labels()
            for name, repo in work.checkpoints.items():
                work.progress.started(name, len(work.sample.inputs))
                row = or_failed_row(name, repo.revision, partial(_row, name, repo, work, labels, prefetch))
                work.progress.finished(row)
                yield row


def _row(name: str, repo: Repo, work: Work, labels: LabelTable, prefetch: Prefetch) -> Row:
    options, shard = work.options, whole(work.sample)
    prefetch.wait_for(repo)
    extraction = extract(repo, work.sample, labels, options, work.cache, partial(work.progress.advanced, name))
    for info in extraction.info.values():
        note = memory_note(len(shard.rows), info.width, labels, options)
        if note is not None:
            work.progress.noted(f"{name}: {note}")
    features, moments = extraction.features, extraction.moments
    scores = score_layers(
        extraction.info,
        lambda layer: scoring_inputs(features.get(layer), moments.get(layer), shard, labels, options),
        options,
    )
    return scored_row(name, repo, extraction, scores, options)


def with_shared_pixels(work: Work) -> Work:
    """The same work; images are decoded and resized once for all checkpoints with the same image processor."""
    if "image" not in work.sample.task.modality or len(work.checkpoints) < 2:
        return work
    from hf_emms.features.images import PixelCache, with_pixel_cache

    return replace(work, sample=replace(work.sample, inputs=with_pixel_cache(work.sample.inputs, PixelCache())))


class Prefetch:
    """Downloads repositories of the Hub in order, one at a time, at most `AHEAD` before the one in use.

    Args:
        repos: in the order in which they will be used; local folders are skipped.
        download: downloads one; called in another thread.
        on_wait: called with the id of a repository that has to be waited for.
    """

    def __init__(
        self,
        repos: Iterable[Repo],
        download: Callable[[Repo], None],
        on_wait: Callable[[str], None] = lambda id: None,
    ) -> None:
        self._waiting = list(dict.fromkeys(repo for repo in repos if repo.folder is None))
        self._download = download
        self._on_wait = on_wait
        self._running: dict[Repo, AsyncResult[None]] = {}
        self._over = threading.Event()
        # Its thread is a daemon, which does not keep the program from ending.
        self._pool = ThreadPool(1, CANCELLED.set, (self._over,))

    def __enter__(self) -> Prefetch:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._pool.terminate()

    def wait_for(self, repo: Repo) -> None:
        """Waits until a repository is downloaded, and starts with those after it.

        Raises:
            Exception: what `download` raised for it.
        """
        result = self._running.pop(repo, None)
        if result is None:
            return
        self._start()
        try:
            result.get(_NOTED_SECONDS)
        except WaitTimeoutError:
            self._on_wait(repo.id)
            result.get()

    def _start(self) -> None:
        while self._waiting and len(self._running) < AHEAD:
            repo = self._waiting.pop(0)
            self._running[repo] = self._pool.apply_async(self._download, (repo,))


def prefetch_checkpoints(work: Work) -> Prefetch:
    """Downloads what an engine's checkpoints will load, in their order."""
    return Prefetch(
        work.checkpoints.values(),
        lambda repo: prefetch_weights(repo, work.sample, work.options, work.cache),
        lambda id: work.progress.noted(f"waiting for the download of {id}"),
    )
