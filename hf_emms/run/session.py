"""What a ranking and the fine-tuning of its best checkpoints share."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from hf_emms.cache import Cache, default_cache
from hf_emms.errors import EmmsError
from hf_emms.finetune.fine_tune import FineTuning, train_here
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.options import SETTINGS, Options
from hf_emms.ranking import TrainingRun
from hf_emms.ranking.estimators import get_estimator
from hf_emms.ranking.progress import Progress
from hf_emms.run.engines import Engine
from hf_emms.run.engines.local import LocalEngine
from hf_emms.run.engines.race import RaceEngine

if TYPE_CHECKING:
    from hf_emms.data import DatasetSource


@dataclass(frozen=True)
class Session:
    """What a ranking and the fine-tuning of its best checkpoints share.

    Attributes:
        options: all settings.
        progress: receives the events.
        cache: that the options ask for; it reports problems to `progress`.
        engine: that runs checkpoints.
    """

    options: Options
    progress: Progress
    cache: Cache
    engine: Engine

    @classmethod
    def start(cls, options: Options, progress: Progress) -> Self:
        """A session of these options.

        Raises:
            EmmsError: the engine's package is not installed, or it does not support the other options.
        """
        return cls(options, progress, default_cache(options.cache, progress.noted), _engine_for(options))

    @cached_property
    def source(self) -> DatasetSource:
        """The dataset, found and pinned once.

        Raises:
            EmmsError: it cannot be found or used.
        """
        from hf_emms.data import open_dataset

        return open_dataset(self.options)

    def train_all(
        self, work: FineTuning, jobs: Sequence[TrainingJob]
    ) -> Generator[tuple[TrainingJob, TrainingRun], None, None]:
        """A `TrainAll`: where the options say."""
        if self.options.engine != "ray":
            return train_here(work, jobs)
        from hf_emms.run.engines.ray import train_on_ray

        return train_on_ray(work, jobs)


def _engine_for(options: Options) -> Engine:
    if options.engine != "ray" and options.ray_address is not None:
        flag = SETTINGS["ray_address"].flag
        raise EmmsError(f"{flag} is for a Ray cluster, but the engine is {options.engine}", "--engine ray")
    if options.race is not None:
        if options.engine != "local":
            raise EmmsError(f"--race runs in this process, not on --engine {options.engine}", "leave one of them out")
        return RaceEngine(options.race, get_estimator(options.estimators[0]), options.layers)
    if options.engine != "ray":
        return LocalEngine()
    if options.ray_address is None and "RAY_ADDRESS" not in os.environ:
        # Ray reads this when it is imported: its processes then listen on the loopback device only.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        from hf_emms.run.engines.ray import RayEngine
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise EmmsError("--engine ray needs Ray, which is not installed", "pip install 'hf-emms[ray]'") from None
    return RayEngine(options.ray_address)
