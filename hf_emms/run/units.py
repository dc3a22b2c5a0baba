"""Run a ranking as units of work, one per checkpoint, on an executor that may use other machines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, Protocol

import msgspec

from hf_emms.errors import EmmsError, checkpoint_errors
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo, delete_revision
from hf_emms.options import SETTINGS, Options
from hf_emms.ranking import Encoder, Ranking, Row
from hf_emms.ranking.merge import with_rows
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.run.execute import described, execute_plan, is_over, ranking_of
from hf_emms.run.plan import RankingPlan, Session, largest_first, or_failed_row, plan_with
from hf_emms.texts import PYTHON, HintStyle, current_hint_style, hint_style, setting_ref

# Settings of the whole ranking, which its units do not have.
_OF_THE_WHOLE = ("checkpoints", "max_params", "part", "workers", "gpus_per_checkpoint")
# Seconds between two looks at the units, because not all engines can announce that one is done.
_POLL_SECONDS = 0.1


class Future(Protocol):
    """A unit of work that an executor runs."""

    def done(self) -> bool: ...
    def result(self) -> Any: ...


class Executor(Protocol):
    """Runs functions elsewhere: a `concurrent.futures.Executor`, or an object with such a `submit`, as of submitit."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any) -> Future: ...


def rank_part(
    settings: dict[str, Any],
    checkpoints: Sequence[str],
    revision: str | None = None,
    style: HintStyle = PYTHON,
) -> str:
    """Rank checkpoints in this process, and return the JSON of the ranking; a unit of work.

    The process keeps the sample of its last call, for further checkpoints on the same dataset.

    Args:
        settings: Other arguments of `rank`, as JSON stores them.
        checkpoints: The ids of the checkpoints.
        revision: The revision of the dataset that other units read; None for any.
        style: How messages write settings.

    Raises:
        EmmsError: The ranking cannot start here, or the dataset has another revision here.
    """
    with hint_style(style):
        session = _session(json.dumps(settings, sort_keys=True), revision)
        return execute_plan(plan_with(session, session.options.replaced(checkpoints=tuple(checkpoints)))).to_json()


@lru_cache(maxsize=1)
def _session(settings: str, revision: str | None) -> Session:
    session = Session.start(Options.of(**json.loads(settings)), Progress())
    here = session.sample.repo.revision
    if revision not in (None, here):
        raise EmmsError("changed", f"the dataset has the revision {here} here, but {revision} where the run started")
    return session


@dataclass(frozen=True)
class Unit:
    """A unit of work: the repository of its checkpoint, the call that submits it, and its future."""

    repo: Repo
    submit: Callable[[], Future]
    future: Future

    @property
    def is_lost(self) -> bool:
        """Whether the executor lost this finished unit because a process ended, which may have run another unit."""
        try:
            with checkpoint_errors():
                self.future.result()
        except EmmsError as error:
            return isinstance(error.__cause__, futures.BrokenExecutor)
        return False


@dataclass(frozen=True)
class Units:
    """The submitted units of a ranking.

    Attributes:
        ranking: The ranking of the checkpoints that were finished before.
        waiting: Checkpoint → its unit.
        kept_revisions: See `RankingPlan`.
    """

    ranking: Ranking
    waiting: dict[str, Unit]
    kept_revisions: frozenset[str] | None

    def cancel(self) -> None:
        """Cancel the units that have not started; engines that can also stop the others."""
        for unit in self.waiting.values():
            getattr(unit.future, "cancel", bool)()


def submit(plan: RankingPlan, executor: Executor) -> Units:
    """Submit a unit for each checkpoint of a plan that has no row yet, the largest first.

    Raises:
        EmmsError: The dataset is in memory, and other processes cannot read it.
    """
    options = plan.session.options
    if not isinstance(options.sample.dataset, str):
        raise EmmsError(
            "data-in-memory",
            "other processes cannot read a dataset in memory",
            "save it as a file, such as data.parquet, and name the file, or use " + setting_ref("workers", 1),
        )
    finished = [checkpoint.row for checkpoint in plan.checkpoints if checkpoint.row is not None]
    ranking = ranking_of(plan, finished, ())
    settings = {
        name: value
        for name, value in options.changed().items()
        if name not in _OF_THE_WHOLE and SETTINGS[name].group != "Confirm"
    }
    waiting: dict[str, Unit] = {}
    for name in largest_first(plan.to_run):
        repo = plan.to_run[name].repo
        pinned = name if repo.folder else f"{repo.id}@{repo.revision}"
        of_data, style = plan.sample.repo.revision, current_hint_style()
        submit_it = partial(executor.submit, rank_part, settings, [pinned], of_data, style)
        waiting[name] = Unit(repo, submit_it, _submitted(submit_it))
    return Units(ranking, waiting, plan.kept_revisions)


def _submitted(submit_it: Callable[[], Future]) -> Future:
    """Submit a unit. If the executor has no process left, return a future with this error."""
    try:
        return submit_it()
    except futures.BrokenExecutor as error:
        refused = futures.Future[Any]()
        refused.set_exception(error)
        return refused


def collect(units: Units, progress: Progress, until: float | None = None) -> Ranking:
    """Wait for units, and return the ranking. A lost unit is submitted once more, and then becomes a failed row.

    An interrupt cancels the rest, and so does the time `until`, see `execute_plan`.
    """
    waiting, rows, encoders = units.waiting, list(units.ranking.rows), tuple[Encoder, ...]()
    repeated = set[str]()
    progress.expect(len(rows) + len(waiting), "checkpoints")
    try:
        for name in (*(row.checkpoint for row in rows), *waiting):
            progress.started(name, 0)
        for row in units.ranking.rows:
            progress.finished(row)
        with noted_while(progress, f"running {pluralize(len(waiting), 'unit')}"):
            while waiting and not is_over(until, rows):
                for name in [name for name, unit in waiting.items() if unit.future.done()]:
                    unit = waiting.pop(name)
                    repo = unit.repo
                    if unit.is_lost and name not in repeated:
                        repeated.add(name)
                        waiting[name] = replace(unit, future=_submitted(unit.submit))
                        continue
                    part = or_failed_row(name, repo.revision, partial(_finished, unit.future))
                    row = part if isinstance(part, Row) else msgspec.structs.replace(part.rows[0], checkpoint=name)
                    row = described(row, repo.facts)
                    encoders = encoders if isinstance(part, Row) else part.encoders
                    rows.append(row)
                    progress.finished(row)
                    delete_revision(repo, units.kept_revisions)
                time.sleep(_POLL_SECONDS if waiting else 0)
    finally:
        units.cancel()
    return with_rows(units.ranking, rows, encoders)


def _finished(future: Future) -> Ranking:
    """Return the ranking of a unit, or raise its own error without the engine's wrapper around it."""
    try:
        return Ranking.from_json(future.result())
    except Exception as error:
        if isinstance(cause := getattr(error, "cause", None), EmmsError):
            raise cause from error
        raise
