"""Markdown tables of the pools of real checkpoints: every estimator against the truth at both budgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from hf_emms.evaluation import dataset_blind, over_targets, weighted_tau
from scripts.quality import calibration, power
from scripts.quality.confirming import replayed
from scripts.quality.protocol import FULL, IMAGES, MICRO, QUICK, SAME_ARCHITECTURE, TEXTS, Pool
from scripts.quality.report import LABELS, NAMES, markdown, or_dash, tau_and_regret
from scripts.quality.results import FEWEST, Measured, TargetResult, controls, load

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
    "first epoch": "validation score after one epoch of the quick fine-tuning (at most 31 steps)",
    "quick": "validation score of the quick fine-tuning (at most 93 steps)",
    "extrapolated": "that score, its last gain added once more",
    "both": "EMMS + k-NN and the quick fine-tuning, mean of z-scores",
    "prior": "EMMS + k-NN and the mean rank elsewhere, mean of z-scores",
    "prior of estimates": "EMMS + k-NN and its own mean rank elsewhere, mean of z-scores",
    "gradients_emms": "EMMS on features and gradients (linearised fine-tuning)",
    "gradients_knn": "EMMS + k-NN on features and gradients",
    "lora_emms": "EMMS on features after an epoch of LoRA",
}
POWER_CANDIDATES = 6
# Columns of the agreement with fine-tuning, at each budget: title, measure of the truth, half of the targets.
COLUMNS: tuple[tuple[str, Literal["test", "tied", "loss"], str | None], ...] = (
    ("held: weighted τ / regret", "test", "held"),
    ("dev: weighted τ / regret", "test", "dev"),
    ("all: weighted τ [95 %]", "test", None),
    ("held, ties within the noise: weighted τ / regret", "tied", "held"),
    ("all, ties within the noise: weighted τ / regret", "tied", None),
    ("all, log loss: weighted τ / regret in nats", "loss", None),
)
DECIDING = ("emms_knn", "emms", "logme", "logme_flabels", "knn")
EVERY_NAME = {**NAMES, **MORE_NAMES}
ON_LAYERS = {"last-layer": "the last layer alone", "mean-layer": "the mean of layers"}
# Of targets that have features of pictures of other sizes: set of labels → row of the table.
ON_SIDES = {
    None: "pictures as they are fine-tuned",
    "smaller-side": "smaller: 64 pixels for photos (96), 48 for CIFAR-10 (64)",
    "larger-side": "larger: 128 pixels for photos, 96 for CIFAR-10",
}
Measures = dict[str, dict[str, Measured]]


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
        found.append((f"Defaults: {pool.title}", _defaults(targets)))
        found.append((f"What fine-tuning gave: {pool.title}", _truths(pool, targets)))
    found.append(("Dev targets of all pools", _dev_targets()))
    found.append(("Points at stake", _at_stake()))
    found.append(("Telling two estimators apart", _power()))
    return found


def _only(targets: Sequence[TargetResult], names: frozenset[str]) -> list[TargetResult]:
    return [replace(one, only=names) for one in targets]


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
            by_loss = replace(one, measure="loss")
            quick = target.at(QUICK.name)
            rows.append(
                (
                    one.name,
                    target.record["half"],
                    one.budget,
                    str(len(values)),
                    str(sum(map(len, one.runs.values()))),
                    f"{target.record['measure']} {values[-1]:.1f} to {values[0]:.1f}",
                    f"{values[0] - values[min(4, len(values) - 1)]:.1f}",
                    f"{one.record['test_rows']:,}",
                    " > ".join(str(len(group)) for group in one.groups),
                    max(one.truth, key=lambda name: one.truth[name]),
                    or_dash(one.seeds_agree),
                    _agreed(one, by_loss),
                    "–" if quick is None or one.budget == QUICK.name else _agreed(quick, one),
                )
            )
    head = ("target", "half", "budget", "candidates", "fine-tunings", "test scores", "first to fifth")
    more = (
        "test rows",
        "told apart",
        "best",
        "weighted τ of two seeds",
        "of accuracy and log loss",
        "with the quick truth",
    )
    return markdown((*head, *more), rows)


def _agreed(one: TargetResult, other: TargetResult) -> str:
    return f"{weighted_tau(list(one.truth.values()), list(other.truth.values())):.2f}"


def _ranked_by(targets: Sequence[TargetResult]) -> Measures:
    """What orders candidates → target → measures, all of targets at one budget."""
    found = dict(controls(targets)) if len(targets) > 1 else {}
    for name in EVERY_NAME:
        scored = {t.name: (t.scores(name) or [None])[0] for t in targets}
        if any(scored.values()):
            found[name] = {t.name: t.agreement(s) for t in targets if (s := scored[t.name]) is not None}
    for name, scores in _BY_RUNS.items():
        found[name] = {t.name: t.agreement(s) for t in targets if (s := scores(t)) is not None}
    if len(targets) > 1:
        found["prior"] = _with_prior(targets, {target.name: target.truth for target in targets})
        found["prior of estimates"] = _with_prior(targets, {target.name: _estimates(target) for target in targets})
    return found


def _source_accuracy(target: TargetResult) -> list[float] | None:
    known = len(set(target.candidates) & set(SOURCE_ACCURACY)) >= FEWEST
    return [SOURCE_ACCURACY.get(name, 0.0) for name in target.candidates] if known else None


def _quick(target: TargetResult, score: Callable[[list], float]) -> list[float] | None:
    """The best score of the quick budget's first seed."""
    quick = target.at(QUICK.name)
    if quick is None or not set(target.candidates) <= set(quick.candidates):
        return None
    own = [[run for run in quick.runs[name] if run[1] == 0] for name in target.candidates]
    return [max(map(score, runs)) for runs in own]


def _whole(target: TargetResult) -> list[float] | None:
    """The quick fine-tuning, which says nothing of the quick truth, its own score."""
    return None if target.budget == QUICK.name else _quick(target, lambda run: run[2])


def _extrapolated(target: TargetResult) -> list[float] | None:
    return None if target.budget == QUICK.name else _quick(target, lambda run: 2 * run[7][-1] - run[7][-2])


def _both(target: TargetResult) -> list[float] | None:
    quick = _whole(target)
    return None if quick is None else list(_standard(target.scores("emms_knn")[0]) + _standard(quick))


def _standard(values: Sequence[float]) -> np.ndarray:
    found = np.asarray(values, dtype=np.float64)
    return (found - found.mean()) / (found.std() or 1.0)


def _estimates(target: TargetResult) -> dict[str, float]:
    return dict(zip(target.candidates, target.scores("emms_knn")[0], strict=True))


def _with_prior(targets: Sequence[TargetResult], values: Mapping[str, Mapping[str, float]]) -> dict[str, Measured]:
    """The estimate and the mean rank of values elsewhere, as one half each."""
    blind = dataset_blind(values)
    found = {}
    for target in targets:
        if set(target.candidates) <= set(blind[target.name]):
            elsewhere = _standard([blind[target.name][name] for name in target.candidates])
            found[target.name] = target.agreement(list(_standard(target.scores("emms_knn")[0]) + elsewhere))
    return found


_BY_RUNS: dict[str, Callable[[TargetResult], list[float] | None]] = {
    "source accuracy": _source_accuracy,
    "first epoch": lambda target: _quick(target, lambda run: run[7][0]),
    "quick": _whole,
    "extrapolated": _extrapolated,
    "both": _both,
}


def _agreement(targets: Sequence[TargetResult]) -> str:
    """Estimators by their mean weighted τ at the longer budget, or the shorter one where that has no targets."""
    cells: dict[str, list[str]] = {name: [] for name in EVERY_NAME}
    order: dict[str, float] = {}
    for budget in BUDGETS:
        own = _at(targets, budget.name)
        ranked = {
            measure: _ranked_by([replace(t, measure=measure) for t in own])
            for measure in dict.fromkeys(measure for _, measure, _ in COLUMNS)
        }
        for name in EVERY_NAME:
            for _, measure, half in COLUMNS:
                found = ranked[measure].get(name, {})
                some = [found[t.name] for t in own if t.name in found and half in (None, t.record["half"])]
                # where nothing is told apart there is no order
                some = [one for one in some if not np.isnan(one["weighted_tau"])]
                cells[name].append(_with_interval(some) if (measure, half) == ("test", None) else tau_and_regret(some))
            every = [one["weighted_tau"] for one in ranked["test"].get(name, {}).values()]
            order[name] = float(np.mean(every)) if every else order.get(name, -1.0)
    rows = [
        (EVERY_NAME[name], *cells[name])
        for name in sorted(cells, key=lambda name: -order[name])
        if any(cell != "–" for cell in cells[name])
    ]
    head = [f"{budget.name}, {title}" for budget in BUDGETS for title, _, _ in COLUMNS]
    return markdown(("ranked by", *head), rows)


def _with_interval(measured: Sequence[Measured]) -> str:
    values = [one["weighted_tau"] for one in measured]
    if len(values) < 2:
        return "–"
    low, high = over_targets(values)
    return f"{np.mean(values):.2f} [{low:.2f}, {high:.2f}]"


def _defaults(targets: Sequence[TargetResult]) -> str:
    """Mean weighted τ and regret by label encoders, layers and sizes of pictures."""
    sized = [target for target in targets if target.measures("emms", "smaller-side")]
    groups = [(targets, {**LABELS, **ON_LAYERS}), (sized, ON_SIDES if sized else {})]
    rows = []
    for some, labels, text in ((some, *one) for some, names in groups for one in names.items()):
        cells = []
        for budget in BUDGETS:
            for name in ("emms_knn", "emms"):
                cells.append(tau_and_regret([m for t in _at(some, budget.name) if (m := t.measures(name, labels))]))
        rows.append((f"{', '.join(one.name for one in sized)}, {text}" if some is sized else text, *cells))
    head = [f"{budget.name}, {name}" for budget in BUDGETS for name in ("EMMS + k-NN", "EMMS, held out")]
    return markdown(("label encoders at three layers; other layers and pictures (weighted τ / regret)", *head), rows)


def _dev_targets() -> str:
    """Mean weighted τ on the dev targets of each pool, and over all of them: what defaults are chosen by."""
    groups: dict[str, list[TargetResult]] = {}
    for pool in (MICRO, IMAGES, TEXTS):
        dev = [one for one in load(pool)[1] if one.record["half"] == "dev"]
        for budget in (pool.truth,) if pool is MICRO else (QUICK.name, FULL.name):
            own = _at([replace(one, budget=budget) for one in dev], budget)
            if own:
                groups[f"{pool.title}, {budget if pool is not MICRO else 'short'}"] = own
    rows = []
    for name in DECIDING:
        for labels, text in ((None, ""), ("last-layer", ", the last layer alone")):
            cells, every = [], []
            for own in groups.values():
                values = [m["weighted_tau"] for t in own if (m := t.measures(name, labels))]
                every += values
                cells.append(f"{np.mean(values):.2f}" if values else "–")
            rows.append((f"{EVERY_NAME[name]}{text}", *cells, f"{np.mean(every):.2f}"))
    head = [f"{title} ({len(own)})" for title, own in groups.items()]
    return markdown(("weighted τ", *head, "all"), rows)


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
            how = "right" if pick == best else "within the noise" if pick in one.groups[0] else "wrong"
            picks.append(f"{pick.rpartition('-')[2]} ({how})")
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


def _at_stake() -> str:
    head = (
        "budget",
        "half",
        "targets with classes",
        "pairs within the interval",
        "below",
        "above",
        "median error, points",
    )
    fitted = [f"{budget.name}: {text}" for budget in BUDGETS if (text := calibration.formula(budget.name))]
    return markdown(head, calibration.rows()) + "\n\n" + "; ".join(fitted) + "."


def _power() -> str:
    """Pools with more than two targets."""
    lines = []
    for pool in (MICRO, IMAGES, TEXTS):
        targets = [one for one in load(pool)[1] if len(one.candidates) == len(one.record["candidates"])]
        if len(targets) > 2:
            for other, *cells in power.rows(targets, (POWER_CANDIDATES,)):
                lines.append((f"{pool.title} ({len(targets)} targets)", EVERY_NAME[other], *cells))
    head = ("pool", "EMMS + k-NN against", "difference of weighted τ [95 %]", "targets needed")
    return markdown((*head, f"with {POWER_CANDIDATES} candidates"), lines)


def _truths(pool: Pool, targets: Sequence[TargetResult]) -> str:
    columns = [one for target in targets for budget in BUDGETS for one in _at([target], budget.name)]
    rows = [
        (candidate.name, candidate.kind, *(_cell(one, candidate.name) for one in columns))
        for candidate in pool.candidates
    ]
    return markdown(("candidate", "kind", *(f"{one.name}, {one.budget}" for one in columns)), rows)


def _cell(target: TargetResult, name: str) -> str:
    return f"{target.truth[name]:.1f}" if name in target.truth else ""
