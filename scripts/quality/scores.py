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
from hf_emms.engines.extraction import FeatureInfo, extract
from hf_emms.errors import EmmsError
from hf_emms.features.label_embeddings import embed_texts
from hf_emms.hub import resolve
from hf_emms.options import Options
from hf_emms.presets import encoder_preset
from hf_emms.scoring.estimators import ESTIMATORS, ScoringInputs
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments
from scripts.demo import sources
from scripts.quality.baselines import BASELINES
from scripts.quality.candidates import checkpoint
from scripts.quality.problems import folder_of
from scripts.quality.protocol import GOALS, ON_SMALL_SAMPLES, Entrant, Goal, pool, work
from scripts.quality.truth import finished

SETTINGS = Options("unused", estimators=tuple(ESTIMATORS), device="cpu", layers=("spread", "last", "mean"))
RANDOM_WIDTH = 64

ROLES = {
    "image-classification": {"image": "image", "label": "label"},
    "image-to-text": {"image": "image", "text": "caption"},
    "text-classification": {"text": "text", "label": "label"},
    "question-answering": {"question": "question", "context": "context", "answer": "answers"},
    "visual-question-answering": {"image": "image", "question": "question", "answer": "answer"},
    "referring-expression": {"image": "image", "expression": "expression", "box": "box"},
}

# sample size → how many draws of it; None is every training row
DRAWS = {200: 2, 500: 1, None: 1}
ON_OTHER_LABELS = ("emms_knn", "emms", "logme_flabels")
ON_OTHER_LAYERS = ("emms_knn", "emms", "logme", "logme_flabels", "knn")
OTHER_LAYERS = ("last", "mean")


@dataclass(frozen=True)
class Setting:
    """One column of the table of scores: an estimator on a label set and a sample."""

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
    demo = encoder_preset("demo")
    singles = {id.rpartition("-")[2]: (id,) for id in demo}
    return {"demo": demo, **singles, "minilm": (str(sources.MINILM),), "random": ()}


def target_of(goal: Goal) -> Sample:
    """The training rows of a target as hf_emms reads them."""
    folder = str(folder_of(goal))
    return load_sample(Options(folder, task=goal.task, split="train", columns=ROLES[goal.task], max_samples=None))


def run(names: set[str] | None = None, missing: bool = False) -> None:
    """Score the candidates that were fine-tuned, one file a target under the work folder.

    Args:
        names: targets; all by default.
        missing: only candidates that have no scores yet.
    """
    import torch

    torch.set_num_threads(1)
    tuned = {(record["target"], record["candidate"]) for record in finished()}
    for goal in GOALS:
        if names is not None and goal.name not in names:
            continue
        start = time.perf_counter()
        path = scores_path(goal)
        found = json.loads(path.read_text(encoding="utf-8")) if missing and path.exists() else {}
        waiting = [e for e in pool(goal) if (goal.name, e.name) in tuned and e.name not in found]
        path.parent.mkdir(exist_ok=True)
        for entrant, scored in score(goal, waiting):
            about = scored.about
            found[entrant.name] = {
                "parameters": about.parameters,
                "width": about.width,
                "scores": scored.values,
                "seconds": scored.seconds,
            }
            path.write_text(json.dumps(found), encoding="utf-8")
        print(f"{goal.name:15s} {len(waiting)} candidates scored in {time.perf_counter() - start:.0f} s", flush=True)


def scores_path(goal: Goal) -> Path:
    """Where a target's scores are kept."""
    return work() / "scores" / f"{goal.name}.json"


def score(goal: Goal, entrants: list[Entrant]) -> Iterator[tuple[Entrant, Scored]]:
    """Candidates of a target, scored by everything."""
    if not entrants:
        return
    target = target_of(goal)
    cache = Cache(default_root())
    labels = {name: _labels(name, encoders, target, cache) for name, encoders in label_sets().items()}
    for entrant in entrants:
        try:
            repo = resolve(checkpoint(entrant.name), "model")
            layers = extract(repo, target, labels["demo"], SETTINGS, cache).layers
        except EmmsError as error:
            print(f"{goal.name:15s} {entrant.name:27s} left out: {error.message}", flush=True)
            continue
        features = {name: layer.features[target.input_of_row] for name, layer in layers.items()}
        values, seconds = _scores(features, labels, target)
        yield entrant, Scored(values, seconds, layers["spread"].about)


def _labels(name: str, encoders: tuple[str, ...], target: Sample, cache: Cache) -> LabelTable:
    if encoders:
        tables = [target.mixed(_table(encoder, target, cache)) for encoder in encoders]
    else:
        shape = (len(target.label_texts), RANDOM_WIDTH)
        tables = [target.mixed(np.random.default_rng(0).normal(size=shape).astype(np.float32))]
    names = [*encoders] or [name]
    if target.label_numbers is not None and encoders:
        tables.append(target.label_numbers)
        names.append(target.numbers_name)
    texts = target.label_texts if target.mixtures is None else ()
    return LabelTable(target.codes, tuple(tables), tuple(names), texts, target.categorical)


def _table(encoder: str, target: Sample, cache: Cache) -> np.ndarray:
    repo = resolve(encoder, "model")
    texts = hashlib.sha256("\0".join(target.label_texts).encode()).hexdigest()
    key = {"id": repo.id, "revision": repo.revision, "texts": texts, "for": "ranking quality"}
    stored = cache.get("labels", key)
    if stored is not None:
        return stored["table"]
    table = embed_texts(repo, target.label_texts, device="cpu")
    cache.put("labels", key, {"table": table})
    return table


def _scores(
    layers: dict[str, np.ndarray], labels: dict[str, LabelTable], target: Sample
) -> tuple[dict[str, float], dict[str, float]]:
    values: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for size, draws in DRAWS.items():
        if size is not None and size >= len(target):
            continue
        for draw in range(draws):
            rows = np.arange(len(target)) if size is None else _drawn(target, size, draw)
            sample = _Sample(layers["spread"][rows], target.groups[rows], "all" if size is None else str(size), draw)
            for name, table in labels.items():
                if size is None or name == "demo":
                    _estimate(sample, name, table.take(rows), values, seconds)
            if size is None:
                _add_baselines(sample, labels["demo"], values, seconds)
    for layer in OTHER_LAYERS:
        # a family that shows no hidden layers has its last one only
        sample = _Sample(layers.get(layer, layers["last"]), target.groups, "all", 0)
        _estimate(sample, f"{layer}-layer", labels["demo"], values, seconds)
    return values, seconds


@dataclass(frozen=True)
class _Sample:
    features: np.ndarray
    groups: np.ndarray
    rows: str
    draw: int

    def key(self, estimator: str, labels: str) -> str:
        return Setting(estimator, labels, self.rows, self.draw).key


def _estimate(
    sample: _Sample, name: str, labels: LabelTable, values: dict[str, float], seconds: dict[str, float]
) -> None:
    moments = Moments.like(labels, sample.features.shape[1], folds=SETTINGS.folds, seed=SETTINGS.seed)
    moments.update(sample.features, labels, sample.groups)
    evidence = ScoringInputs(moments, sample.features, labels, sample.groups)
    chosen = {f"{layer}-layer": ON_OTHER_LAYERS for layer in OTHER_LAYERS}
    chosen["demo"] = tuple(ESTIMATORS) if sample.rows == "all" else ON_SMALL_SAMPLES
    for estimator in chosen.get(name, ON_OTHER_LABELS):
        if estimator == "hscore" and not labels.categorical:
            continue
        start = time.perf_counter()
        result = ESTIMATORS[estimator].score(evidence)
        values[sample.key(estimator, name)] = result.value
        if sample.rows == "all" and name == "demo":
            seconds[estimator] = time.perf_counter() - start
        if estimator == "emms":
            values[sample.key("emms_r2", name)] = result.details["r2"]


def _add_baselines(sample: _Sample, labels: LabelTable, values: dict[str, float], seconds: dict[str, float]) -> None:
    for name, baseline in BASELINES.items():
        start = time.perf_counter()
        value = baseline(sample.features, labels, sample.groups)
        if value is not None:
            values[sample.key(name, "demo")] = value
            seconds[name] = time.perf_counter() - start


def _drawn(target: Sample, size: int, draw: int) -> np.ndarray:
    """Rows as hf_emms draws them: evenly over classes where there are any."""
    keys = np.random.default_rng(1_000 + draw).integers(0, 2**63, len(target)).astype(np.uint64)
    order = balanced_order(keys, target.codes) if target.categorical else np.argsort(keys)
    return np.sort(order[:size])
