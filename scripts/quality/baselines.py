"""Estimators of the literature that hf_emms does not have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import softmax
from scipy.stats import spearmanr

from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.neighbors import knn
from hf_emms.scoring.retrieval import SearchScores
from hf_emms.scoring.standardize import standardize_rows
from scripts.bench.scoring import label_columns, plain_logme

TRANSRATE_DISTORTION = 1e-4
PARC_ROWS = 500
SFDA_STRENGTH = 5.0
PROBE_STRENGTH = 0.1
AIRTRAN_CANDIDATES = 5
FOLDS = 5


def linear_probe(features: np.ndarray, labels: LabelTable, groups: np.ndarray) -> float | None:
    """Return the held-out accuracy of a logistic regression, with folds by group; None without classes."""
    if not labels.categorical:
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(C=PROBE_STRENGTH, max_iter=300, tol=1e-3))
    guesses = cross_val_predict(model, features, labels.codes, groups=groups, cv=GroupKFold(FOLDS))
    return float(np.mean(guesses == labels.codes))


def transrate(features: np.ndarray, labels: LabelTable, groups: np.ndarray) -> float | None:
    """Return TransRate (Huang et al., ICML 2022, arXiv 2106.09362); None without classes."""
    if not labels.categorical:
        return None
    centered = features.astype(np.float64) - features.mean(axis=0)
    classes = np.unique(labels.codes)
    within = np.mean([_coding_rate(centered[labels.codes == label]) for label in classes])
    return _coding_rate(centered) - float(within)


def _coding_rate(rows: np.ndarray) -> float:
    """Half the log determinant of I + XᵀX / (n·ε), from the smaller of the two Gram matrices."""
    gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
    gram /= len(rows) * TRANSRATE_DISTORTION
    return 0.5 * float(np.linalg.slogdet(np.eye(len(gram)) + gram)[1])


def parc(features: np.ndarray, labels: LabelTable, groups: np.ndarray) -> float:
    """Return PARC (Bolya et al., NeurIPS 2021, arXiv 2111.06977): the correlation of distances in features and labels.

    Labels are one-hot classes, or the first label embedding of texts.
    """
    rows = slice(0, PARC_ROWS)
    codes = labels.codes[rows]
    marks = np.eye(labels.n_texts)[codes] if labels.categorical else labels.tables[0][codes]
    upper = np.triu_indices(len(codes), 1)
    distances = [1.0 - np.corrcoef(values)[upper] for values in (features[rows].astype(np.float64), marks)]
    return 100.0 * float(spearmanr(*distances).statistic)


def sfda(features: np.ndarray, labels: LabelTable, groups: np.ndarray) -> float | None:
    """Return SFDA (Shao et al., ECCV 2022, arXiv 2207.03036); None without classes.

    The Fisher space consists of linear discriminants with a shrunk scatter within classes. Each row moves towards the
    mean of the other classes, further if its class is less certain. The score is the mean probability of the class.
    """
    if not labels.categorical:
        return None
    codes = np.unique(labels.codes, return_inverse=True)[1]
    x = features.astype(np.float64)
    within = _within(x, codes)
    shrinkage = max(float(np.exp(-SFDA_STRENGTH * np.linalg.norm(within, 2))), np.finfo(np.float64).eps)
    sure = softmax(_discriminants(x, codes, within, shrinkage), axis=1)[np.arange(len(x)), codes, None]
    means = _class_means(x, codes)
    others = (means.sum(axis=0) - means) / (len(means) - 1)
    x = sure * x + (1.0 - sure) * others[codes]
    return float(_discriminants(x, codes, _within(x, codes), shrinkage)[np.arange(len(x)), codes].mean())


def _class_means(x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    return np.stack([x[codes == label].mean(axis=0) for label in range(codes.max() + 1)])


def _within(x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    centered = x - _class_means(x, codes)[codes]
    return centered.T @ centered / len(x)


def _discriminants(x: np.ndarray, codes: np.ndarray, within: np.ndarray, shrinkage: float) -> np.ndarray:
    """Probabilities of the classes by linear discriminants, (N, classes)."""
    scatter = (1.0 - shrinkage) * within + shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    means = _class_means(x, codes)
    directions = means @ np.linalg.pinv(scatter, hermitian=True)
    offsets = np.log(np.bincount(codes) / len(codes)) - 0.5 * (directions * means).sum(axis=1)
    return softmax(x @ directions.T + offsets, axis=1)


def logme_common(features: np.ndarray, labels: LabelTable, groups: np.ndarray) -> float:
    """Return LogME as widespread code has it, on one-hot classes, or on label embeddings where there are none."""
    return plain_logme(features, np.eye(labels.n_texts)[labels.codes] if labels.categorical else label_columns(labels))


def knn_flabels(features: np.ndarray, labels: LabelTable, groups: np.ndarray) -> float:
    """Return k-NN on standardized features and label embeddings, the neighbors' half of `emms_knn`."""
    return knn(standardize_rows(features)[0], replace(labels, categorical=False), groups)[0]


def airtran(search: SearchScores) -> float:
    """Return AiRTran (Bai et al., EMNLP 2024, arXiv 2409.16198), the expected reciprocal rank after scaling.

    Queries and documents are whitened together, x̂ = Λ^-½ Uᵀ (x - μ). Least squares of the relevance on the products
    of their dimensions, y ≈ b + Σ_d γ_d q̂_d ĉ_d, scales the dimensions. The predictions rank the document of each query
    among its candidates, in the sample of the fit. The score is the mean of 1 / rank. As in the authors' code, a query
    has five candidates: its document, and four documents of the corpus that do not answer it.
    """
    documents = len(search.documents)
    whitened = _whitened(np.concatenate([search.queries, search.documents]), len(search.queries))
    queries, corpus = whitened[: len(search.queries)], whitened[len(search.queries) :]
    judged = np.zeros((len(queries), documents), bool)
    judged[tuple(search.judgments[search.judgments[:, 2] != 0, :2].T)] = True
    rng = np.random.default_rng(0)
    others = [
        rng.choice(np.flatnonzero(~judged[query]), AIRTRAN_CANDIDATES - 1, replace=False)
        for query in search.relevant[:, 0]
    ]
    candidates = np.column_stack([search.relevant[:, 1], others])
    products = queries[search.relevant[:, 0], None] * corpus[candidates]
    products -= products.mean(axis=(0, 1))
    relevance = np.zeros(candidates.shape)
    relevance[:, 0] = 1
    scales = np.linalg.lstsq(products.reshape(relevance.size, -1), relevance.ravel() - relevance.mean(), rcond=None)[0]
    predicted = products @ scales
    return float(np.mean(1 / (1 + (predicted[:, 1:] > predicted[:, :1]).sum(axis=1))))


def _whitened(x: np.ndarray, most: int) -> np.ndarray:
    """Principal components of unit variance, (N, at most `most`)."""
    centered = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    left, scales, _ = np.linalg.svd(centered, full_matrices=False)
    return np.sqrt(len(x) - 1) * left[:, :most][:, scales[:most] > np.finfo(np.float32).eps * scales[0]]


BASELINES = {
    "linear_probe": linear_probe,
    "transrate": transrate,
    "sfda": sfda,
    "parc": parc,
    "knn_flabels": knn_flabels,
    "logme_common": logme_common,
}
