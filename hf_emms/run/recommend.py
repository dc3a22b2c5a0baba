"""Recommend a checkpoint of the whole Hub: a funnel of rankings, each on its own sample."""

from __future__ import annotations

import itertools
import math
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from hf_emms.cache import Key, cache_key
from hf_emms.errors import EmmsError, check_type
from hf_emms.formatting import parse_bytes, parse_count, parse_duration
from hf_emms.hub import listing, measured_bandwidth
from hf_emms.options import Options
from hf_emms.options.calls import checked_call
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.advice import recommendation
from hf_emms.ranking.candidates import comparable
from hf_emms.ranking.progress import Progress, noted_while
from hf_emms.ranking.progress_bars import reporting
from hf_emms.ranking.records import FunnelStage, is_ahead
from hf_emms.ranking.text import funnel_lines
from hf_emms.ranking.verdict import Verdict, verdict
from hf_emms.run import ranking_job
from hf_emms.run.confirm import confirmed_or_not
from hf_emms.run.delivery import Finished, with_model
from hf_emms.run.executors import executor_of
from hf_emms.run.funnel_plan import (
    CONFIRM,
    FIRST,
    MAX_FINALISTS,
    MIN_BEST,
    SECOND,
    FunnelPlan,
    growth,
    make_funnel_plan,
    plan_of_candidates,
    seconds_on,
)
from hf_emms.run.plan import RankingPlan, Session
from hf_emms.run.rank import run_plan
from hf_emms.run.ranking_job import JobSettings
from hf_emms.run.shortlist import MAX_LISTED, Candidate, Filters, Shortlist, make_shortlist
from hf_emms.run.units import Executor
from hf_emms.run.worker import FOR_MODELS, FOR_READING, preload_libraries
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    from hf_emms.run.rank import DatasetLike

DEFAULT_CANDIDATES = 40
# The rows of the first pass. The second pass has more, or is left out.
FIRST_ROWS = 300


@dataclass(frozen=True)
class Recommendation:
    """The rankings of a funnel, by the name of their stage. Each has its own sample.

    Attributes:
        rankings: "first pass", "second pass" and "confirm", as far as they were needed.
    """

    rankings: Mapping[str, Ranking]

    @property
    def ranking(self) -> Ranking:
        """The ranking of the last stage, which has the funnel."""
        return [*self.rankings.values()][-1]

    def with_last(self, ranking: Ranking) -> Recommendation:
        """Return the recommendation with another ranking of the last stage."""
        return Recommendation({**self.rankings, [*self.rankings][-1]: ranking})

    @property
    def stages(self) -> tuple[FunnelStage, ...]:
        """The stages from the list of the Hub to the last ranking."""
        return self.ranking.funnel

    @property
    def best(self) -> Row | None:
        """The checkpoint to fine-tune, see `Ranking.best`."""
        return self.ranking.best

    @property
    def verdict(self) -> Verdict:
        """The recommended checkpoint of the last ranking, and how certain this is."""
        return verdict(self.ranking)

    def __str__(self) -> str:
        return "\n".join([*funnel_lines(self.stages), "", str(self.ranking), "", recommendation(self.ranking)])

    def __repr__(self) -> str:
        listed = self.stages[0].entered if self.stages else 0
        best = self.best.checkpoint if self.best else None
        return f"Recommendation(dataset={self.ranking.dataset!r}, listed={listed}, best={best!r})"


@checked_call
def recommend(
    dataset: DatasetLike,
    *,
    time: str | None = None,
    candidates: int | None = None,
    license: str | Iterable[str] = "open",
    language: str | None = None,
    library: str | None = None,
    gated: bool = False,
    bandwidth: str | None = None,
    engine: Literal["local", "ray"] | JobSettings = "local",
    executor: Executor | None = None,
    progress: Progress | bool | None = None,
    **settings: Any,
) -> Recommendation:
    """Find the checkpoint of the Hub to fine-tune for a dataset.

    Lists up to 5,000 checkpoints for the task, and orders them by public results and downloads. Ranks the best of them,
    and some others at random, on 300 rows. Then ranks on all rows those that may be the best. An interrupted call
    continues with the same candidates and the rows in the cache.

    Args:
        dataset: See `hf_emms.rank`.
        time: The time that it may take, such as "30m" or "2h". It limits the numbers of candidates and of rows.
        candidates: The number of candidates for the first pass. By default 40, or as many as `time` allows.
        license: "open" for open licenses, "any", or ids such as "apache-2.0".
        language: Only checkpoints with this language on the Hub, such as "en".
        library: Only checkpoints of this library, such as "transformers" or "timm".
        gated: Also list checkpoints whose terms you have accepted. You must be logged in.
        bandwidth: The bytes that arrive per second, such as "20MB". By default measured if `time` is set.
        engine: See `hf_emms.rank`. A job runs all stages, and returns the last ranking.
        executor: See `hf_emms.rank`.
        progress: See `hf_emms.rank`.
        settings: Other arguments of `hf_emms.rank`, except for `checkpoints` and `part`. `confirm` fine-tunes the best,
            and `max_params` limits the listed checkpoints.

    Returns:
        The rankings of the funnel. The last one has the answer.

    Raises:
        EmmsError: The dataset or an argument is invalid, or the Hub lists no usable checkpoint.

    Examples:
        >>> import hf_emms
        >>> hf_emms.recommend("./my_images", time="30m").best.checkpoint  # doctest: +SKIP
        'facebook/dinov2-small'
    """
    options = Options.of(dataset, **settings)
    filters = {"language": language, "library": library, "gated": gated}
    arguments: dict[str, Any] = {"time": time, "candidates": candidates, "bandwidth": bandwidth, **filters}
    of_funnel = FunnelSettings.of(options, license=license, **arguments)
    with reporting(progress) as receiver:
        result, finished = recommend_with(options, of_funnel, receiver, engine, executor)
        return result.with_last(with_model(finished, options.training, receiver))


def recommend_with(
    options: Options,
    settings: FunnelSettings,
    progress: Progress,
    engine: str | JobSettings = "local",
    executor: Executor | None = None,
) -> tuple[Recommendation, Finished]:
    """Return the recommendation for options, from this machine or from a job, and its last ranking to deliver."""
    if engine != "local" and engine != "ray":
        ranking, errors = ranking_job.run(options, engine, progress, settings.command)  # type: ignore[arg-type]
        name = ranking.funnel[-1].name if ranking.funnel else SECOND
        return Recommendation({name: ranking}), Finished(ranking, errors=errors)
    return Funnel(options, settings, progress).run(engine, executor)


@dataclass(frozen=True)
class FunnelSettings:
    """The settings of a funnel besides those of its rankings.

    Attributes:
        filters: Which checkpoints of the Hub are listed.
        candidates: The number of candidates; None for as many as the time allows.
        seconds: The time that everything may take; None without a limit.
        bandwidth: The bytes per second of downloads; None if it is unknown.
    """

    filters: Filters
    candidates: int | None = None
    seconds: float | None = None
    bandwidth: float | None = None

    @classmethod
    def of(
        cls,
        options: Options,
        *,
        time: str | None,
        candidates: int | None,
        license: str | Iterable[str],
        bandwidth: str | None,
        **filters: Any,
    ) -> FunnelSettings:
        """Return the checked settings.

        Raises:
            EmmsError: A setting is invalid, or not for a recommendation.
        """
        for name, value in (("checkpoints", options.features.checkpoints), ("part", options.running.part)):
            if value:
                problem = setting_ref(name) + " has no effect on a recommendation, which chooses the checkpoints itself"
                raise EmmsError("setting-without-effect", problem, "leave it out, or use hf-emms rank")
        check_type("candidates", candidates, int, type(None))
        check_type("license", license, str, Iterable)
        for name, text in {"time": time, "bandwidth": bandwidth, **filters}.items():
            check_type(name, text, *((bool,) if name == "gated" else (str, type(None))))
        if candidates is not None and candidates < MIN_BEST:
            raise EmmsError("invalid-value", f"candidates is {candidates}", f"use {MIN_BEST} or more")
        most, licenses = options.features.max_params, (license,) if isinstance(license, str) else tuple(license)
        return cls(
            Filters(licenses, max_parameters=parse_count(most) if most is not None else None, **filters),
            candidates,
            parse_duration(time) if time is not None else None,
            parse_bytes(bandwidth) if bandwidth is not None else None,
        )

    @property
    def command(self) -> list[str]:
        """The command of hf-emms with flags for these settings, except for the maximum number of parameters."""
        filters = self.filters
        values = {
            "--time": None if self.seconds is None else f"{self.seconds:.0f}s",
            "--candidates": self.candidates,
            "--bandwidth": None if self.bandwidth is None else f"{self.bandwidth:.0f}",
            "--language": filters.language,
            "--library": filters.library,
        }
        flags = [(flag, str(value)) for flag, value in values.items() if value is not None]
        flags += [("--license", license) for license in filters.licenses]
        return ["recommend", *itertools.chain(*flags), *["--gated"] * filters.gated]


def may_be_among_best(ranking: Ranking, count: int) -> list[Row]:
    """Return the rows that may be among the best: within two standard errors of the last of these, the best first."""
    rows, estimator = comparable(ranking) or ranking.top(len(ranking)), ranking.estimators[0]
    if not rows:
        return []
    last = rows[min(count, len(rows)) - 1].scores[estimator]
    return [row for row in rows if not is_ahead(last, row.scores[estimator])]


def share_in_time(expected: Sequence[float], seconds: float) -> tuple[int, float]:
    """Return how many of some checkpoints fit into a time. If two do not, also the share of the rows that they get."""
    spent = [0.0, *itertools.accumulate(expected)]
    count = max(MIN_BEST, sum(each <= seconds for each in spent[1:]))
    total = spent[min(count, len(expected))]
    return count, min(1.0, max(0.0, seconds) / total) if total else 1.0


class Funnel:
    """A recommendation in progress."""

    def __init__(self, options: Options, settings: FunnelSettings, progress: Progress) -> None:
        self._started = clock.monotonic()
        self._options, self._settings, self._progress = options, settings, progress
        preload_libraries(FOR_READING, FOR_MODELS)
        most = options.sample.max_samples
        self._first = self._session(FIRST_ROWS if most is None else min(FIRST_ROWS, most))

    def _session(self, rows: int | None) -> Session:
        return Session.start(self._options.replaced(max_samples=rows, max_params=None), self._progress)

    def _seconds_left(self) -> float:
        limit = self._settings.seconds
        return math.inf if limit is None else self._started + limit - clock.monotonic()

    # ---- the plan ----------------------------------------------------------------------------------------------------

    def plan(self) -> FunnelPlan:
        """List the Hub, choose the candidates, and forecast the stages. A stored list of candidates is used again."""
        options, settings, cache, key = self._options, self._settings, self._first.cache, self._key()
        stored = None
        if options.running.resume:
            stored = cache.get_json(key, lambda value: msgspec.convert(value, Shortlist))
        if stored is not None:
            again = setting_ref("resume", False)
            self._progress.noted(f"using the candidates of {stored.created}; {again} lists the Hub again")
        with noted_while(self._progress, f"listing up to {MAX_LISTED:,} checkpoints of the Hub"):
            count = settings.candidates or DEFAULT_CANDIDATES
            task, seed = self._first.sample.task, options.scoring.seed
            shortlist = stored or make_shortlist(task, settings.filters, count, seed)
        ranking = plan_of_candidates(self._first, shortlist.candidates)
        plan = make_funnel_plan(ranking, shortlist, self._all_rows(), self._bandwidth(ranking))
        if stored is None and settings.candidates is None and settings.seconds is not None:
            plan = plan.of_candidates(plan.forecasts.fitting(plan.ids, self._seconds_left()))
        cache.put_json(key, msgspec.to_builtins(plan.shortlist))
        return plan

    def _key(self) -> Key:
        sample, settings = self._first.sample, self._settings
        return cache_key(
            "shortlists",
            sample.repo.id,
            sample.repo.revision,
            {"confirm": self._options.training.confirm, "max_samples": self._options.sample.max_samples},
            sample=sample.fingerprint,
            task=sample.task.id,
            funnel=msgspec.to_builtins(settings),
            seed=self._options.scoring.seed,
        )

    def _all_rows(self) -> int:
        """Return the number of rows of the second pass."""
        sample, most = self._first.sample, self._options.sample.max_samples
        available = sample.available or most or len(sample)
        return available if most is None else min(most, available)

    def _bandwidth(self, plan: RankingPlan) -> float | None:
        """Return the bytes per second of downloads, as the user states it, or as measured for the first candidate."""
        if self._settings.bandwidth is not None or self._settings.seconds is None:
            return self._settings.bandwidth
        for spec in plan.to_run.values():
            missing = {path: file.bytes for path, file in listing(spec.repo).items() if not file.cached}
            if missing:
                return measured_bandwidth(spec.repo, max(missing, key=lambda path: missing[path]))
        return None

    # ---- the stages --------------------------------------------------------------------------------------------------

    def run(self, engine: str = "local", executor: Executor | None = None) -> tuple[Recommendation, Finished]:
        """Run the stages. A stage that ends late shortens the next one."""
        plan = self.plan()
        self._progress.noted(str(plan))
        rankings, session = dict[str, Ranking](), self._first
        reserved = plan.forecasts.reserved(plan.ids, self._seconds_left())
        tuning, second = (reserved.get(name, 0.0) for name in (CONFIRM, SECOND))
        in_memory = not isinstance(self._options.sample.dataset, str)
        with executor_of(self._options.running, engine, executor, in_memory=in_memory) as chosen:
            began = clock.monotonic()
            first = run_plan(plan.ranking, chosen, began + self._seconds_left() - tuning - second / 2)
            finalists, rows = self._finalists(first, plan, self._seconds_left() - tuning)
            stage = _stage(FIRST, plan.ranking, first, began, len(finalists))
            rankings[FIRST] = _with_funnel(first, (*plan.shortlist.stages, stage))
            if finalists:
                began, session = clock.monotonic(), self._session(rows)
                ranking_plan = plan_of_candidates(session, finalists)
                ranking = run_plan(ranking_plan, chosen, began + self._seconds_left() - tuning)
                stage = _stage(SECOND, ranking_plan, ranking, began, 0)
                if ranking.best is not None:
                    rankings[SECOND] = _with_funnel(ranking, (*rankings[FIRST].funnel, stage))
        return self._confirmed(Recommendation(rankings), session)

    def _finalists(self, ranking: Ranking, plan: FunnelPlan, seconds: float) -> tuple[list[Candidate], int]:
        """Return the candidates of the second pass and its number of rows; none if it would not fit into the time."""
        confirm, first_rows, all_rows = plan.forecasts.confirm, plan.forecasts.first_rows, plan.forecasts.rows
        best = may_be_among_best(ranking, max(MIN_BEST, confirm))[: max(MAX_FINALISTS, confirm)]
        larger = growth(plan.ranking, all_rows)
        count, share = share_in_time([seconds_on(row.seconds, larger) for row in best], seconds)
        rows = int(share * all_rows)
        if len(best) < MIN_BEST or rows <= first_rows:
            return [], 0
        by_id = {candidate.id: candidate for candidate in plan.shortlist.candidates}
        return [by_id[row.checkpoint] for row in best[:count]], rows

    def _confirmed(self, result: Recommendation, session: Session) -> tuple[Recommendation, Finished]:
        """Fine-tune the best checkpoints of the last ranking if the user wants it, in the time that is left."""
        ranking, began, left = result.ranking, clock.monotonic(), self._seconds_left()
        finished = confirmed_or_not(ranking, session, max(1.0, left) if left < math.inf else None)
        if finished.keep_model is None and not finished.errors:
            return result, finished
        tuned = len(finished.ranking.fine_tuned)
        stage = FunnelStage(CONFIRM, tuned, min(1, tuned), clock.monotonic() - began)
        finished = replace(finished, ranking=_with_funnel(finished.ranking, (*ranking.funnel, stage)))
        return Recommendation({**result.rankings, CONFIRM: finished.ranking}), finished


def _with_funnel(ranking: Ranking, stages: Iterable[FunnelStage]) -> Ranking:
    return msgspec.structs.replace(ranking, funnel=tuple(stages))


def _stage(name: str, plan: RankingPlan, ranking: Ranking, began: float, kept: int) -> FunnelStage:
    """Return the record of a finished ranking. The last one keeps the checkpoints of the first rank."""
    failed = sum(row.error is not None for row in ranking.rows)
    kept = kept or len(verdict(ranking).first)
    left_out = {
        "failed": failed,
        "no time": len(plan.checkpoints) - len(ranking.rows),
        "behind others": len(ranking.rows) - failed - kept,
    }
    reasons = {reason: count for reason, count in left_out.items() if count > 0}
    seconds = clock.monotonic() - began
    return FunnelStage(name, len(plan.checkpoints), kept, seconds, rows=ranking.n, left_out=reasons)
