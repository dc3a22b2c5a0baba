"""What an engine is: it turns checkpoints into rows of a ranking, wherever they run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Protocol, TypeVar

from hf_emms import __version__
from hf_emms.cache import Cache
from hf_emms.errors import EmmsError, printable, redacted
from hf_emms.options import Options
from hf_emms.ranking.records import Row
from hf_emms.registry import plugin_versions
from hf_emms.scoring.label_basis import LabelTable

if TYPE_CHECKING:
    from hf_emms.data import Sample
    from hf_emms.hub import Repo

T = TypeVar("T")

_PACKAGES = ("torch", "transformers", "datasets", "numpy")
_LOG = logging.getLogger(__name__)
# Characters of a reason: validators of configurations print whole files.
MAX_REASON = 1000


@dataclass(frozen=True)
class Work:
    """What an engine is given.

    Attributes:
        checkpoints: name in the ranking → checkpoint, in the order of the plan.
        sample: the inputs, and the rows made of them.
        labels: returns the F-labels of the sample's N rows; an engine may start downloads before it calls this.
        options: how checkpoints are run and scored.
        cache: where features are looked for and stored.
        progress: receives the events.
    """

    checkpoints: dict[str, Repo]
    sample: Sample
    labels: Callable[[], LabelTable]
    options: Options
    cache: Cache
    progress: Progress


class Engine(Protocol):
    """Runs checkpoints."""

    def rows(self, work: Work) -> Generator[Row, None, None]:
        """Yields one row for each checkpoint, without a rank, as soon as it is finished, in any order.

        The caller stores a row before it asks for the next one. A checkpoint that cannot be loaded, run or scored
        gives a row with an error. Closing the generator, or an interruption inside it, ends all work it has started.

        Raises:
            EmmsError: no checkpoint can be run at all.
        """
        ...


class Progress(Protocol):
    """Receives events, for every checkpoint in this order; several checkpoints may be running at once."""

    def started(self, checkpoint: str, inputs: int) -> None:
        """A checkpoint is going to be run on this many inputs."""

    def advanced(self, checkpoint: str, inputs: int) -> None:
        """This many more inputs have been run."""

    def finished(self, row: Row) -> None:
        """The checkpoint has its row, scored or failed."""

    def noted(self, message: str) -> None:
        """A message for the user, at any time."""


class Silent:
    """A `Progress` that reports nothing."""

    def started(self, checkpoint: str, inputs: int) -> None:
        pass

    def advanced(self, checkpoint: str, inputs: int) -> None:
        pass

    def finished(self, row: Row) -> None:
        pass

    def noted(self, message: str) -> None:
        pass


def versions() -> dict[str, str]:
    """Package → installed version, of all packages that a score may depend on, plugins included."""
    return {"hf_emms": __version__, **{name: metadata.version(name) for name in _PACKAGES}, **plugin_versions()}


def or_failed_row(checkpoint: str, revision: str | None, call: Callable[[], T]) -> T | Row:
    """The result of a call, or a failed row if the checkpoint it runs raises an error.

    Args:
        checkpoint: name in the ranking.
        revision: of the checkpoint, as in `Row`.
        call: loads, runs or scores the checkpoint.
    """
    try:
        with checkpoint_errors():
            return call()
    except EmmsError as error:
        _LOG.debug("%s failed", checkpoint, exc_info=True)
        return Row(checkpoint, revision, error=error.message)


@contextmanager
def checkpoint_errors() -> Iterator[None]:
    """Turns what a checkpoint raises into an `EmmsError` of one line, which every process can unpickle."""
    try:
        yield
    # The one wide guard: files and code of others may raise anything, and the other rows must not be lost for it.
    except Exception as error:
        raise EmmsError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    """Message and hint of an error as one line, or its class and message; without tokens, since rows are published."""
    if isinstance(error, EmmsError):
        parts = [error.message, error.hint or ""]
    else:
        try:
            message = str(error)
        except Exception:  # noqa: BLE001 (an error of others may be unable to say what it is)
            message = ""
        parts = [f"{type(error).__name__}: {message}" if message else type(error).__name__]
    return printable(redacted(" → ".join(" ".join(part.split())[:MAX_REASON] for part in parts if part)))
