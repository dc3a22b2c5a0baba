"""What an engine is: it turns checkpoints into rows, wherever the work runs.

What an engine tells about its work while it goes on.
How checkpoints are run and scored.
Versions of the packages that a score may depend on.
What may go wrong with somebody else's checkpoint, and how a row says it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Protocol

from hf_emms import __version__
from hf_emms.cache import Cache
from hf_emms.errors import EmmsError, redacted
from hf_emms.options import Options
from hf_emms.plugins import plugin_versions
from hf_emms.ranking import Row
from hf_emms.scoring.label_basis import LabelTable

if TYPE_CHECKING:
    from hf_emms.data import Sample
    from hf_emms.hub import Repo


@dataclass(frozen=True)
class Work:
    """What an engine is given.

    Attributes:
        checkpoints: name in the ranking → checkpoint, in the order of the plan.
        sample: the rows.
        labels: gives the F-labels of the N rows of the sample; an engine may start downloads before it asks.
        options: how checkpoints are run and scored.
        cache: of this machine: where features are looked for and kept.
        progress: is told what happens.
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
        """Yields one row a checkpoint, without a rank, as soon as it is finished, in any order.

        The reader keeps a row before it asks for the next one. One that cannot be loaded, run or scored is a row
        with an error. Closing the generator, or an interruption inside it, ends all work that it has begun.

        Raises:
            EmmsError: no checkpoint can be run at all.
        """
        ...


class Progress(Protocol):
    """Is told what happens, in this order for every checkpoint; several checkpoints may be under way at once."""

    def started(self, checkpoint: str, inputs: int) -> None:
        """A checkpoint will be fed this many inputs."""

    def advanced(self, checkpoint: str, inputs: int) -> None:
        """So many more inputs have gone through a checkpoint."""

    def finished(self, row: Row) -> None:
        """The checkpoint has its row, scored or failed."""

    def noted(self, message: str) -> None:
        """Something a user should know, at any time."""


class Silent:
    """Tells nobody."""

    def started(self, checkpoint: str, inputs: int) -> None:
        pass

    def advanced(self, checkpoint: str, inputs: int) -> None:
        pass

    def finished(self, row: Row) -> None:
        pass

    def noted(self, message: str) -> None:
        pass


_PACKAGES = ("torch", "transformers", "datasets", "numpy")


def versions() -> dict[str, str]:
    """Package → installed version: ours, those below it, and those that add to it."""
    return {"hf_emms": __version__, **{name: metadata.version(name) for name in _PACKAGES}, **plugin_versions()}


def failures() -> tuple[type[Exception], ...]:
    """What a checkpoint of somebody else may raise while it loads and runs."""
    from safetensors import SafetensorError

    return (
        EmmsError,
        OSError,
        RuntimeError,  # also torch's out-of-memory error and NotImplementedError
        ValueError,  # also JSON, Unicode and linear algebra errors
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        ImportError,
        MemoryError,
        SafetensorError,
    )


def one_line(error: BaseException) -> str:
    """An error as one line: what happened, then the hint; rows are published, so no token may stand in it."""
    if isinstance(error, EmmsError):
        parts = [error.message, error.hint or ""]
    else:
        parts = [f"{type(error).__name__}: {error}" if str(error) else type(error).__name__]
    return redacted(" → ".join(" ".join(part.split()) for part in parts if part))
