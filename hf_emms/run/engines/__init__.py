"""Where checkpoints run: an engine turns them into rows of rankings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

from hf_emms.cache import Cache
from hf_emms.errors import EmmsError, checkpoint_errors
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.options import FeatureOptions, RunOptions, ScoringOptions
from hf_emms.ranking import Row
from hf_emms.ranking.estimators import get_estimators
from hf_emms.ranking.progress import Progress
from hf_emms.scoring.estimators import EstimatorList
from hf_emms.scoring.labels import LabelTable

if TYPE_CHECKING:
    from hf_emms.data import Sample

T = TypeVar("T")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineInput:
    """Checkpoints, the sample that they run on, and how.

    Attributes:
        checkpoints: Name in the ranking → plan of the features, in the order of the ranking's plan.
        labels: Returns the F-labels of the sample's N rows; an engine may start downloads before it calls this.
    """

    checkpoints: dict[str, FeatureSpec]
    sample: Sample
    labels: Callable[[], LabelTable]
    features: FeatureOptions
    scoring: ScoringOptions
    running: RunOptions
    cache: Cache
    progress: Progress

    @cached_property
    def estimators(self) -> EstimatorList:
        """The estimators that `scoring` names."""
        return get_estimators(self.scoring.estimators)


class Engine(Protocol):
    """A way to run checkpoints, here or elsewhere."""

    def rows(self, inputs: Sequence[EngineInput]) -> Generator[tuple[int, Row], None, None]:
        """Yield a row for each checkpoint of each input, without a rank, as soon as it is finished, in any order.

        The caller stores a row before it asks for the next. A checkpoint that cannot be loaded, run or scored produces
        a row with an error. Closing the generator, or an interruption inside it, ends all work it has started.
        With each row comes the place of its input. Raises an `EmmsError` if no checkpoint can be run at all.
        """
        ...


def or_failed_row(checkpoint: str, revision: str | None, call: Callable[[], T]) -> T | Row:
    """Return a call's result, or a failed row if the checkpoint that it loads, runs or scores raises an error."""
    try:
        with checkpoint_errors():
            return call()
    except EmmsError as error:
        _LOG.debug("%s failed", checkpoint, exc_info=True)
        return Row(checkpoint, revision, error=error.message)
