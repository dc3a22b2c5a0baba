"""Forecast the stages of a recommendation, and fit them into a time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import NamedTuple

import msgspec

from hf_emms.formatting import format_duration
from hf_emms.hub import HubFacts
from hf_emms.ranking import Seconds
from hf_emms.ranking.records import FunnelStage
from hf_emms.ranking.text import funnel_lines
from hf_emms.run.plan import RankingPlan, Session, plan_with
from hf_emms.run.preflight import fine_tuning_costs, plan_costs, seconds_of
from hf_emms.run.shortlist import Candidate, Shortlist

FIRST, SECOND, CONFIRM = "first pass", "second pass", "confirm"
MAX_FINALISTS = 8
# The best checkpoints to find, at least: with one alone, there would be nothing to compare.
MIN_BEST = 2
# The maximum share of the time that is reserved for fine-tuning, which can end early.
_MAX_TUNING = 0.5


class Forecast(NamedTuple):
    """About how many seconds a candidate takes: first pass with download, second pass, fine-tuning."""

    first: float
    second: float
    tuning: float = 0.0


@dataclass(frozen=True)
class Forecasts:
    """A forecast of the stages for any of the candidates.

    Attributes:
        by_id: Checkpoint → its forecast, without those that cannot run.
        first_rows, rows: The number of rows of the first and the second pass.
        confirm: The number of checkpoints to fine-tune.
        fixed: The seconds that do not depend on the candidates: libraries and label embeddings.
    """

    by_id: Mapping[str, Forecast]
    first_rows: int
    rows: int
    confirm: int
    fixed: float = 0.0

    def stages(self, ids: Sequence[str]) -> list[FunnelStage]:
        """Return the stages after the prior with the expected seconds, if these candidates run."""
        forecasts = [self.by_id[id] for id in ids if id in self.by_id] or [Forecast(0.0, 0.0)]
        finalists = min(MAX_FINALISTS, len(forecasts)) if self.rows > self.first_rows else 0
        best = min(self.confirm or 1, finalists or len(forecasts))
        seconds = self.fixed + sum(each.first for each in forecasts)
        stages = [FunnelStage(FIRST, len(ids), finalists or best, seconds, rows=self.first_rows)]
        if finalists:
            seconds = finalists * fmean(each.second for each in forecasts)
            stages.append(FunnelStage(SECOND, finalists, best, seconds, rows=self.rows))
        if self.confirm:
            stages.append(FunnelStage(CONFIRM, best, 1, best * fmean(each.tuning for each in forecasts)))
        return stages

    def reserved(self, ids: Sequence[str], limit: float) -> dict[str, float]:
        """Return stage → the seconds to keep free for it: at most half of all for fine-tuning, which can end early."""
        planned = {stage.name: stage.seconds for stage in self.stages(ids)}
        return {name: min(taken, _MAX_TUNING * limit) if name == CONFIRM else taken for name, taken in planned.items()}

    def fitting(self, order: Iterable[str], limit: float) -> list[str]:
        """Return the candidates whose stages fit into some seconds, in this order, but at least the two fastest."""
        chosen: list[str] = []
        for id in order:
            if id in self.by_id and sum(self.reserved([*chosen, id], limit).values()) <= limit:
                chosen.append(id)
        if len(chosen) < MIN_BEST:
            chosen = sorted(self.by_id, key=lambda id: self.by_id[id].first)[:MIN_BEST]
        return chosen


@dataclass(frozen=True)
class FunnelPlan:
    """The candidates of a funnel with the plan of the first pass, the smallest first, and the forecasts."""

    ranking: RankingPlan
    shortlist: Shortlist
    forecasts: Forecasts

    @property
    def ids(self) -> list[str]:
        """The candidates, in the order of the prior."""
        return [candidate.id for candidate in self.shortlist.candidates]

    def of_candidates(self, ids: Collection[str]) -> FunnelPlan:
        """Return the plan with some of the candidates, because the time is too short for all."""
        kept = tuple(candidate for candidate in self.shortlist.candidates if candidate.id in ids)
        checkpoints = tuple(checkpoint for checkpoint in self.ranking.checkpoints if checkpoint.id in ids)
        slow = len(self.shortlist.candidates) - len(kept)
        listed, prior = self.shortlist.stages
        left_out = prior.left_out | ({"no time": slow} if slow else {})
        prior = msgspec.structs.replace(prior, kept=prior.kept - slow, left_out=left_out)
        shortlist = msgspec.structs.replace(self.shortlist, candidates=kept, stages=(listed, prior))
        return replace(self, ranking=replace(self.ranking, checkpoints=checkpoints), shortlist=shortlist)

    def stages(self) -> list[FunnelStage]:
        """Return all stages. Those that run checkpoints are forecasts."""
        return [*self.shortlist.stages, *self.forecasts.stages(self.ids)]

    def __str__(self) -> str:
        planned = self.forecasts.stages(self.ids)
        total = format_duration(sum(stage.seconds for stage in planned))
        return "\n".join([*funnel_lines(self.shortlist.stages), f"planned, about {total}:", *funnel_lines(planned)])


def plan_of_candidates(session: Session, candidates: Iterable[Candidate]) -> RankingPlan:
    """Return the plan of a ranking of candidates at their revisions, under their names without revision."""
    by_name = {candidate.pinned: candidate for candidate in candidates}
    plan, checkpoints = plan_with(session, session.options.replaced(checkpoints=tuple(by_name))), []
    for checkpoint in plan.checkpoints:
        candidate, repo, row = by_name[checkpoint.id], checkpoint.repo, checkpoint.row
        facts = HubFacts(candidate.downloads, candidate.library, candidate.license)
        checkpoints.append(
            replace(
                checkpoint,
                id=candidate.id,
                repo=None if repo is None else replace(repo, facts=facts),
                row=None if row is None else msgspec.structs.replace(row, checkpoint=candidate.id),
            )
        )
    return replace(plan, checkpoints=tuple(checkpoints))


def make_funnel_plan(plan: RankingPlan, shortlist: Shortlist, rows: int, bandwidth: float | None) -> FunnelPlan:
    """Forecast the stages for the plan of the first pass. Without a bandwidth, downloads do not count."""
    costs, rate = plan_costs(plan)
    weights = {each.id: costs[each.repo].weights if each.repo in costs else 0 for each in plan.checkpoints}
    plan = replace(plan, checkpoints=tuple(sorted(plan.checkpoints, key=lambda each: weights[each.id])))
    tuning = {}
    if plan.options.training.confirm is not None:
        splits = plan.session.read_splits(plan.session.source)
        tuning = {id: seconds for id, (_, seconds) in fine_tuning_costs(plan, costs, rate, splits).items()}
    larger, by_id = growth(plan, rows), {}
    for checkpoint in plan.checkpoints:
        row, cost = checkpoint.row, costs.get(checkpoint.repo) if checkpoint.repo is not None else None
        if row is not None and row.error is None:
            by_id[checkpoint.id] = Forecast(0.0, seconds_on(row.seconds, larger), tuning.get(checkpoint.id, 0.0))
        elif cost is not None and cost.seconds is not None:
            download = cost.bytes / bandwidth if bandwidth else 0.0
            times = (download + cost.seconds, larger * cost.seconds, tuning.get(checkpoint.id, 0.0))
            by_id[checkpoint.id] = Forecast(*times)
    fixed = sum(taken for part, taken in seconds_of(plan, costs).items() if part not in ("reading", "checkpoints"))
    confirm = plan.options.training.confirm or 0
    return FunnelPlan(plan, shortlist, Forecasts(by_id, len(plan.sample), rows, confirm, fixed))


def growth(plan: RankingPlan, rows: int) -> float:
    """Return the number of inputs of a sample with this number of rows, relative to the sample of the plan."""
    inputs = plan.sample.n_read
    return (inputs + max(0, rows - len(plan.sample))) / inputs


def seconds_on(measured: Seconds, larger: float) -> float:
    """Return the expected seconds of a row on a sample that is some times larger."""
    return measured.loading + larger * (measured.forward + measured.scoring)
