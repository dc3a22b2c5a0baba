"""Checkpoints that stay loaded from one use to the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_emms.features.extractor import Extractor

# Bytes of weights, packed copies included, that stay loaded besides the checkpoint in use.
MAX_IDLE_BYTES = 10**9


class ExtractorPool:
    """Loaded checkpoints by name.

    Args:
        max_idle_bytes: of weights that are loaded and not in use.
    """

    def __init__(self, max_idle_bytes: int = MAX_IDLE_BYTES) -> None:
        self._max_idle_bytes = max_idle_bytes
        self._idle: dict[str, Extractor] = {}

    @contextmanager
    def use(self, name: str, load: Callable[[], Extractor]) -> Iterator[Extractor]:
        """A checkpoint to be run, loaded if it isn't yet. It is closed if the block raises an error."""
        extractor = self._idle.pop(name, None) or load()
        try:
            yield extractor
        except BaseException:
            extractor.close()
            raise
        self._idle[name] = extractor

    def retain(self, names: Sequence[str]) -> None:
        """Closes all except those of these names that fit; the first names have priority."""
        free = self._max_idle_bytes
        retained = {}
        for name in names:
            extractor = self._idle.get(name)
            if extractor is not None and extractor.weight_bytes <= free:
                free -= extractor.weight_bytes
                retained[name] = self._idle.pop(name)
        for extractor in self._idle.values():
            extractor.close()
        self._idle = retained

    def close(self) -> None:
        """Closes all."""
        self.retain(())


@contextmanager
def pool_or_own(pool: ExtractorPool | None) -> Iterator[ExtractorPool]:
    """The pool, or without one a pool that is closed when the block ends."""
    with nullcontext(pool) if pool is not None else closing(ExtractorPool()) as chosen:
        yield chosen
