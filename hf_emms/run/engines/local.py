"""One checkpoint after the other, in this process, while the weights of the next ones are downloaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from multiprocessing import TimeoutError as WaitTimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool
from types import TracebackType

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import needed_weights
from hf_emms.features.extractor_pool import MAX_IDLE_BYTES, ExtractorPool
from hf_emms.hub import CANCELLED, Repo, listing
from hf_emms.ranking import Row
from hf_emms.run.engines.base import Work, or_failed_row
from hf_emms.run.engines.checkpoint import score_layers, scored_row, scoring_inputs
from hf_emms.run.engines.extraction import extract, prefetch_weights
from hf_emms.run.engines.shards import memory_note, whole
from hf_emms.scoring.labels import LabelTable

# Checkpoints that may be downloaded before they are needed: a slow one delays none, and an interrupted run leaves
# little on the disk that nothing uses.
AHEAD = 2
_NOTED_SECONDS = 1.0
# Weights in half precision double when they are loaded, and linear layers on a CPU have a packed copy.
LOADED_FACTOR = 2


class LocalEngine:
    """Runs checkpoints in order."""

    def rows(self, work: Work) -> Generator[Row, None, None]:
        """See `Engine.rows`."""
        with closing(self.cells([work])) as cells:
            for _, row in cells:
                yield row

    def cells(self, works: Sequence[Work]) -> Generator[tuple[int, Row], None, None]:
        """Rows of several samples, each with its place in `works`; see `Engine.rows`.

        A checkpoint is loaded once for all samples of one kind of input. Checkpoints that fit into memory together run
        on one sample after the other, so that they share its pictures.
        """
        with prefetch_checkpoints(works) as prefetch:
            labels = [work.labels() for work in works]
            for block in _blocks(works):
                yield from _run_block(block, works, labels, prefetch)


def _run_block(
    block: Sequence[Repo], works: Sequence[Work], labels: Sequence[LabelTable], prefetch: Prefetch
) -> Generator[tuple[int, Row], None, None]:
    last_use = {repo: place for place, work in enumerate(works) for repo in work.checkpoints.values()}
    with ExitStack() as stack:
        pools = {repo: stack.enter_context(closing(ExtractorPool())) for repo in block}
        for place, work in enumerate(works):
            named = {name: repo for name, repo in work.checkpoints.items() if repo in pools}
            part = with_shared_pixels(replace(work, checkpoints=named))
            for name, repo in named.items():
                part.progress.started(name, len(part.sample.inputs))
                run = partial(_row, name, repo, part, labels[place], prefetch, pools[repo])
                row = or_failed_row(name, repo.revision, run)
                if last_use[repo] == place:
                    pools[repo].close()
                part.progress.finished(row)
                yield place, row


def _blocks(works: Sequence[Work]) -> Iterator[list[Repo]]:
    """The checkpoints in blocks of those that stay loaded together; those of one sample are closed after use."""
    repos = list(dict.fromkeys(repo for work in works for repo in work.checkpoints.values()))
    if len(works) < 2:
        yield repos
        return
    block: list[Repo] = []
    used = 0
    for repo in repos:
        loaded = LOADED_FACTOR * _weight_bytes(repo, works[0])
        if block and used + loaded > MAX_IDLE_BYTES:
            yield block
            block, used = [], 0
        block.append(repo)
        used += loaded
    if block:
        yield block


def _weight_bytes(repo: Repo, work: Work) -> int:
    """Bytes of the weights; more than fit beside others where they are not known."""
    try:
        return sum(file.bytes for file in needed_weights(repo, listing(repo), work.cache))
    except EmmsError:
        return MAX_IDLE_BYTES


def _row(name: str, repo: Repo, work: Work, labels: LabelTable, prefetch: Prefetch, pool: ExtractorPool) -> Row:
    options, shard = work.options, whole(work.sample)
    prefetch.wait_for(repo)
    advanced = partial(work.progress.advanced, name)
    extraction = extract(repo, work.sample, labels, options, work.cache, advanced, pool)
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
    if "image" not in work.sample.task.input.name or len(work.checkpoints) < 2:
        return work
    from hf_emms.inputs.image import PixelCache, with_pixel_cache

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


def prefetch_checkpoints(works: Sequence[Work]) -> Prefetch:
    """Downloads what an engine's checkpoints will load, in their order."""

    def download(repo: Repo) -> None:
        using = [work for work in works if repo in work.checkpoints.values()]
        problems = []
        for work in using:
            try:
                prefetch_weights(repo, work.sample, work.options, work.cache)
            except EmmsError as error:  # a checkpoint may suit some samples and not others
                problems.append(error)
        if len(problems) == len(using):
            raise problems[0]

    return Prefetch(
        (repo for work in works for repo in work.checkpoints.values()),
        download,
        lambda id: works[0].progress.noted(f"waiting for the download of {id}"),
    )
