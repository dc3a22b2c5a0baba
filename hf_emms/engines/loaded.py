"""Checkpoints that stay loaded between the rounds of a race, as far as their weights together are small."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hf_emms.features.running import Running

# Weights that may wait for the next round, packed copies included: what a race takes beside its largest checkpoint.
MOST_BYTES = 10**9


class Loaded:
    """Loaded checkpoints by name.

    Args:
        most_bytes: of weights that may wait.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._waiting: dict[str, Running] = {}

    @contextmanager
    def lent(self, name: str, load: Callable[[], Running]) -> Iterator[Running]:
        """A checkpoint to be run: the one that waits, else a newly loaded one. Closed where the run fails."""
        extractor = self._waiting.pop(name, None) or load()
        try:
            yield extractor
        except BaseException:
            extractor.close()
            raise
        self._waiting[name] = extractor

    def keep(self, names: Sequence[str]) -> None:
        """Closes all but those of these names that fit; the first ones go before the others."""
        left = self._most_bytes
        kept = {}
        for name in names:
            extractor = self._waiting.get(name)
            if extractor is not None and extractor.weight_bytes <= left:
                left -= extractor.weight_bytes
                kept[name] = self._waiting.pop(name)
        for extractor in self._waiting.values():
            extractor.close()
        self._waiting = kept

    def close(self) -> None:
        """Closes all."""
        self.keep(())
