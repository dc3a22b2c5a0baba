"""Inputs that are held as the bytes of their files, and decoded in a thread while the batch before is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from hf_emms.inputs.modality import Modality, UnusableError

_AHEAD = 2  # batches decoded ahead: enough to hide a slow batch

Job = TypeVar("Job")
Ready = TypeVar("Ready")


class EncodedInputs(Sequence):
    """Inputs held as encoded bytes; a slice is such a sequence again, an element is opened."""

    def __init__(self, encoded: Sequence[bytes]) -> None:
        self.encoded = tuple(encoded)

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: Any) -> Any:
        return type(self)(self.encoded[index]) if isinstance(index, slice) else self.open(self.encoded[index])

    def open(self, encoded: bytes) -> Any:
        """Return the input of encoded bytes as readers take it: the bytes themselves, where readers decode them."""
        return encoded


class EncodedKind(Modality):
    """A kind of input whose content is the bytes of a file.

    Attributes:
        inputs_type: the sequence that holds such content.
    """

    inputs_type: ClassVar[type[EncodedInputs]] = EncodedInputs

    def collect(self, contents: Sequence[bytes]) -> EncodedInputs:
        return self.inputs_type(contents)

    def contents(self, inputs: Any) -> list[bytes]:
        return list(inputs.encoded)

    def from_bytes(self, contents: Sequence[bytes]) -> EncodedInputs:
        return self.inputs_type(contents)

    def stored_bytes(self, cell: Any, noun: str) -> Any:
        """Return the bytes that a cell holds or is, else those of the file that it names; None where there are none.

        Raises:
            UnusableError: the file cannot be read.
        """
        if not isinstance(cell, Mapping):
            return cell
        if cell.get("bytes") or not cell.get("path"):
            return cell.get("bytes")
        try:
            return _file_bytes(cell["path"])
        except OSError as error:
            raise UnusableError(f"a {noun}'s file cannot be read: {error}") from error


def _file_bytes(path: str) -> bytes:
    if "://" not in path:
        return Path(path).read_bytes()
    import fsspec  # an address of the Hub when streaming

    with fsspec.open(path, "rb") as stream:
        return stream.read()


def prepare_ahead(jobs: Iterable[Job], prepare: Callable[[Job], Ready]) -> Iterator[tuple[Job, Ready]]:
    """Yield each job with the result of `prepare`, in order; a thread works at most two jobs ahead."""
    waiting = deque(jobs)
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as thread:
        ready: deque[tuple[Job, Future[Ready]]] = deque()
        try:
            while waiting or ready:
                while waiting and len(ready) < _AHEAD:
                    job = waiting.popleft()
                    ready.append((job, thread.submit(prepare, job)))
                job, future = ready.popleft()
                yield job, future.result()
        finally:
            thread.shutdown(wait=False, cancel_futures=True)
