"""The engine of this process: checkpoints run in turn, while the next weights are downloaded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from multiprocessing import TimeoutError as WaitTimeoutError
from multiprocessing.pool import AsyncResult, ThreadPool

from hf_emms.errors import EmmsError, checkpoint_errors
from hf_emms.features.extractor import ExtractorPool
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.hub import CANCELLED, Repo
from hf_emms.inputs.image import PixelCache, with_pixel_cache
from hf_emms.ranking import Row
from hf_emms.ranking.progress import noted_while
from hf_emms.run.engines import EngineInput, or_failed_row
from hf_emms.run.engines.extraction import LOADED_FACTOR, prefetch_weights, weight_bytes
from hf_emms.run.engines.rows import run_checkpoint
from hf_emms.scoring.labels import LabelTable

# Checkpoints that may be downloaded before they are needed: a slow download delays none, and an interrupted run leaves
# few unused files.
AHEAD = 2
# Bytes of weights that stay loaded together.
MAX_IDLE_BYTES = 10**9
_NOTED_SECONDS = 1.0


class LocalEngine:
    def rows(self, inputs: Sequence[EngineInput]) -> Generator[tuple[int, Row], None, None]:
        """Yield the rows of checkpoints, see `Engine.rows`.

        A checkpoint is loaded once for all samples of a kind of input. Checkpoints that fit into memory together run on
        a sample in turn, so that they share its images.
        """
        with prefetch_checkpoints(inputs) as prefetch:
            labels = [engine_input.labels() for engine_input in inputs]
            for block in _blocks(inputs):
                yield from _run_block(block, inputs, labels, prefetch)


def _run_block(
    block: Sequence[Repo], inputs: Sequence[EngineInput], labels: Sequence[LabelTable], prefetch: Prefetch
) -> Generator[tuple[int, Row], None, None]:
    last_use = {
        spec.repo: place for place, engine_input in enumerate(inputs) for spec in engine_input.checkpoints.values()
    }
    with ExitStack() as stack:
        pools = {repo: stack.enter_context(closing(ExtractorPool())) for repo in block}
        for place, engine_input in enumerate(inputs):
            specs = {name: spec for name, spec in engine_input.checkpoints.items() if spec.repo in pools}
            of_block = with_shared_pixels(replace(engine_input, checkpoints=specs))
            for name, spec in specs.items():
                of_block.progress.started(name, len(of_block.sample.inputs))
                run = partial(_row, name, spec, of_block, labels[place], prefetch, pools[spec.repo])
                with noted_while(of_block.progress, name):
                    row = or_failed_row(name, spec.repo.revision, run)
                if last_use[spec.repo] == place:
                    pools[spec.repo].close()
                of_block.progress.finished(row)
                yield place, row


def _blocks(inputs: Sequence[EngineInput]) -> Iterator[list[Repo]]:
    """Yield the checkpoints in blocks that stay loaded together; with a single sample, each is closed after use."""
    repos = list(dict.fromkeys(spec.repo for engine_input in inputs for spec in engine_input.checkpoints.values()))
    if len(inputs) < 2:
        yield repos
        return
    block: dict[Repo, int] = {}
    for repo in repos:
        try:
            loaded = LOADED_FACTOR * weight_bytes(repo)
        except EmmsError:
            loaded = MAX_IDLE_BYTES
        if block and sum(block.values()) + loaded > MAX_IDLE_BYTES:
            yield list(block)
            block.clear()
        block[repo] = loaded
    yield list(block)


def _row(
    name: str,
    spec: FeatureSpec,
    engine_input: EngineInput,
    labels: LabelTable,
    prefetch: Prefetch,
    pool: ExtractorPool,
) -> Row:
    prefetch.wait_for(spec.repo)
    return run_checkpoint(name, spec, engine_input, labels, pool)


def with_shared_pixels(engine_input: EngineInput) -> EngineInput:
    """Return the input with images that are decoded and resized once for all checkpoints with the same processor."""
    if len(engine_input.checkpoints) < 2:
        return engine_input
    sample = engine_input.sample
    return replace(engine_input, sample=replace(sample, inputs=with_pixel_cache(sample.inputs, PixelCache())))


class Prefetch:
    """A thread that downloads repositories of the Hub in order, at most `AHEAD` before the repository in use.

    `on_wait` is called with the id of a repository that has to be waited for.
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

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._pool.terminate()

    def wait_for(self, repo: Repo) -> None:
        """Wait until a repository is downloaded, and start the next; an error of its `download` is raised here."""
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


def prefetch_checkpoints(inputs: Sequence[EngineInput]) -> Prefetch:
    """Return a `Prefetch` of the weights that an engine's checkpoints will load, in their order."""
    uses: dict[Repo, list[tuple[FeatureSpec, EngineInput]]] = {}
    for engine_input in inputs:
        for spec in engine_input.checkpoints.values():
            uses.setdefault(spec.repo, []).append((spec, engine_input))

    def download(repo: Repo) -> None:
        with checkpoint_errors():  # the thread would end at a panic of safetensors, and `wait_for` would not
            for spec, engine_input in uses[repo]:
                prefetch_weights(spec, engine_input)

    return Prefetch(uses, download, lambda id: inputs[0].progress.noted(f"waiting for the download of {id}"))
