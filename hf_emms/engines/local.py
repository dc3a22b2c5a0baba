"""Downloads ahead: while one checkpoint computes, the next ones arrive.

What several checkpoints of one run share of their inputs.
One checkpoint after the other, in this process: features → moments → scores → row.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import replace
from functools import partial
from multiprocessing import TimeoutError as WaitTimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool
from types import TracebackType

from hf_emms.engines import checkpoint
from hf_emms.engines.base import Work, failures, one_line
from hf_emms.engines.checkpoint import scoring_inputs
from hf_emms.engines.extraction import extract, prefetch_weights
from hf_emms.engines.shards import memory_note, whole
from hf_emms.hub import CANCELLED, Repo
from hf_emms.ranking import Row, Seconds
from hf_emms.scoring.label_basis import LabelTable

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
        self,
        repos: Iterable[Repo],
        prefetch_weights: Callable[[Repo], None],
        on_wait: Callable[[str], None] = lambda id: None,
    ) -> None:
        self._waiting = list(dict.fromkeys(repo for repo in repos if repo.folder is None))
        self._bring = prefetch_weights
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

    def take(self, repo: Repo) -> None:
        """Waits until a repository is there, and starts with those behind it.

        Raises:
            Exception: what `prefetch_weights` raised for it.
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
        lambda repo: prefetch_weights(repo, work.sample, work.options, work.cache),
        lambda id: work.progress.noted(f"waiting for the download of {id}"),
    )


def sharing_pictures(work: Work) -> Work:
    """The same work; pictures are decoded and resized once for all checkpoints with the same image processor."""
    if "image" not in work.sample.task.modality or len(work.checkpoints) < 2:
        return work
    from hf_emms.features.images import PixelCache, with_pixel_cache

    return replace(work, sample=replace(work.sample, inputs=with_pixel_cache(work.sample.inputs, PixelCache())))


_LOG = logging.getLogger(__name__)


class LocalEngine:
    """Runs checkpoints in order, while the weights of the next ones are downloaded."""

    def rows(self, work: Work) -> Generator[Row, None, None]:
        """See `Engine.rows`."""
        work = sharing_pictures(work)
        with downloads_ahead(work) as prefetch:
            labels = work.labels()
            for name, repo in work.checkpoints.items():
                work.progress.started(name, len(work.sample.inputs))
                row = _row(name, repo, work, labels, prefetch)
                work.progress.finished(row)
                yield row


def _row(name: str, repo: Repo, work: Work, labels: LabelTable, prefetch: Prefetch) -> Row:
    try:
        prefetch.take(repo)
        return _scored(name, repo, work, labels)
    except failures() as error:
        _LOG.debug("%s failed", name, exc_info=True)
        return Row(name, repo.revision, error=one_line(error))


def _scored(name: str, repo: Repo, work: Work, labels: LabelTable) -> Row:
    started = time.perf_counter()
    told = partial(work.progress.advanced, name)
    extracted = extract(repo, work.sample, labels, work.options, work.cache, told)
    featured = time.perf_counter()
    part = whole(work.sample)
    for one in extracted.layers.values():
        note = memory_note(len(part.rows), one.about.width, labels, work.options)
        if note is not None:
            work.progress.noted(f"{name}: {note}")
    evidence = {
        layer: partial(scoring_inputs, one.features, one.moments, part, labels, work.options)
        for layer, one in extracted.layers.items()
    }
    verdict = checkpoint.layer_scores(evidence, extracted.refused, work.options)
    about = {layer: one.about for layer, one in extracted.layers.items()}
    return Row(
        name,
        repo.revision,
        seconds=Seconds(round(featured - started, 3), round(time.perf_counter() - featured, 3)),
        cached="features" if all(one.cached for one in extracted.layers.values()) else "none",
        **checkpoint.row_fields(verdict, about, work.options),
    )
