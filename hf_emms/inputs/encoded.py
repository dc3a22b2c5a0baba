"""Inputs that are stored as encoded files. A thread decodes the next batches while the model runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from hf_emms.inputs.modality import Modality, UnusableError

# Two batches are enough to hide a slow one.
_BATCHES_AHEAD = 2

Job = TypeVar("Job")
Ready = TypeVar("Ready")


class EncodedInputs(Sequence):
    """Inputs as the bytes of their files, which readers decode."""

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self.encoded = tuple(encoded)

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: Any) -> Any:
        return EncodedInputs(self.encoded[index]) if isinstance(index, slice) else self.encoded[index]


class EncodedModality(Modality):
    """Base class of modalities whose content is the bytes of a file."""

    def collect(self, contents: Sequence[bytes]) -> EncodedInputs:
        return EncodedInputs(contents)

    def contents(self, inputs: Any) -> list[bytes]:
        return list(inputs.encoded)

    def stored_bytes(self, cell: Any, noun: str) -> Any:
        """Return the bytes of a cell, or of the file whose path it contains. Other values are returned unchanged.

        Raises:
            UnusableError: The cell has no content, or its file cannot be read.
        """
        encoded = cell
        if isinstance(cell, Mapping):
            encoded, path = cell.get("bytes"), cell.get("path")
            if path and not encoded:
                try:
                    encoded = _read_file(path)
                except OSError as error:
                    raise UnusableError(f"the {noun}'s file cannot be read: {error}") from error
        if not encoded:
            raise UnusableError(f"there is no {noun}")
        return encoded


def _read_file(path: str) -> bytes:
    if "://" not in path:
        return Path(path).read_bytes()
    import fsspec  # streams name files by their addresses on the Hub

    with fsspec.open(path, "rb") as stream:
        return stream.read()


def map_ahead(jobs: Iterable[Job], function: Callable[[Job], Ready]) -> Iterator[tuple[Job, Ready]]:
    """Yield each job with the result of `function`, in order. A thread computes the next two."""
    waiting = deque(jobs)
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as thread:
        ready: deque[tuple[Job, Future[Ready]]] = deque()
        try:
            while waiting or ready:
                while waiting and len(ready) < _BATCHES_AHEAD:
                    job = waiting.popleft()
                    ready.append((job, thread.submit(function, job)))
                job, future = ready.popleft()
                yield job, future.result()
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
