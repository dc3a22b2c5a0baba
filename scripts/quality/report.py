"""Make the Markdown tables of the pages in docs/ from the committed results."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hf_emms.evaluation import dataset_blind, over_targets, weighted_tau
from scripts.quality import calibration, query_counts, sentence_queries, static_order
from scripts.quality.pools import (
    BITS,
    DOCS,
    FEWEST,
    FULL,
    IMAGES,
    POOLS,
    QUICK,
    SEARCH,
    TEXTS,
    Pool,
)
from scripts.quality.results import PEER_RESULTS, Measured, TargetResult, controls, load, replayed

CONTROLS = {
    "dataset-blind": "*control:* mean rank elsewhere (dataset-blind)",
    "parameters": "*control:* parameter count",
    "feature width": "*control:* feature width",
    "random": "*control:* random",
}
ESTIMATORS = {
    "emms_knn": "EMMS + k-NN, held out (`emms_knn`, the default)",
    "emms": "EMMS, held out (`emms`)",
    "emms_r2": "EMMS, held-out R²",
    "emms_exact": "EMMS, the paper's objective (`emms_exact`)",
    "emms_one_pass": "EMMS, official function (`emms_one_pass`)",
    "emms_alternating": "EMMS, Algorithm 1 (`emms_alternating`)",
    "logme": "LogME on classes, or F-labels where there are none (`logme`)",
    "logme_flabels": "LogME on F-labels (`logme_flabels`)",
    "logme_common": "LogME as widespread code has it (`logme_common`)",
    "hscore": "H-score (`hscore`)",
    "knn": "k-NN (`knn`)",
    "knn_flabels": "k-NN on standardised features and F-labels",
    "linear_probe": "linear probe",
    "transrate": "TransRate",
    "sfda": "SFDA",
    "parc": "PARC",
    "airtran": "AiRTran",
}
NAMES = {
    **ESTIMATORS,
    **CONTROLS,
    "source accuracy": "*control:* ImageNet accuracy of the source",
    "first epoch": "validation score after one epoch of the quick fine-tuning (at most 31 steps)",
    "quick": "validation score of the quick fine-tuning (at most 93 steps)",
    "prior": "EMMS + k-NN and the mean rank elsewhere, mean of z-scores",
    "prior of estimates": "EMMS + k-NN and its own mean rank elsewhere, mean of z-scores",
}
LABELS = {
    "demo": "demo, K = 3",
    "static": "static table, K = 1",
    "albert": "small ALBERT, K = 1",
    "gpt2": "WordNet GPT-2, K = 1",
    "minilm": "all-MiniLM-L6-v2 (`base`, the default), K = 1",
    "random": "a random vector a text, K = 1",
}
LAYERED = ("image-classification", "text-classification", "image-to-text")
BUDGETS = (QUICK.name, FULL.name)
# Columns of the agreement with fine-tuning, at each budget: title, measure of the truth, half of the targets.
COLUMNS: tuple[tuple[str, Literal["test", "tied", "loss"], str | None], ...] = (
    ("held: weighted τ / regret", "test", "held"),
    ("dev: weighted τ / regret", "test", "dev"),
    ("all: weighted τ [95 %]", "test", None),
    ("held, ties within the noise: weighted τ / regret", "tied", "held"),
    ("all, ties within the noise: weighted τ / regret", "tied", None),
    ("all, log loss: weighted τ / regret in nats", "loss", None),
)
PerTarget = Mapping[str, Measured]
Tables = Iterator[tuple[str, str]]


# ---- pages -----------------------------------------------------------------------------------------------------------


def pages() -> Iterator[tuple[Path, str, str]]:
    """Yield page, name of the marks around its tables, and tables."""
    for pool in POOLS.values():
        if pool.page is not None:
            yield DOCS / pool.page, f"agreement {pool.name}", pool_table(pool)
    yield DOCS / str(SEARCH.page), "real", pool_table(SEARCH, "real", "altered")
    yield DOCS / str(SEARCH.page), "search", search_table(SEARCH)
    sentences = json.loads(sentence_queries.RESULTS.read_text())
    tables = (sentence_queries.agreement(sentences), sentence_queries.signs(sentences))
    yield DOCS / str(SEARCH.page), "sentences", "\n\n".join(map(table_of, tables))
    yield DOCS / "rank-search.md", "queries", query_counts_table(json.loads(query_counts.RESULTS.read_text()))
    yield DOCS / "evidence.md", "static order", static_order_table()


def evidence_files() -> Iterator[tuple[Path, str]]:
    """Yield file and content of each table of docs/evidence.md, and of sentences as queries, as CSV."""
    sentences = json.loads(sentence_queries.RESULTS.read_text())
    of_search = (
        ("Sentences as queries", table_of(sentence_queries.agreement(sentences))),
        ("Gaps by sentences", table_of(sentence_queries.signs(sentences))),
    )
    found = (*real_tables(IMAGES), *real_tables(TEXTS), *shared_tables(), *micro_tables(), *of_search)
    for title, table in found:
        head, _, *rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n\n")[0].splitlines()
        ]
        content = io.StringIO()
        csv.writer(content, lineterminator="\n").writerows([head, *rows])
        yield DOCS / "evidence" / f"{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}.csv", content.getvalue()


def write_pages() -> None:
    """Write all tables into their pages and files."""
    for file, content in evidence_files():
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")
    for page, mark, tables in pages():
        before, _, rest = page.read_text(encoding="utf-8").partition(f"<!-- {mark} -->")
        after = rest.partition(f"<!-- /{mark} -->")[2]
        page.write_text(f"{before}<!-- {mark} -->\n\n{tables}\n\n<!-- /{mark} -->{after}", encoding="utf-8")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def table_of(records: Iterable[Mapping[str, str]]) -> str:
    """Return records with the same keys as a table in Markdown."""
    head, *_ = rows = [*records]
    return markdown([*head], [[*row.values()] for row in rows])


def tau_and_regret(measured: Sequence[Measured], digits: int = 1) -> str:
    """Return the means over targets as a cell; a dash without targets."""
    if not measured:
        return "–"
    tau, regret = (np.mean([m[name] for m in measured]) for name in ("weighted_tau", "regret"))
    return f"{tau:.2f} / {regret:.{digits}f}"


def or_dash(value: float | None) -> str:
    """Return two decimals, or a dash without a number."""
    return "–" if value is None or np.isnan(value) else f"{value:.2f}"


def _of_half(targets: Sequence[TargetResult], half: str | None) -> list[TargetResult]:
    return [target for target in targets if half in (None, target.record["half"])]


def _measures(targets: Sequence[TargetResult], name: str, labels: str | None = None) -> PerTarget:
    """Return target → measures of an estimator, for targets with scores."""
    return {t.name: measures for t in targets if (measures := t.measures(name, labels))}


def _mean(measured: PerTarget, measure: str = "weighted_tau", targets: Iterable[str] | None = None) -> float:
    names = measured if targets is None else targets
    values = [measured[name][measure] for name in names if name in measured]
    return float(np.nanmean(values)) if values else float("nan")


def _by_task(targets: Sequence[TargetResult]) -> dict[str, list[str]]:
    tasks = dict.fromkeys(target.record["task"] for target in targets)
    return {task: [target.name for target in targets if target.record["task"] == task] for task in tasks}


# ---- pools with their own page ---------------------------------------------------------------------------------------

OF_PEER = {"hscore": "H-score", "logme": "LogME", "knn": "k-NN"}


def pool_table(pool: Pool, *kinds: str) -> str:
    """Return the agreement of every ranking of a pool with fine-tuning per target, and its cost or regret.

    If there are kinds, only candidates of these kinds count.
    """
    only = frozenset(candidate.name for candidate in pool.candidates if candidate.kind in kinds) if kinds else None
    trains = pool.estimators[0] == "short_run"
    rows, head = [], list[str]()
    for budget in pool.budgets:
        targets = [replace(target, only=only) for target in load(pool, budget.name)]
        targets = [target for target in targets if len(target.candidates) >= FEWEST]
        cells = _rankings(pool, targets)
        for target in targets:
            ordered = sorted(target.truth.items(), key=lambda item: -item[1])
            best, worst = ordered[0], ordered[-1]
            measure, train = target.record["measure"], target.record.get("training_rows", {}).get(budget.name, 0)
            row = {"target": target.name, "half": target.record["half"]}
            if trains:
                row |= {"trained on": f"{train:,} rows", BITS: f"{-best[1]:.2f} ({best[0]}) to {-worst[1]:.2f}"}
            else:
                row["candidates"] = str(len(ordered))
                row["fine-tuned"] = f"{measure} {worst[1]:.1f} to {best[1]:.1f} ({best[0]})"
            row["τ of two seeds"] = or_dash(target.seeds_agree)
            for title, measured in cells.items():
                measured_here = [measured[target.name]] if target.name in measured else []
                row[title] = tau_and_regret(measured_here, 2 if trains else 1)
            if trains:
                seconds = sum(run[4] or 0.0 for runs in target.runs.values() for run in runs)
                row["cost of `short_run`"] = f"{sum(target.record['seconds'].values()) / seconds:.0%}"
            else:
                regret = replayed(target, pool.confirmed, pool.estimators[0]).regret
                row[f"regret with `--confirm {pool.confirmed}`"] = f"{regret:.1f}"
            head = list(row)
            rows.append(tuple(row.values()))
    return markdown(head, rows)


def search_table(pool: Pool) -> str:
    """Return nDCG@10 per candidate and target: before training, adapted, and fine-tuned."""
    targets = load(pool)
    rows = [(c.name, c.kind, *(_search_cell(target, c.name) for target in targets)) for c in pool.candidates]
    baselines = dict.fromkeys(name for target in targets for name in target.record["baselines"])
    rows += [(name, "–", *(f"{100 * t.record['baselines'][name]:.1f}" for t in targets)) for name in baselines]
    return markdown(("candidate", "kind", *(f"{t.name} ({t.record['half']})" for t in targets)), rows)


def _search_cell(target: TargetResult, name: str) -> str:
    """Return the nDCG@10 of a candidate before training, adapted, and fine-tuned, in points."""
    names, scores = target.record["candidates"], target.record["scores"]
    if name not in names:
        return "–"
    keys = (f"{estimator}|{target.labels}" for estimator in ("zero_shot_ndcg", "adapted_ndcg"))
    before = [f"{100 * scores[key][names.index(name)]:.1f}" for key in keys if key in scores]
    return " / ".join([*before, _truth_of(target, name) or "–"])


def _rankings(pool: Pool, targets: Sequence[TargetResult]) -> dict[str, PerTarget]:
    """Return title → target → measures, for all rankings of a pool's candidates."""
    measured = controls(targets)
    return {
        **{f"`{name}`": _measures(targets, name) for name in pool.estimators},
        **({ESTIMATORS["airtran"]: measures} if (measures := _measures(targets, "airtran")) else {}),
        **_measures_of_peer(targets),
        "parameter count": measured["parameters"],
        "mean rank elsewhere": measured["dataset-blind"],
    }


def _measures_of_peer(targets: Sequence[TargetResult]) -> dict[str, dict[str, Measured]]:
    """Return title → target → measures of transformer-ranker, if it ranked the same candidates."""
    rankings = json.loads(PEER_RESULTS.read_text(encoding="utf-8")) if PEER_RESULTS.exists() else {}
    agreements: dict[str, dict[str, Measured]] = {f"transformer-ranker, {title}": {} for title in OF_PEER.values()}
    for target in targets:
        ranking = rankings.get(target.name, {"candidates": (), "scores": {}})
        if set(ranking["candidates"]) == set(target.candidates):
            for name, by_target in zip(OF_PEER, agreements.values(), strict=True):
                if name in ranking["scores"]:
                    scores = dict(zip(ranking["candidates"], ranking["scores"][name], strict=True))
                    by_target[target.name] = target.agreement(_with_failed_last(target, scores))
    return {title: by_target for title, by_target in agreements.items() if by_target}


def _with_failed_last(target: TargetResult, scores: Mapping[str, float | None]) -> list[float]:
    """Return scores in the order of the candidates; unreadable checkpoints come last."""
    last = min(score for score in scores.values() if score is not None) - 1
    return [last if (score := scores[name]) is None else score for name in target.candidates]


def query_counts_table(results: Mapping[str, Any]) -> str:
    """Return how exact nDCG@10 is by the number of queries."""
    head = ("data", "queries", "documents", "search", "nDCG@10", *(f"{count} queries" for count in query_counts.COUNTS))
    rows = [
        (name, f"{about['queries']:,}", f"{about['documents']:,}", search, *map("{:.1f}".format, values))
        for name, about in results.items()
        for search, values in about["searches"].items()
    ]
    return markdown(head, rows)


# ---- real checkpoints ------------------------------------------------------------------------------------------------


def real_tables(pool: Pool) -> Tables:
    """Yield title and table of a pool of real checkpoints, at both budgets."""
    targets = load(pool)
    real = frozenset(candidate.name for candidate in pool.candidates if candidate.kind == "real")
    yield f"Targets: {pool.title}", _real_targets(targets)
    yield f"Agreement: {pool.title}", _agreement(targets)
    yield f"Agreement: {pool.title} without altered and random ones", _agreement(_only(targets, real))
    yield f"Confirming a shortlist: {pool.title}", _real_confirming(targets)
    yield f"What fine-tuning gave: {pool.title}", _real_truths(pool, targets)


def static_order_table() -> str:
    """Return how often each rule finds the best checkpoint of a target, and its regret, over all pools."""
    _, found = next(static_order.groups())
    return markdown(static_order.HEAD, static_order.rows(found))


def shared_tables() -> Tables:
    """Yield title and table of choices and fits on targets from different pools."""
    yield "Points at stake", _at_stake()
    rows = [(title, *row) for title, found in static_order.groups() for row in static_order.rows(found)]
    yield "Static order", markdown(("pool", *static_order.HEAD), rows)


def _only(targets: Sequence[TargetResult], names: frozenset[str]) -> list[TargetResult]:
    return [replace(target, only=names) for target in targets]


def _at(targets: Sequence[TargetResult], budget: str) -> list[TargetResult]:
    """Return the targets whose candidates all have runs at a budget."""
    return [other for target in targets if (other := target.at(budget)) is not None and other.is_whole]


def _at_budgets(targets: Sequence[TargetResult]) -> Iterator[TargetResult]:
    """Yield each target at every budget."""
    return (at for target in targets for budget in BUDGETS for at in _at([target], budget))


def _real_targets(targets: Sequence[TargetResult]) -> str:
    rows = []
    for target in _at_budgets(targets):
        values = sorted(target.truth.values(), reverse=True)
        quick = target.at(QUICK.name)
        rows.append(
            (
                target.name,
                target.record["half"],
                target.budget,
                str(len(values)),
                str(sum(map(len, target.runs.values()))),
                f"{target.record['measure']} {values[-1]:.1f} to {values[0]:.1f}",
                f"{values[0] - values[min(4, len(values) - 1)]:.1f}",
                f"{target.record['test_rows']:,}",
                " > ".join(str(len(group)) for group in target.groups),
                max(target.truth, key=lambda name: target.truth[name]),
                or_dash(target.seeds_agree),
                _agreed(target, replace(target, measure="loss")),
                "–" if quick is None or target.budget == QUICK.name else _agreed(quick, target),
            )
        )
    head = ("target", "half", "budget", "candidates", "fine-tunings", "test scores", "first to fifth", "test rows")
    more = ("told apart", "best", "weighted τ of two seeds", "of accuracy and log loss", "with the quick truth")
    return markdown((*head, *more), rows)


def _agreed(target: TargetResult, other: TargetResult) -> str:
    return f"{weighted_tau(list(target.truth.values()), list(other.truth.values())):.2f}"


def _ranked_by(targets: Sequence[TargetResult]) -> dict[str, PerTarget]:
    """Return ranking → target → measures, for targets at one budget."""
    ranked: dict[str, PerTarget] = dict(controls(targets)) if len(targets) > 1 else {}
    ranked |= {name: measures for name in ESTIMATORS if (measures := _measures(targets, name))}
    for name, scores_of in _BY_RUNS.items():
        ranked[name] = {t.name: t.agreement(scores) for t in targets if (scores := scores_of(t)) is not None}
    if len(targets) > 1:
        ranked["prior"] = _with_prior(targets, {target.name: target.truth for target in targets})
        ranked["prior of estimates"] = _with_prior(targets, {target.name: _estimates(target) for target in targets})
    return ranked


def _source_accuracy(target: TargetResult) -> list[float] | None:
    has_enough = len(set(target.candidates) & set(static_order.IMAGENET)) >= FEWEST
    return [static_order.IMAGENET.get(name, 0.0) for name in target.candidates] if has_enough else None


def _quick(target: TargetResult, score: Callable[[list], float]) -> list[float] | None:
    """Return the best score of the quick budget's first seed."""
    quick = target.at(QUICK.name)
    if quick is None or not set(target.candidates) <= set(quick.candidates):
        return None
    runs = [[run for run in quick.runs[name] if run[1] == 0] for name in target.candidates]
    return [max(map(score, of_candidate)) for of_candidate in runs]


_BY_RUNS: dict[str, Callable[[TargetResult], list[float] | None]] = {
    "source accuracy": _source_accuracy,
    "first epoch": lambda target: _quick(target, lambda run: run[7][0]),
    # The quick truth is the score of the quick fine-tuning itself.
    "quick": lambda target: None if target.budget == QUICK.name else _quick(target, lambda run: run[2]),
}


def _standard(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    return (array - array.mean()) / (array.std() or 1.0)


def _estimates(target: TargetResult) -> dict[str, float]:
    return dict(zip(target.candidates, target.scores("emms_knn"), strict=True))


def _with_prior(targets: Sequence[TargetResult], values: Mapping[str, Mapping[str, float]]) -> PerTarget:
    """Average the z-scores of the estimate and of the mean rank elsewhere."""
    blind = dataset_blind(values)
    measured = {}
    for target in targets:
        if set(target.candidates) <= set(blind[target.name]):
            elsewhere = _standard([blind[target.name][name] for name in target.candidates])
            both = _standard(target.scores("emms_knn")) + elsewhere
            measured[target.name] = target.agreement(list(both))
    return measured


def _agreement(targets: Sequence[TargetResult]) -> str:
    """List estimators by their mean weighted τ at the longer budget, or at the shorter one without targets."""
    cells: dict[str, list[str]] = {name: [] for name in NAMES}
    order: dict[str, float] = {}
    for budget in BUDGETS:
        at_budget = _at(targets, budget)
        ranked = {
            measure: _ranked_by([replace(t, measure=measure) for t in at_budget])
            for measure in dict.fromkeys(measure for _, measure, _ in COLUMNS)
        }
        for name in NAMES:
            for _, measure, half in COLUMNS:
                by_target = ranked[measure].get(name, {})
                measured = [by_target[t.name] for t in _of_half(at_budget, half) if t.name in by_target]
                # without significant differences the order is undefined
                measured = [m for m in measured if not np.isnan(m["weighted_tau"])]
                whole = (measure, half) == ("test", None)
                cells[name].append(_with_interval(measured) if whole else tau_and_regret(measured))
            every = [m["weighted_tau"] for m in ranked["test"].get(name, {}).values()]
            order[name] = float(np.mean(every)) if every else order.get(name, -1.0)
    rows = [
        (NAMES[name], *cells[name])
        for name in sorted(cells, key=lambda name: -order[name])
        if any(cell != "–" for cell in cells[name])
    ]
    return markdown(("ranked by", *(f"{budget}, {title}" for budget in BUDGETS for title, _, _ in COLUMNS)), rows)


def _with_interval(measured: Sequence[Measured]) -> str:
    values = [m["weighted_tau"] for m in measured]
    if len(values) < 2:
        return "–"
    low, high = over_targets(values)
    return f"{np.mean(values):.2f} [{low:.2f}, {high:.2f}]"


def _real_confirming(targets: Sequence[TargetResult]) -> str:
    columns = [(budget, half) for budget in BUDGETS for half in ("held", "dev")]
    rows = []
    for title, count in (("estimate", 0), ("confirm 2", 2), ("confirm 3", 3), ("everything", 99)):
        regrets = [[replayed(t, count).regret for t in _of_half(_at(targets, b), half)] for b, half in columns]
        rows.append((title, *(f"{np.mean(values):.1f}" if values else "–" for values in regrets)))
    return markdown(("decided by (regret)", *(f"{budget}, {half}" for budget, half in columns)), rows)


def _at_stake() -> str:
    head = ("budget", "half", "targets with classes", "pairs within the interval", "below", "above")
    fitted = [f"{budget}: {text}" for budget in BUDGETS if (text := calibration.formula(budget))]
    return markdown((*head, "median error, points"), calibration.rows()) + "\n\n" + "; ".join(fitted) + "."


def _real_truths(pool: Pool, targets: Sequence[TargetResult]) -> str:
    columns = list(_at_budgets(targets))
    rows = [(c.name, c.kind, *(_truth_of(target, c.name) for target in columns)) for c in pool.candidates]
    return markdown(("candidate", "kind", *(f"{target.name}, {target.budget}" for target in columns)), rows)


def _truth_of(target: TargetResult, name: str) -> str:
    return f"{target.truth[name]:.1f}" if name in target.truth else ""


# ---- the micro pool --------------------------------------------------------------------------------------------------


def micro_tables() -> Tables:
    """Yield title and table of the micro pool."""
    targets = load()
    scored = {name: _measures(targets, name) for name in ESTIMATORS}
    ranked: dict[str, PerTarget] = {name: measures for name, measures in scored.items() if measures}
    ranked |= controls(targets)
    tasks = _by_task(targets)
    yield "Targets", _targets(targets)
    yield "Agreement with fine-tuning", _overview(ranked, targets)
    yield "Weighted τ by task", _columns(ranked, tasks)
    yield "Weighted τ by target", _columns(ranked, {target.name: [target.name] for target in targets})
    yield "Label encoders", _labels(targets)
    yield "Layers", _layers(targets)
    yield "Confirming a shortlist", _confirming(targets)
    names = dict.fromkeys(name for target in targets for name in target.candidates)
    rows = [(name, *(_truth_of(target, name) for target in targets)) for name in names]
    yield "What fine-tuning gave", markdown(("candidate", *(target.name for target in targets)), rows)


def _targets(targets: Sequence[TargetResult]) -> str:
    rows = []
    for target in targets:
        ordered = sorted(target.truth.items(), key=lambda pair: -pair[1])
        rows.append(
            (
                target.name,
                target.record["task"],
                target.record["half"],
                str(len(ordered)),
                str(sum(map(len, target.runs.values()))),
                f"{target.record['measure']} {ordered[-1][1]:.1f} to {ordered[0][1]:.1f}",
                ordered[0][0],
                or_dash(target.seeds_agree),
            )
        )
    head = ("target", "task", "half", "candidates", "fine-tunings", "test scores", "best", "weighted τ of two seeds")
    return markdown(head, rows)


def _overview(ranked: Mapping[str, PerTarget], targets: Sequence[TargetResult]) -> str:
    halves = {half: [t.name for t in _of_half(targets, half)] for half in ("held", "dev")}
    rows = []
    for name in sorted(ranked, key=lambda name: -_mean(ranked[name])):
        measured = ranked[name]
        low, high = over_targets([measured[target]["weighted_tau"] for target in measured])
        missing = "" if len(measured) == len(targets) else f" ({len(measured)} targets)"
        rows.append(
            (
                NAMES[name] + missing,
                f"{_mean(measured):.2f} [{low:.2f}, {high:.2f}]",
                *(f"{_mean(measured, 'weighted_tau', halves[half]):.2f}" for half in ("held", "dev")),
                *(f"{_mean(measured, measure):.2f}" for measure in ("kendall_tau", "pearson")),
                *(f"{_mean(measured, 'regret', names):.1f}" for names in (None, halves["held"])),
                f"{_mean(measured, 'pick_in_top'):.0%}",
            )
        )
    head = ("ranked by", "weighted τ [95 %]", "held", "dev", "τ", "Pearson", "regret", "regret, held", "in top 3")
    return markdown(head, rows)


def _columns(ranked: Mapping[str, PerTarget], columns: Mapping[str, list[str]]) -> str:
    """List weighted τ over the targets of each column."""
    rows = [
        (NAMES[name], *(or_dash(_mean(measured, targets=names)) for names in columns.values()))
        for name, measured in ranked.items()
    ]
    return markdown(("ranked by", *columns), rows)


def _labels(targets: Sequence[TargetResult]) -> str:
    names = ("emms_knn", "emms", "logme_flabels")
    rows = [
        (text, *(tau_and_regret([*_measures(targets, name, labels).values()]) for name in names))
        for labels, text in LABELS.items()
    ]
    head = ("label encoders (weighted τ / regret)", "EMMS + k-NN", "EMMS, held out", "LogME on F-labels")
    return markdown(head, rows)


def _layers(targets: Sequence[TargetResult]) -> str:
    """List targets whose candidates have hidden layers."""
    showing = [target for target in targets if target.record["task"] in LAYERED]
    layers = ("demo", "last-layer", "mean-layer")
    rows = [
        (NAMES[name], *(tau_and_regret([*_measures(showing, name, labels).values()]) for labels in layers))
        for name in ("emms_knn", "emms", "logme", "knn")
    ]
    head = (f"weighted τ / regret ({len(showing)} targets)", "spread (the default)", "last layer", "mean of layers")
    return markdown(head, rows)


def _confirming(targets: Sequence[TargetResult]) -> str:
    """List the regret of the estimate, and after fine-tuning its first candidates."""
    held = {target.name for target in _of_half(targets, "held")}
    rows = []
    for title, count in (("estimate", 0), *((f"confirm {k}", k) for k in (1, 2, 3, 4, 5)), ("everything", 99)):
        results = {target.name: replayed(target, count) for target in targets}
        worst = max((result.regret, name) for name, result in results.items())
        rows.append(
            (
                title,
                f"{np.mean([result.regret for result in results.values()]):.2f}",
                f"{np.mean([results[name].regret for name in results if name in held]):.2f}",
                f"{worst[0]:.1f} ({worst[1]})",
                f"{np.mean([result.runs for result in results.values()]):.0f}",
                f"{sum(result.seconds for result in results.values()) / 3600:.2f}",
            )
        )
    head = ("decided by", "regret", "regret, held", "worst target", "runs a target", "CPU hours, all targets")
    return markdown(head, rows)


# ---- R² and score ----------------------------------------------------------------------------------------------------


def swapped() -> tuple[int, list[float]]:
    """Count pairs of checkpoints with score and R²; also return the R² differences of pairs that R² orders otherwise.

    The pairs are from all targets, label encoders and samples.
    """
    pairs = []
    for target in (target for pool in POOLS.values() for target in load(pool)):
        scores = target.record["scores"]
        for key, shares in scores.items():
            estimator, _, setting = key.partition("|")
            if estimator == "emms_r2":
                both = [pair for pair in zip(scores[f"emms|{setting}"], shares, strict=True) if None not in pair]
                pairs += [(a - b, c - d) for (a, c), (b, d) in combinations(both, 2)]
    return len(pairs), [abs(r2) for score, r2 in pairs if score * r2 < 0]
