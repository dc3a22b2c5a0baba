"""Markdown tables of the pools of real checkpoints: every estimator against the truth at both budgets."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hf_emms.evaluation import over_targets, weighted_tau
from scripts.quality.confirming import replayed
from scripts.quality.protocol import FULL, IMAGES, QUICK, SAME_ARCHITECTURE, TEXTS, Pool
from scripts.quality.report import NAMES, markdown
from scripts.quality.results import FEWEST, TargetResult, controls, load

BUDGETS = (QUICK, FULL)
# Top-1 accuracy on ImageNet as their authors published it, in points; other sources come last.
SOURCE_ACCURACY = {
    "mobilenet-v1-0.25": 41.5,
    "mobilenet-v1-0.5": 59.1,
    "mobilenet-v1-0.75": 67.2,
    "mobilenet-v1-1.0": 70.9,
    "mobilenet-v2-imagenet": 71.8,
    "efficientnet-lite0": 75.1,
    "efficientnet-lite1": 76.7,
    "efficientnet-lite2": 77.6,
}
MORE_NAMES = {
    "source accuracy": "*control:* ImageNet accuracy of the source",
    "quick fine-tuning": "validation score of the quick fine-tuning (at most 93 steps)",
}
Scores = Callable[[TargetResult], Sequence[float] | None]


def tables() -> list[tuple[str, str]]:
    """Title and table, in the order of docs/quality.md."""
    found: list[tuple[str, str]] = []
    for pool in (IMAGES, TEXTS):
        _, targets = load(pool)
        if not targets:
            continue
        real = frozenset(candidate.name for candidate in pool.candidates if candidate.kind == "real")
        found.append((f"Targets: {pool.title}", _targets(targets)))
        found.append((f"Agreement: {pool.title}", _agreement(targets)))
        found.append((f"Agreement: {pool.title} without altered and random ones", _agreement(_only(targets, real))))
        if pool is IMAGES:
            found.append(("One architecture, three sources", _same_architecture(targets)))
        found.append((f"Confirming a shortlist: {pool.title}", _confirming(targets)))
        found.append((f"What fine-tuning gave: {pool.title}", _truths(pool, targets)))
    return found


def _only(targets: Sequence[TargetResult], names: frozenset[str]) -> list[TargetResult]:
    return [TargetResult(one.name, one.record, one.budget, names, one.labels) for one in targets]


def _at(targets: Sequence[TargetResult], budget: str) -> list[TargetResult]:
    """The targets whose candidates all have runs at a budget."""
    found = [other for target in targets if (other := target.at(budget)) is not None]
    return [one for one in found if len(one.candidates) == len(_first(targets, one.name).candidates)]


def _first(targets: Sequence[TargetResult], name: str) -> TargetResult:
    return next(target for target in targets if target.name == name)


def _targets(targets: Sequence[TargetResult]) -> str:
    rows = []
    for target in targets:
        for one in (other for budget in BUDGETS for other in _at([target], budget.name)):
            values = sorted(one.truth.values(), reverse=True)
            both = target.at(QUICK.name)
            shared = weighted_tau(list(both.truth.values()), list(one.truth.values())) if both else float("nan")
            rows.append(
                (
                    one.name,
                    target.record["half"],
                    one.budget,
                    str(len(values)),
                    str(sum(map(len, one.runs.values()))),
                    f"{target.record['measure']} {values[-1]:.1f} to {values[0]:.1f}",
                    f"{values[0] - values[min(4, len(values) - 1)]:.1f}",
                    max(one.truth, key=lambda name: one.truth[name]),
                    "–" if one.seeds_agree is None else f"{one.seeds_agree:.2f}",
                    "–" if one.budget == QUICK.name else f"{shared:.2f}",
                )
            )
    head = ("target", "half", "budget", "candidates", "fine-tunings", "test scores", "first to fifth", "best")
    return markdown((*head, "weighted τ of two seeds", "weighted τ with the quick truth"), rows)


def _ranked_by(targets: Sequence[TargetResult]) -> dict[str, Scores]:
    """Everything that orders candidates but the controls."""
    keys = {key.split("|")[0] for target in targets for key in target.record["scores"]}
    names = [name for name in NAMES if name in keys]
    found: dict[str, Scores] = {name: lambda target, name=name: (target.scores(name) or [None])[0] for name in names}
    found["quick fine-tuning"] = _quick_scores
    return found


def _quick_scores(target: TargetResult) -> list[float] | None:
    """The best validation score of the quick budget's first seed; of no use for the quick truth itself."""
    quick = target.at(QUICK.name)
    if quick is None or target.budget == QUICK.name or not set(target.candidates) <= set(quick.candidates):
        return None
    return [max(run[2] for run in quick.runs[name] if run[1] == 0) for name in target.candidates]


def _agreement(targets: Sequence[TargetResult]) -> str:
    """Estimators by their mean weighted τ at the longer budget."""
    by_budget = {budget.name: _at(targets, budget.name) for budget in BUDGETS}
    cells: dict[str, list[str]] = {}
    order: dict[str, float] = {}
    for own in by_budget.values():
        measures = {
            name: {t.name: t.agreement(values) for t in own if (values := scores(t)) is not None}
            for name, scores in _ranked_by(targets).items()
        } | (controls(own) if len(own) > 1 else {})
        measures["source accuracy"] = {
            t.name: t.agreement([SOURCE_ACCURACY.get(name, 0.0) for name in t.candidates])
            for t in own
            if len(set(t.candidates) & set(SOURCE_ACCURACY)) >= FEWEST
        }
        for name in (*NAMES, *MORE_NAMES):
            found = measures.get(name, {})
            for half in ("held", "dev"):
                taus = [found[t.name]["weighted_tau"] for t in own if t.record["half"] == half and t.name in found]
                regrets = [found[t.name]["regret"] for t in own if t.record["half"] == half and t.name in found]
                some = f"{np.mean(taus):.2f} / {np.mean(regrets):.1f}" if taus else "–"
                cells.setdefault(name, []).append(some)
            every = [one["weighted_tau"] for one in found.values()]
            order[name] = float(np.mean(every)) if every else order.get(name, -1.0)
            low, high = over_targets(every) if len(every) > 1 else (float("nan"), float("nan"))
            cells[name].append(f"{order[name]:.2f} [{low:.2f}, {high:.2f}]" if len(every) > 1 else "–")
    rows = [
        ({**NAMES, **MORE_NAMES}[name], *cells[name])
        for name in sorted(cells, key=lambda name: -order[name])
        if any(cell != "–" for cell in cells[name])
    ]
    head = [
        f"{budget.name}, {what}"
        for budget in BUDGETS
        for what in ("held: weighted τ / regret", "dev: weighted τ / regret", "all: weighted τ [95 %]")
    ]
    return markdown(("ranked by", *head), rows)


def _same_architecture(targets: Sequence[TargetResult]) -> str:
    """Which of three sources is best for one architecture, and which the estimates put first."""
    rows = []
    three = _only(targets, frozenset(SAME_ARCHITECTURE))
    for one in (other for budget in BUDGETS for other in _at(three, budget.name)):
        best = max(one.truth, key=lambda name: one.truth[name])
        values = ", ".join(f"{name.rpartition('-')[2]} {one.truth[name]:.1f}" for name in one.candidates)
        picks = []
        for name in ("emms_knn", "emms", "logme", "logme_flabels"):
            scores = (one.scores(name) or [[0.0] * len(one.candidates)])[0]
            pick = one.candidates[int(np.argmax(scores))]
            picks.append(f"{pick.rpartition('-')[2]}{' (right)' if pick == best else ''}")
        rows.append((one.name, one.record["half"], one.budget, values, *picks))
    head = ("target", "half", "budget", "after fine-tuning", "first by EMMS + k-NN", "by EMMS", "by LogME")
    return markdown((*head, "by LogME on F-labels"), rows)


def _confirming(targets: Sequence[TargetResult]) -> str:
    rows = []
    for title, count in (("estimate", 0), ("confirm 2", 2), ("confirm 3", 3), ("everything", 99)):
        cells = []
        for budget in BUDGETS:
            for half in ("held", "dev"):
                own = [t for t in _at(targets, budget.name) if t.record["half"] == half]
                found = [replayed(t, count) for t in own]
                cells.append(f"{np.mean([each.regret for each in found]):.1f}" if found else "–")
        rows.append((title, *cells))
    head = [f"{budget.name}, {half}" for budget in BUDGETS for half in ("held", "dev")]
    return markdown(("decided by (regret)", *head), rows)


def _truths(pool: Pool, targets: Sequence[TargetResult]) -> str:
    columns = [one for target in targets for budget in BUDGETS for one in _at([target], budget.name)]
    rows = [
        (candidate.name, candidate.kind, *(_cell(one, candidate.name) for one in columns))
        for candidate in pool.candidates
    ]
    return markdown(("candidate", "kind", *(f"{one.name}, {one.budget}" for one in columns)), rows)


def _cell(target: TargetResult, name: str) -> str:
    return f"{target.truth[name]:.1f}" if name in target.truth else ""
