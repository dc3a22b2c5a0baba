"""What an engine is: it turns checkpoints into rows, wherever the work runs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hf_emms.cache import Cache
from hf_emms.engines.progress import Progress
from hf_emms.engines.settings import Settings
from hf_emms.ranking import Row
from hf_emms.scoring.label_table import LabelTable

if TYPE_CHECKING:
    from hf_emms.data import Target
    from hf_emms.hub import Repo


@dataclass(frozen=True)
class Work:
    """What an engine is given.

    Attributes:
        checkpoints: name in the ranking → checkpoint, in the order of the plan.
        target: the rows.
        labels: gives the F-labels of the N rows of the target; an engine may start downloads before it asks.
        settings: how checkpoints are run and scored.
        cache: of this machine: where features are looked for and kept.
        progress: is told what happens.
    """

    checkpoints: dict[str, Repo]
    target: Target
    labels: Callable[[], LabelTable]
    settings: Settings
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
