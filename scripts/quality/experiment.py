"""Run an experiment: score each candidate of a target with all estimators, and fine-tune it with the defaults.

Each score and run is stored immediately, and stored runs are not repeated.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

import hf_emms
from hf_emms.cache import Cache, default_root
from hf_emms.data import Sample, load_sample
from hf_emms.errors import EmmsError
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.hub import resolve
from hf_emms.options import Options
from hf_emms.presets import encoder_presets
from hf_emms.ranking import Ranking, Row
from hf_emms.ranking.progress import Progress
from hf_emms.run.extraction import EngineInput, Extraction, extract
from hf_emms.run.plan import spec_for
from hf_emms.run.rows import search_scores
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.retrieval import SearchScores
from scripts.demo import sources
from scripts.quality import results, targets
from scripts.quality.baselines import BASELINES, airtran
from scripts.quality.candidates import checkpoint
from scripts.quality.pools import BITS, FEWEST, Budget, Candidate, Pool, Target, made, work
from scripts.quality.rows import Split, write

RANDOM_WIDTH = 64
ON_OTHER_LABELS = ("emms_knn", "emms", "logme_flabels")
ON_OTHER_LAYERS = ("emms_knn", "emms", "logme", "logme_flabels", "knn")
# Rows of the ranking before a fine-tuning.
_FEW_ROWS = 100


def folder_of(target: Target, rows: int | None = None) -> Path:
    """Return the dataset folder of a target; write it on first use.

    Args:
        target: The target.
        rows: Maximum number of training rows and of validation rows.
    """

    def make(folder: Path) -> None:
        if target.name in targets.OF_DEMO:
            sources.fetch()
        table = targets.MAKERS[target.name]()
        write(folder, {name: split if name == "test" else _first(split, rows) for name, split in table.items()})

    return made(work() / "targets" / (target.name if rows is None else f"{target.name}-{rows}"), make)


def _first(split: Split, rows: int | None) -> Split:
    return Split({name: values[:rows] for name, values in split.columns.items()}, split.classes)


def places(pool: Pool, target: Target) -> dict[str, str]:
    """Return candidate → id or folder, for candidates with available weights."""
    at_hand = {}
    for candidate in pool.candidates_of(target):
        try:
            at_hand[candidate.name] = checkpoint(candidate.name, target.side)
        except FileNotFoundError as error:
            print(f"{target.name:18s} {candidate.name:27s} left out: {error}", flush=True)
    return at_hand


@cache
def label_sets() -> dict[str, tuple[str, ...]]:
    """Return the sets of label encoders by name."""
    demo = encoder_presets()["demo"]
    return {"demo": demo, **{id.rpartition("-")[2]: (id,) for id in demo}, "minilm": (str(sources.minilm()),)}


# ---- scores ----------------------------------------------------------------------------------------------------------


def score(pool: Pool, names: Collection[str]) -> None:
    """Score the candidates of a pool's targets, and store the scores; empty `names` means all targets."""
    records = results.read(pool)
    for target in pool.targets:
        if names and target.name not in names:
            continue
        try:
            folder_of(target)
        except FileNotFoundError as error:
            print(f"{target.name:18s} left out: {error}", flush=True)
            continue
        before, fresh = records.get(target.name, {}), _scored(pool, target)
        missing = set(before.get("candidates", ())) - set(fresh["candidates"])
        if missing or len(fresh["candidates"]) < FEWEST:
            print(f"{target.name:18s} not stored, without {', '.join(sorted(missing)) or 'enough candidates'}")
            continue
        records[target.name] = fresh | {name: before[name] for name in ("runs", "training_rows") if name in before}
        records[target.name].setdefault("runs", {})
        results.write(pool, {t.name: records[t.name] for t in pool.targets if t.name in records})
        print(f"{target.name:18s} {len(fresh['candidates'])} candidates scored", flush=True)


def _scored(pool: Pool, target: Target) -> dict[str, Any]:
    """Return the record of a target without runs."""
    folders, rows = places(pool, target), dict[str, Row]()
    scores, n, last_layer = dict[str, list[float]](), 0, dict[str, Row]()
    baselines = dict[str, float]()
    for key, settings in _ways(pool, target):
        ranking = rank(pool, target, list(folders.values()), **settings)
        by_folder = {row.checkpoint: row for row in ranking if row.error is None}
        if settings.get("layers") == "last":
            last_layer = by_folder
        elif settings.get("layers") == "mean":  # layers of different widths have no mean
            by_folder = last_layer | by_folder
        if not n:
            n, rows = ranking.n, {name: by_folder[folder] for name, folder in folders.items() if folder in by_folder}
        for baseline in ranking.baselines:
            baselines[baseline.checkpoint.partition(" ")[0]] = _rounded(baseline.scores[ranking.estimators[0]].value)
        for estimator in ranking.estimators:
            values = [by_folder[folders[name]].scores[estimator] for name in rows]
            scores[f"{estimator}|{key}"] = [_rounded(value.value) for value in values]
            if estimator == "emms":
                scores[f"emms_r2|{key}"] = [_rounded(value.details["r2"]) for value in values]
    scores |= _more_scores(pool, target, [folders[name] for name in rows])
    return {
        "task": target.task,
        "half": target.half,
        "measure": target.measure,
        "test_rows": parquet.read_metadata(next((folder_of(target) / "data").glob("test*"))).num_rows,
        "candidates": list(rows),
        "revisions": [row.revision for row in rows.values()],
        "parameters": [row.parameters for row in rows.values()],
        "widths": [row.width for row in rows.values()],
        "scores": scores,
        **({"baselines": baselines} if baselines else {}),
        "seconds": {name: round(row.seconds.features + row.seconds.scoring, 2) for name, row in rows.items()},
    }


def _ways(pool: Pool, target: Target) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield label encoders as a key, and arguments of `rank`; the first is for all pools."""
    yield f"{pool.labels}", {"estimators": pool.estimators_of(target)}
    if pool.page is not None:
        return
    for name, encoders in label_sets().items():
        if name != pool.labels:
            yield f"{name}", {"estimators": ON_OTHER_LABELS, "encoders": encoders}
    for layer in ("last", "mean"):
        yield f"{layer}-layer", {"estimators": ON_OTHER_LAYERS, "layers": layer}


def rank(
    pool: Pool, target: Target, checkpoints: list[str], training_rows: int | None = None, **settings: Any
) -> Ranking:
    """Rank checkpoints for a target with the pool's label encoders and number of rows."""
    defaults = {"encoders": label_sets()[pool.labels], "max_samples": pool.max_samples}
    return hf_emms.rank(
        str(folder_of(target, training_rows)),
        checkpoints,
        task=target.task,
        columns=target.columns,
        split="train",
        device="cpu",
        **{**defaults, **settings},
    )


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _more_scores(pool: Pool, target: Target, checkpoints: list[str]) -> dict[str, list[float]]:
    """Return scores of estimators that hf_emms does not have, and scores with a random vector per label text."""
    is_search = target.task == "text-retrieval"
    if not is_search and pool.page is not None:
        return {}
    options = Options.of(
        str(folder_of(target)),
        task=target.task,
        split="train",
        columns=target.columns,
        max_samples=pool.max_samples,
        device="cpu",
        **({"estimators": ("zero_shot_ndcg",)} if is_search else {}),
    )
    if is_search:
        return {f"airtran|{pool.labels}": [_rounded(airtran(search)) for search in searches(options, checkpoints)]}
    sample = load_sample(options.sample)
    shape = (len(sample.label_texts), RANDOM_WIDTH)
    random = _labels(sample, [np.random.default_rng(0).normal(size=shape).astype(np.float32)])
    embedded = hf_emms.embed_labels(sample.label_texts, label_sets()[pool.labels]).embeddings
    labels = _labels(sample, [*embedded] if sample.label_numbers is None else [*embedded, sample.label_numbers])
    scores = defaultdict[str, list[float]](list)
    for _, extraction in _extracted(options, sample, labels, checkpoints):
        features = extraction.features["spread"][sample.input_of_row]
        for name in ON_OTHER_LABELS:
            value = hf_emms.score(features, random, estimator=name, groups=sample.groups).value
            scores[f"{name}|random"].append(_rounded(value))
        for name, baseline in BASELINES.items():
            if (value := baseline(features, labels, sample.groups)) is not None:
                scores[f"{name}|{pool.labels}"].append(_rounded(value))
    return scores


def searches(options: Options, checkpoints: Iterable[str], tokens: int | None = None) -> Iterator[SearchScores]:
    """Yield the search of a sample's corpus with the embeddings of each checkpoint, of at most this many tokens."""
    sample = load_sample(options.sample)
    labels = _labels(sample, [np.zeros((len(sample.label_texts), 1), np.float32)])  # searches do not use them
    for spec, extraction in _extracted(options, sample, labels, checkpoints, tokens):
        (features,) = extraction.features.values()
        yield search_scores(features, sample, options.scoring, spec.similarity)


def _extracted(
    options: Options, sample: Sample, labels: LabelTable, checkpoints: Iterable[str], tokens: int | None = None
) -> Iterator[tuple[FeatureSpec, Extraction]]:
    parts = (options.features, options.scoring, options.running, Cache(default_root()), Progress())
    for id in checkpoints:
        spec = spec_for(resolve(id, "model"), options, sample.task)
        spec = spec if tokens is None else replace(spec, max_length=tokens)
        yield spec, extract(spec, EngineInput({}, sample, labels, *parts))


def _labels(sample: Sample, embedded: Collection[np.ndarray]) -> LabelTable:
    tables = tuple(table if table is sample.label_numbers else sample.label_embeddings(table) for table in embedded)
    names = tuple(str(place) for place in range(len(tables)))
    return LabelTable(
        sample.codes, tables, names, sample.label_texts if sample.soft_labels is None else (), sample.categorical
    )


# ---- truth -----------------------------------------------------------------------------------------------------------


def fine_tune(pool: Pool, names: Collection[str], budgets: Collection[str], only: Collection[str], again: bool) -> None:
    """Fine-tune the scored candidates of a pool's targets at every budget, and store the runs.

    Args:
        pool: The pool.
        names: Names of targets; empty for all.
        budgets: Names of budgets, likewise.
        only: Names of candidates, likewise.
        again: Repeat stored runs.
    """
    records = results.read(pool)
    chosen = [target for target in pool.targets if target.name in records and (not names or target.name in names)]
    for target, budget in ((t, b) for t in chosen for b in pool.budgets if not budgets or b.name in budgets):
        record = records[target.name]
        runs = record["runs"].setdefault(budget.name, {})
        for candidate in pool.candidates_of(target):
            name = candidate.name
            if name not in record["candidates"] or (only and name not in only) or (name in runs and not again):
                continue
            try:
                runs[name], rows = _runs(pool, target, budget, candidate)
            except (EmmsError, FileNotFoundError) as error:
                print(f"{target.name:18s} {budget.name:6s} {name:27s} left out: {error}", flush=True)
                continue
            record.setdefault("training_rows", {})[budget.name] = rows
            results.write(pool, records)
            tests = ", ".join(f"{run[3]:.1f}" for run in runs[name])
            print(f"{target.name:18s} {budget.name:6s} {name:27s} test {tests}", flush=True)


def _runs(pool: Pool, target: Target, budget: Budget, candidate: Candidate) -> tuple[list[list[Any]], int]:
    """Return the runs of a candidate in the form of `results.FIELDS`, and the number of training rows."""
    ranking = rank(
        pool,
        target,
        [checkpoint(candidate.name, target.side)],
        budget.rows_of(target),
        max_samples=_FEW_ROWS,
        estimators="emms",
        encoders="demo",
        confirm=1,
        epochs=budget.epochs.get(target.task),
        learning_rates=candidate.rates or None,
        seeds=budget.seeds,
    )
    (tuned,) = (row.fine_tuned for row in ranking)
    scale = np.log2 if target.measure == BITS else lambda share: 100 * share
    runs = [
        [
            run.learning_rate,
            run.seed,
            round(100 * (run.validation or 0.0), 2),
            round(float(scale(run.scores[tuned.metric])), 4),
            round(run.seconds, 1),
            run.steps,
            None if run.loss is None else round(run.loss, 4),
            [round(100 * value, 2) for value in run.curve],
        ]
        for run in tuned.runs
        if run.error is None
    ]
    return runs, int(tuned.rows["train"].partition(" ")[0].replace(",", ""))
