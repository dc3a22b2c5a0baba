"""What every estimator makes of every candidate: features through hf_emms and its cache, scores on nested samples."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_emms.cache import Cache, default_root
from hf_emms.data import Sample, load_sample
from hf_emms.data.sampling import balanced_order
from hf_emms.errors import EmmsError
from hf_emms.features.extraction_plan import FeatureInfo
from hf_emms.hub import resolve
from hf_emms.options import Options
from hf_emms.presets import encoder_presets
from hf_emms.ranking.estimators import ESTIMATORS
from hf_emms.run.engines.extraction import extract
from hf_emms.run.label_embeddings import embed_texts
from hf_emms.run.plan import planned_extraction
from hf_emms.scoring.estimators import ScoringInputs
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments
from scripts.demo import sources
from scripts.quality.baselines import BASELINES
from scripts.quality.candidates import checkpoint
from scripts.quality.protocol import ON_SMALL_SAMPLES, ROLES, Candidate, Pool, Target, work
from scripts.quality.truth import folder_of, tuned

# Those of features alone.
OF_FEATURES = tuple(name for name, estimator in ESTIMATORS.items() if not estimator.needs_model)
SETTINGS = Options("unused", estimators=OF_FEATURES, device="cpu", layers=("spread", "last", "mean"))
RANDOM_WIDTH = 64

# sample size → how many draws of it; None is every training row
DRAWS = {200: 2, 500: 1, None: 1}
ON_OTHER_LABELS = ("emms_knn", "emms", "logme_flabels")
ON_OTHER_LAYERS = ("emms_knn", "emms", "logme", "logme_flabels", "knn")
OTHER_LAYERS = ("last", "mean")


@dataclass(frozen=True)
class Setting:
    """One column of the table of scores: an estimator on a label set and a subset."""

    estimator: str
    labels: str
    rows: str
    draw: int

    @property
    def key(self) -> str:
        return f"{self.estimator}|{self.labels}|{self.rows}|{self.draw}"


@dataclass(frozen=True)
class Scored:
    """Scores of one candidate by setting, seconds by estimator (all rows, demo encoders), and its description."""

    values: dict[str, float]
    seconds: dict[str, float]
    about: FeatureInfo


def label_sets() -> dict[str, tuple[str, ...]]:
    """Encoder sets by name; "random" has no encoder: every text gets a random vector."""
    demo = encoder_presets()["demo"]
    singles = {id.rpartition("-")[2]: (id,) for id in demo}
    return {"demo": demo, **singles, "minilm": (str(sources.minilm()),), "random": ()}


def sample_of(target: Target) -> Sample:
    """The training rows of a target as hf_emms reads them."""
    folder = str(folder_of(target))
    return load_sample(Options(folder, task=target.task, split="train", columns=ROLES[target.task], max_samples=None))


def run(pool: Pool, names: set[str] | None = None, missing: bool = False) -> None:
    """Score the candidates that were fine-tuned, one file a target under the work folder.

    Args:
        pool: whose targets.
        names: targets; all by default.
        missing: only candidates that have no scores yet.
    """
    import torch

    torch.set_num_threads(1)
    for target, own in tuned(pool, names):
        start = time.perf_counter()
        path = scores_path(target)
        found = json.loads(path.read_text(encoding="utf-8")) if missing and path.exists() else {}
        waiting = [candidate for candidate in own if candidate.name not in found]
        path.parent.mkdir(exist_ok=True)
        for candidate, scored in score(pool, target, waiting):
            about = scored.about
            found[candidate.name] = {
                "parameters": about.parameters,
                "width": about.width,
                "scores": scored.values,
                "seconds": scored.seconds,
            }
            path.write_text(json.dumps(found), encoding="utf-8")
        print(f"{target.name:15s} {len(waiting)} candidates scored in {time.perf_counter() - start:.0f} s", flush=True)


def scores_path(target: Target) -> Path:
    """The file of a target's scores."""
    return work() / "scores" / f"{target.name}.json"


def score(pool: Pool, target: Target, candidates: list[Candidate]) -> Iterator[tuple[Candidate, Scored]]:
    """Candidates of a pool's target, scored by everything."""
    if not candidates:
        return
    sample = sample_of(target)
    cache = Cache(default_root())
    labels = {name: _labels(name, encoders, sample, cache) for name, encoders in label_sets().items()}
    for candidate in candidates:
        try:
            repo = resolve(checkpoint(candidate.name, target.side), "model")
            extraction = extract(
                planned_extraction(repo, SETTINGS, sample.task), sample, labels["demo"], SETTINGS, cache
            )
        except EmmsError as error:
            print(f"{target.name:15s} {candidate.name:27s} left out: {error.message}", flush=True)
            continue
        features = {layer: of_layer[sample.input_of_row] for layer, of_layer in extraction.features.items()}
        values, seconds = _scores(features, labels, sample, pool.labels)
        yield candidate, Scored(values, seconds, extraction.info["spread"])


def candidate_labels(sample: Sample, cache: Cache) -> LabelTable:
    """The labels that features are extracted with."""
    return _labels("demo", label_sets()["demo"], sample, cache)


def some_rows(sample: Sample, most: int) -> np.ndarray:
    """Rows at equal distances, at most so many: int64 (n,)."""
    return np.arange(len(sample))[:: -(-len(sample) // most)]


def scoring_inputs(features: np.ndarray, labels: LabelTable, groups: np.ndarray) -> ScoringInputs:
    """What estimators take, with all rows."""
    moments = Moments.like(labels, features.shape[1], folds=SETTINGS.folds, seed=SETTINGS.seed)
    moments.update(features, labels, groups)
    return ScoringInputs(moments, features, labels, groups)


def pool_labels(pool: Pool, sample: Sample, cache: Cache) -> LabelTable:
    """The labels that every estimator runs with."""
    return _labels(pool.labels, label_sets()[pool.labels], sample, cache)


def _labels(name: str, encoders: tuple[str, ...], sample: Sample, cache: Cache) -> LabelTable:
    if encoders:
        tables = [sample.label_embeddings(_table(encoder, sample, cache)) for encoder in encoders]
    else:
        shape = (len(sample.label_texts), RANDOM_WIDTH)
        tables = [sample.label_embeddings(np.random.default_rng(0).normal(size=shape).astype(np.float32))]
    names = [*encoders] or [name]
    if sample.label_numbers is not None and encoders:
        tables.append(sample.label_numbers)
        names.append(sample.numbers_name)
    texts = sample.label_texts if sample.soft_labels is None else ()
    return LabelTable(sample.codes, tuple(tables), tuple(names), texts, sample.categorical)


def _table(encoder: str, sample: Sample, cache: Cache) -> np.ndarray:
    repo = resolve(encoder, "model")
    texts = hashlib.sha256("\0".join(sample.label_texts).encode()).hexdigest()
    key = {"id": repo.id, "revision": repo.revision, "texts": texts, "for": "ranking quality"}
    stored = cache.get("labels", key, lambda stored: stored["table"])
    if stored is not None:
        return stored
    table = embed_texts(repo, sample.label_texts, device="cpu")
    cache.put("labels", key, {"table": table})
    return table


def _scores(
    layers: dict[str, np.ndarray], labels: dict[str, LabelTable], sample: Sample, chosen: str
) -> tuple[dict[str, float], dict[str, float]]:
    values: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for size, draws in DRAWS.items():
        if size is not None and size >= len(sample):
            continue
        for draw in range(draws):
            rows = np.arange(len(sample)) if size is None else _drawn(sample, size, draw)
            size_name = "all" if size is None else str(size)
            subset = _Subset(layers["spread"][rows], sample.groups[rows], size_name, draw, chosen)
            for name, table in labels.items():
                if size is None or name == chosen:
                    _estimate(subset, name, table.take(rows), values, seconds)
            if size is None:
                _add_baselines(subset, labels[chosen], values, seconds)
    for layer in OTHER_LAYERS:
        # a family that shows no hidden layers has its last one only
        subset = _Subset(layers.get(layer, layers["last"]), sample.groups, "all", 0, chosen)
        _estimate(subset, f"{layer}-layer", labels[chosen], values, seconds)
    return values, seconds


@dataclass(frozen=True)
class _Subset:
    features: np.ndarray
    groups: np.ndarray
    rows: str
    draw: int
    chosen: str  # the label set of all estimators

    def key(self, estimator: str, labels: str) -> str:
        return Setting(estimator, labels, self.rows, self.draw).key


def _estimate(
    subset: _Subset, name: str, labels: LabelTable, values: dict[str, float], seconds: dict[str, float]
) -> None:
    inputs = scoring_inputs(subset.features, labels, subset.groups)
    chosen = {f"{layer}-layer": ON_OTHER_LAYERS for layer in OTHER_LAYERS}
    chosen[subset.chosen] = OF_FEATURES if subset.rows == "all" else ON_SMALL_SAMPLES
    for estimator in chosen.get(name, ON_OTHER_LABELS):
        if estimator == "hscore" and not labels.categorical:
            continue
        start = time.perf_counter()
        result = ESTIMATORS[estimator].score(inputs)
        values[subset.key(estimator, name)] = result.value
        if subset.rows == "all" and name == subset.chosen:
            seconds[estimator] = time.perf_counter() - start
        if estimator == "emms":
            values[subset.key("emms_r2", name)] = result.details["r2"]


def _add_baselines(subset: _Subset, labels: LabelTable, values: dict[str, float], seconds: dict[str, float]) -> None:
    for name, baseline in BASELINES.items():
        start = time.perf_counter()
        value = baseline(subset.features, labels, subset.groups)
        if value is not None:
            values[subset.key(name, subset.chosen)] = value
            seconds[name] = time.perf_counter() - start


def _drawn(sample: Sample, size: int, draw: int) -> np.ndarray:
    """Rows as hf_emms draws them: evenly over classes where there are any."""
    keys = np.random.default_rng(1_000 + draw).integers(0, 2**63, len(sample)).astype(np.uint64)
    order = balanced_order(keys, sample.codes) if sample.categorical else np.argsort(keys)
    return np.sort(order[:size])
