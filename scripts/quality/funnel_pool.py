"""Pretrain, score and fine-tune the funnel's pools of 80 micro checkpoints, one checkpoint after the other.

Results of a finished checkpoint are stored immediately, so a part of the pool is a random sample of it. The order, the
checkpoints and the targets are fixed by seeds. A run continues where the last one ended, on this machine or another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import hf_emms
from hf_emms.cache.files import write_atomic
from hf_emms.run.recommend import FIRST_ROWS
from scripts.demo import data, sources
from scripts.demo.tables import png
from scripts.quality import targets
from scripts.quality.funnel_checkpoints import KNOWN_OBJECTS, MODALITIES, SEED, Modality, objects, on_ground, shrunk
from scripts.quality.pools import made, work
from scripts.quality.results import PACKAGES
from scripts.quality.rows import Table, split_rows, write
from scripts.quality.targets import Make

ESTIMATORS = ("emms_knn", "emms", "logme", "knn")
RATES, EPOCHS = (1e-3, 4e-3), 3
TENTH, TWO_SEEDS = 8, 15  # checkpoints that choose the learning rate, and the best of a target that get another seed
ALL = "all"  # rows
_QUESTIONS = ("abbreviation", "entity", "description", "human", "location", "number")
# Arguments of `targets.hub`: id, configuration, splits, classes.
TREC = ("CogComp/trec", "default", ("train", "test"), _QUESTIONS)
SST2 = ("nyu-mll/glue", "sst2", ("train", "validation"), ("negative", "positive"))
CLINC = ("clinc/clinc_oos", "full", ("train", "validation", "test"))
Targets = Mapping[str, tuple[str, Make]]


def _fashion() -> Table:
    images, labels = sources.fashion_mnist("t10k")
    return _pictures([*images], labels, data.FASHION_CLASSES, (2_000, 400, 3_000))


def _digits() -> Table:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    grey = (images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return _pictures([*grey], labels, [str(digit) for digit in range(10)], (1_000, 200, 590))


def _other_objects() -> Table:
    images, labels = objects()
    kept = np.flatnonzero(~np.isin(labels, KNOWN_OBJECTS))
    classes = ["dog", "frog", "horse", "ship", "truck"]
    shown = [np.asarray(images[place].convert("RGB")) for place in kept]
    return _pictures(shown, labels[kept] - len(KNOWN_OBJECTS), classes, (1_200, 300, 1_000))


def _clipart() -> Table:
    folders, drawn = sources.clipart_pictures()
    rng = np.random.default_rng(SEED)
    labels = [sources.CLIPART_FOLDERS.index(folder) for folder in folders]
    images = [shrunk(on_ground(picture, rng)) for picture in drawn]
    return _pictures(images, labels, sources.CLIPART_FOLDERS, (1_200, 200, 850))


def _pictures(
    images: Sequence[np.ndarray], labels: Sequence[int], classes: Sequence[str], counts: tuple[int, int, int]
) -> Table:
    from PIL import Image

    rows = {"image": [png(Image.fromarray(image)) for image in images], "label": [int(label) for label in labels]}
    return split_rows(rows, classes=classes, seed=SEED, counts=counts)


def _sentences(text: str, label: str, *place: Any, counts: tuple[int, int, int]) -> Make:
    return partial(targets.hub, {"text": text, "label": label}, *place, seed=SEED, counts=counts)


# modality → target → half, function that makes its rows
TARGETS: dict[str, Targets] = {
    "images": {
        "fashion": ("dev", _fashion),
        "digits": ("dev", _digits),
        "other-objects": ("held", _other_objects),
        "clipart": ("held", _clipart),
    },
    "texts": {
        "trec": ("dev", _sentences(*("text", "coarse_label"), *TREC, counts=(2_000, 400, 3_000))),
        "glosses": ("dev", targets.glosses),
        "sst2": ("held", _sentences(*("sentence", "label"), *SST2, counts=(2_000, 400, 3_000))),
        "clinc": ("held", _sentences(*("text", "intent"), *CLINC, counts=(3_000, 600, 3_000))),
    },
}


@dataclass(frozen=True)
class FunnelPool:
    """A pool in progress: its checkpoints, its targets, and the file of its results."""

    modality: Modality
    targets: Targets
    file: Path

    def read(self) -> dict[str, Any]:
        """Return the results: `rates`, name → rate → mean validation score; `checkpoints`, name → content."""
        stored = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        return {"rates": {}, "checkpoints": {}} | stored

    def _write(self, record: Mapping[str, Any]) -> None:
        about = {
            "halves": {name: half for name, (half, _) in self.targets.items()},
            "run": ("rate", "seed", "validation", "test"),
            "versions": {name: metadata.version(name) for name in PACKAGES},
        }
        text = json.dumps({"protocol": about, **{key: record[key] for key in ("rates", "checkpoints")}})
        for name in record["checkpoints"]:
            text = text.replace(f'"{name}": {{"parameters"', f'\n"{name}": {{"parameters"')
        write_atomic(self.file, text + "\n")

    def run(self, names: Sequence[str] | None = None) -> None:
        """Measure all checkpoints that the results lack; then fine-tune the best of each target with a second seed."""
        record, order = self.read(), list(names or self.modality.names())
        for name in order[:TENTH]:
            if name not in record["rates"]:
                record["rates"][name] = self._by_rate(name)
                self._write(record)
        rate = max(RATES, key=lambda rate: np.mean([values[str(rate)] for values in record["rates"].values()]))
        for name in order:
            if name not in record["checkpoints"]:
                record["checkpoints"][name] = self._measured(name, rate)
                self._write(record)
                print(f"{len(record['checkpoints'])} of {len(order)}: {name}", flush=True)
        for target in self.targets:
            found = {name: about["targets"][target]["runs"] for name, about in record["checkpoints"].items()}
            for name in sorted(found, key=lambda name: -found[name][0][3])[:TWO_SEEDS]:
                if len(found[name]) == 1:
                    found[name][:] = _runs(self._rank(name, target, rates=(rate,), seeds=2))
                    self._write(record)

    def _by_rate(self, name: str) -> dict[str, float]:
        """Return rate → validation score, the mean over dev targets."""
        dev = [target for target, (half, _) in self.targets.items() if half == "dev"]
        runs = [run for target in dev for run in _runs(self._rank(name, target, FIRST_ROWS, RATES))]
        return {str(rate): round(float(np.mean([run[2] for run in runs if run[0] == rate])), 4) for rate in RATES}

    def _measured(self, name: str, rate: float) -> dict[str, Any]:
        """Return the parameters of a checkpoint, and its scores and fine-tuning on each target."""
        by_target, parameters = {}, 0
        for target in self.targets:
            few, every = self._rank(name, target, FIRST_ROWS), self._rank(name, target, rates=(rate,))
            rows = {FIRST_ROWS: few.best, ALL: every.best}
            parameters = few.best.parameters
            by_target[target] = {
                "rows": every.n,
                "scores": {
                    str(key): {estimator: _rounded(row.scores[estimator].value) for estimator in ESTIMATORS}
                    for key, row in rows.items()
                },
                "folds": [_rounded(value) for value in few.best.scores[ESTIMATORS[0]].folds],
                "runs": _runs(every),
            }
        return {"parameters": parameters, "targets": by_target}

    def _rank(
        self, name: str, target: str, rows: int | None = None, rates: Sequence[float] = (), seeds: int = 1
    ) -> hf_emms.Ranking:
        """Rank one checkpoint, and fine-tune it if there are learning rates."""
        folder = made(work() / "funnel" / "targets" / target, lambda folder: write(folder, self.targets[target][1]()))
        kind = self.modality.kind
        tuning = {"confirm": 1, "learning_rates": tuple(rates), "seeds": seeds, "epochs": EPOCHS} if rates else {}
        return hf_emms.rank(
            str(folder),
            [str(self.modality.checkpoint(name))],
            task=f"{kind}-classification",
            columns={kind: kind, "label": "label"},
            split="train",
            max_samples=rows,
            encoders="demo",
            estimators=ESTIMATORS,
            device="cpu",
            **tuning,
        )


def _runs(ranking: hf_emms.Ranking) -> list[list[float]]:
    (tuned,) = (row.fine_tuned for row in ranking)
    scores = [(run.validation or 0.0, run.scores[tuned.metric]) for run in tuned.runs]
    return [
        [run.learning_rate, run.seed, *(round(100 * value, 4) for value in pair)]
        for run, pair in zip(tuned.runs, scores, strict=True)
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def funnel_pool(modality: str) -> FunnelPool:
    """Return the pool of "images" or "texts"."""
    return FunnelPool(
        MODALITIES[modality], TARGETS[modality], Path(__file__).with_name("results") / f"funnel-{modality}.json"
    )
