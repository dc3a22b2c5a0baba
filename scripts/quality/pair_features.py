"""How well a linear model on features of pairs does, by how two texts are read: docs/rank-pairs-and-tokens.md.

python -m scripts.quality.pair_features DATASET ROWS CHECKPOINT…
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_emms.data import Sample, load_sample
from hf_emms.features.device import in_order
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.hub import Repo, resolve
from hf_emms.inputs import TEXT, TEXT_PAIR, InputKind, Pairs
from hf_emms.options import Options

_FOLDS, _RIDGES = 4, np.logspace(0, 5, 11)


def features(repo: Repo, pairs: Pairs) -> Iterator[tuple[str, np.ndarray]]:
    """The ways of reading two texts, and the features of all pairs."""
    together = _extracted(repo, TEXT_PAIR, pairs)
    yield "together, [u, v]", together
    yield "together, [u, v, |u - v|, u * v]", _compared(*np.split(together, 2, axis=1))
    apart = (_extracted(repo, TEXT, texts) for texts in (pairs.firsts, pairs.seconds))
    u, v = (rows[pairs.parts[:, side]] for side, rows in enumerate(apart))
    yield "two passes, [u, v, |u - v|, u * v]", _compared(u, v)


def held_out(rows: np.ndarray, sample: Sample) -> float:
    """Accuracy of classes, Spearman of scores: mean over folds that share no first text."""
    values = None if sample.label_values is None else sample.label_values[sample.codes, 0]
    targets = np.eye(sample.codes.max() + 1)[sample.codes] if values is None else values
    scores = []
    for train, test in GroupKFold(_FOLDS).split(rows, groups=sample.groups):
        model = make_pipeline(StandardScaler(), RidgeCV(_RIDGES)).fit(rows[train], targets[train])
        predicted = model.predict(rows[test])
        if values is None:
            scores.append(np.mean(predicted.argmax(1) == sample.codes[test]))
        else:
            scores.append(spearmanr(predicted, values[test]).statistic)
    return float(np.mean(scores))


def _extracted(repo: Repo, kind: InputKind, inputs: Any) -> np.ndarray:
    extractor = kind.load_extractor(plan_extraction(repo, kind, "pairs"), device="cpu")
    return in_order(extractor.batches(inputs), len(inputs))


def _compared(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.concatenate([u, v, np.abs(u - v), u * v], axis=1)


def main() -> None:
    dataset, rows, *checkpoints = sys.argv[1:]
    sample = load_sample(Options.of(dataset, max_samples=int(rows)))
    assert isinstance(sample.inputs, Pairs), "a dataset of pairs"
    for checkpoint in checkpoints:
        for name, of_inputs in features(resolve(checkpoint, "model"), sample.inputs):
            print(f"{checkpoint}\t{name}\t{held_out(of_inputs[sample.input_of_row], sample):.3f}", flush=True)


if __name__ == "__main__":
    main()
