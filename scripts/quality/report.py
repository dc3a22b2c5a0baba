"""Make the tables of the pages in docs/, and of docs/evidence/, from the committed results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hf_emms.evaluation import over_targets, weighted_tau
from scripts.quality import calibration, certainty, funnel_report, published_order, query_counts, sentence_queries
from scripts.quality.pools import BITS, DOCS, FEWEST, FULL, IMAGES, POOLS, QUICK, SEARCH, TEXTS, Pool
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
    "knn_flabels": "k-NN on standardized features and F-labels",
    "linear_probe": "linear probe",
    "transrate": "TransRate",
    "sfda": "SFDA",
    "parc": "PARC",
}
NAMES = {
    **ESTIMATORS,
    **CONTROLS,
    "source accuracy": "*control:* ImageNet accuracy of the source",
    "quick": "validation score of the quick fine-tuning (at most 93 steps)",
}
LABELS = {
    "demo": "demo, K = 3",
    "static": "static table, K = 1",
    "albert": "small ALBERT, K = 1",
    "gpt2": "WordNet GPT-2, K = 1",
    "minilm": "all-MiniLM-L6-v2 (`base`, the default), K = 1",
    "random": "a random vector a text, K = 1",
}
OF_LABELS = {"emms_knn": "EMMS + k-NN", "emms": "EMMS, held out", "logme_flabels": "LogME on F-labels"}
LAYERS = {"demo": "spread (the default)", "last-layer": "last layer", "mean-layer": "mean of layers"}
LAYERED = ("image-classification", "text-classification", "image-to-text")
OF_PEER = {"hscore": "H-score", "logme": "LogME", "knn": "k-NN"}
BUDGETS = (QUICK, FULL)
# Ranking → target → measures.
Ranked = Mapping[str, Mapping[str, Measured]]
Tables = Iterator[tuple[str, pd.DataFrame]]


# ---- pages -----------------------------------------------------------------------------------------------------------


def pages() -> Iterator[tuple[Path, str, str]]:
    """Yield page, name of the marks around its tables, and tables."""
    for pool in POOLS.values():
        if pool.page is not None:
            yield DOCS / pool.page, f"agreement {pool.name}", markdown(pool_table(pool))
    search = DOCS / str(SEARCH.page)
    yield search, "real", markdown(pool_table(SEARCH, "real", "altered"))
    yield search, "search", markdown(search_table(SEARCH))
    sentences = json.loads(sentence_queries.RESULTS.read_text())
    tables = (sentence_queries.agreement(sentences), sentence_queries.signs(sentences))
    yield search, "sentences", "\n\n".join(markdown(pd.DataFrame(table)) for table in tables)
    yield DOCS / "rank-search.md", "queries", markdown(_query_counts(json.loads(query_counts.RESULTS.read_text())))
    evidence, every = DOCS / "evidence.md", next(published_order.groups())[1]
    yield evidence, "published order", markdown(_static_order(every))
    yield evidence, "without birds", markdown(_static_order({name: every[name] for name in every if name != "birds"}))
    yield evidence, "certainty", markdown(pd.DataFrame(certainty.rows()))
    yield evidence, "rules", markdown(pd.DataFrame(certainty.rules()))
    for mark in ("agreement", "funnels", "shortlists"):
        table = pd.DataFrame(getattr(funnel_report, mark)())
        yield DOCS / "evidence-funnel.md", mark, f"{funnel_report.finished()}\n\n{markdown(table)}"


def evidence_files() -> Iterator[tuple[Path, str]]:
    """Yield file and content of each table of docs/evidence.md, as CSV."""
    for title, table in (*_real_tables(IMAGES), *_real_tables(TEXTS), *_shared_tables(), *_micro_tables()):
        name = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
        yield DOCS / "evidence" / f"{name}.csv", table.to_csv(index=False, lineterminator="\n")


def write_pages() -> None:
    """Write all tables into their pages and files."""
    for file, content in evidence_files():
        file.parent.mkdir(exist_ok=True)
        file.write_text(content, encoding="utf-8")
    for page, mark, tables in pages():
        before, _, rest = page.read_text(encoding="utf-8").partition(f"<!-- {mark} -->")
        after = rest.partition(f"<!-- /{mark} -->")[2]
        page.write_text(f"{before}<!-- {mark} -->\n\n{tables}\n\n<!-- /{mark} -->{after}", encoding="utf-8")


def markdown(table: pd.DataFrame) -> str:
    """Return a table in Markdown."""
    lines = [table.columns, ["---"] * len(table.columns), *table.itertuples(index=False)]
    head, rule, *rows = (f"| {' | '.join(line)} |" for line in lines)
    return "\n".join([head, rule.replace(" ", ""), *rows])


# ---- cells -----------------------------------------------------------------------------------------------------------


def _long(ranked: Ranked, targets: Sequence[TargetResult]) -> pd.DataFrame:
    """Return a row of measures per ranking and target."""
    facts = {target.name: {"task": target.record["task"], "half": target.record["half"]} for target in targets}
    rows = [
        {"name": name, "target": target, **facts[target], **measures}
        for name, by_target in ranked.items()
        for target, measures in by_target.items()
    ]
    return pd.DataFrame(rows, columns=["name", "target", "task", "half", "weighted_tau", "regret"])


def _cells(table: pd.DataFrame, cell: Any, *arguments: Any) -> pd.Series:
    """Return ranking → cell of its rows."""
    return pd.Series({name: cell(rows, *arguments) for name, rows in table.groupby("name", sort=False)}, dtype=object)


def _tau_and_regret(rows: pd.DataFrame, digits: int = 1) -> str:
    return "–" if rows.empty else f"{rows['weighted_tau'].mean():.2f} / {rows['regret'].mean():.{digits}f}"


def _tau(rows: pd.DataFrame) -> str:
    """Return the mean weighted τ over targets with its interval."""
    low, high = over_targets([*rows["weighted_tau"]]) if len(rows) > 1 else (np.nan, np.nan)
    return "–" if len(rows) < 2 else f"{rows['weighted_tau'].mean():.2f} [{low:.2f}, {high:.2f}]"


def or_dash(value: float | None) -> str:
    """Return two decimals, or a dash without a number."""
    return "–" if value is None or np.isnan(value) else f"{value:.2f}"


def _titled(table: pd.DataFrame, title: str) -> pd.DataFrame:
    """Return a table whose first column has the names of its rows, which are its index."""
    return table.rename_axis(title).rename_axis(None, axis=1).reset_index()


def _measures(targets: Iterable[TargetResult], name: str, labels: str | None = None) -> dict[str, Measured]:
    """Return target → measures of an estimator, for targets with scores."""
    return {t.name: measures for t in targets if (measures := t.measures(name, labels))}


def _truth_of(target: TargetResult, name: str) -> str:
    return f"{target.truth[name]:.1f}" if name in target.truth else ""


def _range(target: TargetResult) -> str:
    values = target.truth.values()
    return f"{target.record['measure']} {min(values):.1f} to {max(values):.1f}"


def _best(target: TargetResult) -> str:
    return max(target.truth, key=lambda name: target.truth[name])


# ---- pools with their own page ---------------------------------------------------------------------------------------


def pool_table(pool: Pool, *kinds: str) -> pd.DataFrame:
    """Return the agreement of every ranking of a pool with fine-tuning per target, and its cost or regret.

    If there are kinds, only candidates of these kinds count.
    """
    only = frozenset(candidate.name for candidate in pool.candidates if candidate.kind in kinds) if kinds else None
    rows = []
    for budget in pool.budgets:
        targets = [replace(target, only=only) for target in load(pool, budget.name)]
        targets = [target for target in targets if len(target.candidates) >= FEWEST]
        ranked = _rankings(pool, targets)
        measured = _long(ranked, targets)
        rows += [_pool_row(pool, target, [*ranked], measured[measured["target"] == target.name]) for target in targets]
    return pd.DataFrame(rows)


def _pool_row(pool: Pool, target: TargetResult, titles: Sequence[str], measured: pd.DataFrame) -> dict[str, str]:
    trains, best = pool.estimators[0] == "short_run", _best(target)
    row = {"target": target.name, "half": target.record["half"]}
    if trains:
        train = target.record.get("training_rows", {}).get(target.budget, 0)
        ends = f"{-target.truth[best]:.2f} ({best}) to {-min(target.truth.values()):.2f}"
        row |= {"trained on": f"{train:,} rows", BITS: ends}
    else:
        row |= {"candidates": str(len(target.truth)), "fine-tuned": f"{_range(target)} ({best})"}
    row["τ of two seeds"] = or_dash(target.seeds_agree)
    for title in titles:
        row[title] = _tau_and_regret(measured[measured["name"] == title], 2 if trains else 1)
    if trains:
        seconds = sum(run[4] or 0.0 for runs in target.runs.values() for run in runs)
        return row | {"cost of `short_run`": f"{sum(target.record['seconds'].values()) / seconds:.0%}"}
    regret = replayed(target, pool.confirmed, pool.estimators[0]).regret
    return row | {f"regret with `--confirm {pool.confirmed}`": f"{regret:.1f}"}


def search_table(pool: Pool) -> pd.DataFrame:
    """Return nDCG@10 per candidate and target: before training, adapted, and fine-tuned."""
    targets = load(pool)
    rows = [(c.name, c.kind, *(_search_cell(target, c.name) for target in targets)) for c in pool.candidates]
    baselines = dict.fromkeys(name for target in targets for name in target.record["baselines"])
    rows += [(name, "–", *(f"{100 * t.record['baselines'][name]:.1f}" for t in targets)) for name in baselines]
    return pd.DataFrame(rows, columns=["candidate", "kind", *(f"{t.name} ({t.record['half']})" for t in targets)])


def _search_cell(target: TargetResult, name: str) -> str:
    """Return the nDCG@10 of a candidate before training, adapted, and fine-tuned, in points."""
    names, scores = target.record["candidates"], target.record["scores"]
    if name not in names:
        return "–"
    keys = (f"{estimator}|{target.labels}" for estimator in ("zero_shot_ndcg", "adapted_ndcg"))
    before = [f"{100 * scores[key][names.index(name)]:.1f}" for key in keys if key in scores]
    return " / ".join([*before, _truth_of(target, name) or "–"])


def _rankings(pool: Pool, targets: Sequence[TargetResult]) -> Ranked:
    """Return all rankings of a pool's candidates by title."""
    measured = controls(targets)
    return {
        **{f"`{name}`": _measures(targets, name) for name in pool.estimators},
        **({"AiRTran": measures} if (measures := _measures(targets, "airtran")) else {}),
        **_measures_of_peer(targets),
        "parameter count": measured["parameters"],
        "mean rank elsewhere": measured["dataset-blind"],
    }


def _measures_of_peer(targets: Sequence[TargetResult]) -> Ranked:
    """Return the measures of transformer-ranker, if it ranked the same candidates."""
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


def _query_counts(results: Mapping[str, Any]) -> pd.DataFrame:
    """Return how exact nDCG@10 is by the number of queries."""
    head = ("data", "queries", "documents", "search", "nDCG@10", *(f"{count} queries" for count in query_counts.COUNTS))
    rows = [
        (name, f"{about['queries']:,}", f"{about['documents']:,}", search, *map("{:.1f}".format, values))
        for name, about in results.items()
        for search, values in about["searches"].items()
    ]
    return pd.DataFrame(rows, columns=head)


# ---- targets of all pools --------------------------------------------------------------------------------------------


def _static_order(found: published_order.Outcomes) -> pd.DataFrame:
    """Return how often each rule finds the best checkpoint of a target, and its regret."""
    return pd.DataFrame(published_order.rows(found), columns=published_order.HEAD)


def _shared_tables() -> Tables:
    yield "Points at stake", pd.DataFrame(calibration.rows())
    tables = {title: _static_order(found) for title, found in published_order.groups()}
    yield "Published order", pd.concat(tables, names=["pool"]).reset_index("pool")
    yield "Funnel by target", pd.DataFrame(funnel_report.by_target())


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


def _target(target: TargetResult) -> dict[str, str]:
    groups = target.groups if "test_rows" in target.record else []
    quick = target.at(QUICK) if target.budget != QUICK else None
    agrees = None if quick is None else weighted_tau([*quick.truth.values()], [*target.truth.values()])
    return {
        "target": target.name,
        "task": target.record["task"],
        "half": target.record["half"],
        "budget": target.budget,
        "candidates": str(len(target.truth)),
        "fine-tunings": str(sum(map(len, target.runs.values()))),
        "test scores": _range(target),
        "told apart": " > ".join(str(len(group)) for group in groups),
        "best": _best(target),
        "weighted τ of two seeds": or_dash(target.seeds_agree),
        "with the quick truth": or_dash(agrees),
    }


def _truths(names: Iterable[tuple[str, ...]], head: Sequence[str], columns: Mapping[str, TargetResult]) -> pd.DataFrame:
    """Return what fine-tuning gave; a name and its facts begin each row."""
    rows = [(*facts, *(_truth_of(target, facts[0]) for target in columns.values())) for facts in names]
    return pd.DataFrame(rows, columns=[*head, *columns])


# ---- real checkpoints ------------------------------------------------------------------------------------------------


def _real_tables(pool: Pool) -> Tables:
    """Yield title and table of a pool of real checkpoints, at both budgets."""
    targets = load(pool)
    real = frozenset(candidate.name for candidate in pool.candidates if candidate.kind == "real")
    columns = {f"{at.name}, {budget}": at for t in targets for budget in BUDGETS for at in _at([t], budget)}
    yield f"Targets: {pool.title}", pd.DataFrame(map(_target, columns.values())).drop(columns="task")
    yield f"Agreement: {pool.title}", _agreement(targets)
    only_real = [replace(target, only=real) for target in targets]
    yield f"Agreement: {pool.title} without altered and random ones", _agreement(only_real)
    halves = {
        f"{budget}, {half}": [t for t in _at(targets, budget) if t.record["half"] == half]
        for budget in BUDGETS
        for half in ("held", "dev")
    }
    yield f"Confirming a shortlist: {pool.title}", _confirming("decided by (regret)", (2, 3), halves, 1)
    facts = ((candidate.name, candidate.kind) for candidate in pool.candidates)
    yield f"What fine-tuning gave: {pool.title}", _truths(facts, ("candidate", "kind"), columns)


def _at(targets: Sequence[TargetResult], budget: str) -> list[TargetResult]:
    """Return the targets whose candidates all have runs at a budget."""
    return [other for target in targets if (other := target.at(budget)) is not None and other.is_whole]


def _ranked_by(targets: Sequence[TargetResult]) -> Ranked:
    """Return all rankings of targets at one budget."""
    ranked: dict[str, Mapping[str, Measured]] = dict(controls(targets)) if len(targets) > 1 else {}
    ranked |= {name: _measures(targets, name) for name in ESTIMATORS}
    for name, scores_of in (("source accuracy", _source_accuracy), ("quick", _quick)):
        ranked[name] = {t.name: t.agreement(scores) for t in targets if (scores := scores_of(t)) is not None}
    return ranked


def _source_accuracy(target: TargetResult) -> list[float] | None:
    has_enough = len(set(target.candidates) & set(IMAGES.published)) >= FEWEST
    return [IMAGES.published.get(name, 0.0) for name in target.candidates] if has_enough else None


def _quick(target: TargetResult) -> list[float] | None:
    """Return the best validation scores of the quick budget's first seed; None at this budget."""
    quick = target.at(QUICK)
    if target.budget == QUICK or quick is None or not set(target.candidates) <= set(quick.candidates):
        return None
    return [max(run[2] for run in quick.runs[name] if run[1] == 0) for name in target.candidates]


def _agreement(targets: Sequence[TargetResult]) -> pd.DataFrame:
    """List estimators by their mean weighted τ at the longer budget, or at the shorter one without targets."""
    columns, order = {}, pd.Series(dtype=float)
    for budget in BUDGETS:
        at_budget = _at(targets, budget)
        test, tied = (
            _long(_ranked_by([replace(target, measure=measure) for target in at_budget]), at_budget)
            for measure in ("test", "tied")
        )
        order = test.groupby("name")["weighted_tau"].mean().combine_first(order)
        # without significant differences the order is undefined
        test, tied = test.dropna(), tied.dropna()
        cells = {
            "held: weighted τ / regret": _cells(test[test["half"] == "held"], _tau_and_regret),
            "dev: weighted τ / regret": _cells(test[test["half"] == "dev"], _tau_and_regret),
            "all: weighted τ [95 %]": _cells(test, _tau),
            "held, ties within the noise: weighted τ / regret": _cells(tied[tied["half"] == "held"], _tau_and_regret),
            "all, ties within the noise: weighted τ / regret": _cells(tied, _tau_and_regret),
        }
        columns |= {f"{budget}, {title}": column for title, column in cells.items()}
    ranked = order.reindex([name for name in NAMES if name in order]).sort_values(ascending=False, kind="stable")
    return _titled(pd.DataFrame(columns).reindex(ranked.index).fillna("–").rename(NAMES), "ranked by")


def _confirming(
    title: str, counts: Sequence[int], columns: Mapping[str, Sequence[TargetResult]], digits: int
) -> pd.DataFrame:
    """List the regret of the estimate, and after fine-tuning its first candidates."""
    decided = {"estimate": 0, **{f"confirm {count}": count for count in counts}, "everything": 99}
    regrets = {
        name: [np.mean([replayed(t, count).regret for t in targets]) if targets else None for count in decided.values()]
        for name, targets in columns.items()
    }
    cells = {
        name: ["–" if value is None else f"{value:.{digits}f}" for value in values] for name, values in regrets.items()
    }
    return _titled(pd.DataFrame(cells, index=[*decided]), title)


# ---- the micro pool --------------------------------------------------------------------------------------------------


def _micro_tables() -> Tables:
    """Yield title and table of the micro pool."""
    targets = load()
    ranked: Ranked = {**{name: m for name in ESTIMATORS if (m := _measures(targets, name))}, **controls(targets)}
    measured = _long(ranked, targets)
    of_real = ["budget", "told apart", "with the quick truth"]
    yield "Targets", pd.DataFrame(map(_target, targets)).drop(columns=of_real)
    yield "Agreement with fine-tuning", _overview(measured, len(targets))
    for column in ("task", "target"):
        means = measured.pivot_table("weighted_tau", "name", column, sort=False)
        means = means.reindex(index=[*ranked], columns=dict.fromkeys(measured[column])).map(or_dash).rename(NAMES)
        yield f"Weighted τ by {column}", _titled(means, "ranked by")
    of_labels = _by_labels(targets, OF_LABELS, LABELS).rename(OF_LABELS).T
    yield "Label encoders", _titled(of_labels, "label encoders (weighted τ / regret)")
    layered = [target for target in targets if target.record["task"] in LAYERED]
    of_layers = _by_labels(layered, ("emms_knn", "emms", "logme", "knn"), LAYERS).rename(NAMES)
    yield "Layers", _titled(of_layers, f"weighted τ / regret ({len(layered)} targets)")
    held = [target for target in targets if target.record["half"] == "held"]
    confirming = _confirming("decided by", (1, 2, 3, 4, 5), {"regret": targets, "regret, held": held}, 2)
    counts = (0, 1, 2, 3, 4, 5, 99)
    runs = [f"{np.mean([replayed(target, count).runs for target in targets]):.0f}" for count in counts]
    yield "Confirming a shortlist", confirming.assign(**{"runs a target": runs})
    names = dict.fromkeys((name,) for target in targets for name in target.candidates)
    yield "What fine-tuning gave", _truths(names, ["candidate"], {target.name: target for target in targets})


def _overview(measured: pd.DataFrame, count: int) -> pd.DataFrame:
    rows = []
    by_name = [*measured.groupby("name", sort=False)]
    for name, of_name in sorted(by_name, key=lambda group: -group[1]["weighted_tau"].mean()):
        held, dev = (of_name[of_name["half"] == half] for half in ("held", "dev"))
        missing = "" if len(of_name) == count else f" ({len(of_name)} targets)"
        rows.append(
            {
                "ranked by": NAMES[name] + missing,
                "weighted τ [95 %]": _tau(of_name),
                "held": f"{held['weighted_tau'].mean():.2f}",
                "dev": f"{dev['weighted_tau'].mean():.2f}",
                "regret": f"{of_name['regret'].mean():.1f}",
                "regret, held": f"{held['regret'].mean():.1f}",
            }
        )
    return pd.DataFrame(rows)


def _by_labels(targets: Sequence[TargetResult], names: Iterable[str], labels: Mapping[str, str]) -> pd.DataFrame:
    """Return weighted τ / regret of estimators (rows) with scores of these keys (title of each column)."""
    ranked = ({name: _measures(targets, name, key) for name in names} for key in labels)
    cells = (_cells(_long(each, targets), _tau_and_regret) for each in ranked)
    return pd.DataFrame(dict(zip(labels.values(), cells, strict=True))).reindex([*names]).fillna("–")
