"""Score arrays of features with labels as embeddings, class ids or texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError, check_type
from hf_emms.formatting import pluralize
from hf_emms.options import DEFAULT_ESTIMATORS, device_text, several
from hf_emms.options.calls import checked_call
from hf_emms.ranking.estimators import get_estimator
from hf_emms.scoring import EmmsResult, Score
from hf_emms.scoring import estimators as scoring
from hf_emms.scoring.arrays import as_numpy
from hf_emms.scoring.estimators import EstimatorList
from hf_emms.scoring.labels import LabelTable, are_classes
from hf_emms.scoring.moments import Moments
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    from hf_emms.hub import Repo

# The default estimator of moments, which have no rows for neighbors.
_OF_MOMENTS = "emms"

_NAMES_HINT = 'pass the texts of the ids: class_names=dataset.features["label"].names'


@checked_call
def score(
    features: Any,
    labels: Any = None,
    *,
    estimator: str | None = None,
    encoders: str | Iterable[str] | None = None,
    groups: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> Score:
    """Return the score of features: how well they explain the labels. Higher is better.

    For EMMS, 0 is perfect. With standardized features X (N, D1) and label embeddings Z_k (N, D2), the score is
    −min ‖XW − Σ_k t_k Z_k‖² / (N·D2) over W and t on the simplex. Source: Meng et al. 2023 (arXiv 2308.06262),
    equation 3. "emms_knn" and "emms" use the residuals of held-out rows.

    Args:
        features: (N, D1), NumPy or torch, one row per example. Or `Moments`, which include labels and folds, for
            estimators that need sums only.
        labels: The label embeddings (F-labels): (N, D2), (N, K, D2), a list of K arrays (N, D2_k), or a `LabelTable`.
            Or class ids, integers (N,), or texts (N,), which `encoders` embed. Without encoders, class ids and
            repeated texts are classes, with one-hot label embeddings.
        estimator: "emms_knn" (EMMS, held out, ridge and 3 nearest rows, the default), "emms" (ridge alone, the default
            for moments), "emms_exact" (the paper's objective at its optimum), "emms_one_pass" (the official function
            without its factor D2²), "emms_alternating" (the paper's Algorithm 1), "logme", "logme_flabels", "hscore",
            "knn", or an estimator of a plugin.
        encoders: The encoders of texts, see `embed_labels`.
        groups: (N,) ids. All rows of a group are in the same fold, such as five captions of an image. By default rows
            with equal features form a group. To compare checkpoints on the same folds, pass the same ids for each, such
            as range(N).
        folds: The number of folds of held-out scores, at least 2. Other estimators ignore it.
        seed: The seed of the assignment of groups to folds.

    Returns:
        The score. For EMMS an `EmmsResult`.

    Raises:
        EmmsError: The input is NaN, infinite, empty, non-numeric or mismatched, the estimator is unknown or cannot
            score this input, or there are too few rows or groups.

    Examples:
        >>> import numpy as np
        >>> classes = np.arange(100) % 3
        >>> features = np.eye(3)[classes] + 0.1 * np.random.default_rng(0).normal(size=(100, 3))
        >>> float(score(features, classes, estimator="knn"))
        1.0
    """
    name = estimator or (_OF_MOMENTS if isinstance(features, Moments) else DEFAULT_ESTIMATORS[0])
    if isinstance(features, Moments):
        if labels is not None or groups is not None or encoders is not None:
            raise EmmsError(
                "settings-exclude-each-other", "moments include labels and groups", "pass the moments alone"
            )
    elif labels is None:
        raise EmmsError("setting-missing", "labels is missing", "pass features and labels, or moments")
    else:
        labels = _f_labels(labels, names_of("encoders", encoders))
    estimators = EstimatorList([get_estimator(name)])
    (result,) = scoring.score(features, labels, estimators=estimators, groups=groups, folds=folds, seed=seed)
    return result


@checked_call
def emms(
    features: Any,
    labels: Any = None,
    *,
    encoders: str | Iterable[str] | None = None,
    groups: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> EmmsResult:
    """Return the EMMS score of features: the short form of `score`, with its default estimator and its arguments.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> features = rng.normal(size=(200, 8))
        >>> labels = features @ rng.normal(size=(8, 4)) + 0.1 * rng.normal(size=(200, 4))
        >>> round(emms(features, labels).r2, 2)
        1.0
    """
    result = score(features, labels, encoders=encoders, groups=groups, folds=folds, seed=seed)
    assert isinstance(result, EmmsResult)
    return result


@checked_call
def embed_labels(texts: Iterable[str], encoders: str | Iterable[str] = "base", *, device: str = "auto") -> LabelTable:
    """Return the label embeddings of texts. Each encoder embeds each distinct text once.

    Args:
        texts: N texts: class names, captions or answers.
        encoders: Sets ("base", the default as in `rank`. "paper", "demo") or ids of text encoders, on the Hub or in
            folders.
        device: The device of the encoders.

    Returns:
        A table for `score`. `LabelTable.embeddings` are K arrays (N, D2_k).

    Raises:
        EmmsError: The input is not texts, or an encoder cannot be loaded.

    Examples:
        >>> labels = embed_labels(["cat", "dog", "cat"], "demo")
        >>> [block.shape for block in labels.embeddings]
        [(3, 96), (3, 32), (3, 64)]
    """
    check_type("texts", texts, Iterable)
    names = names_of("encoders", encoders)
    if not names:
        raise EmmsError(
            "no-encoder",
            "no label encoder was named",
            setting_ref("encoders", "demo") + " selects the encoders that ship with hf-emms",
        )
    array = np.array(list(texts) if not isinstance(texts, str) else [texts], dtype=object)
    if not len(array) or not all(isinstance(text, str) for text in array):
        raise EmmsError(
            "setting-missing", "embed_labels needs a text for each row", "texts=[names[id] for id in class_ids]"
        )
    return table_for(array, encoders=names, device=device)


def names_of(argument: str, value: Any) -> tuple[str, ...]:
    """Return the names in an argument: None, a name, or several names."""
    names = several(argument, value) if value else ()
    if not all(isinstance(name, str) for name in names):
        raise EmmsError(
            "wrong-type",
            f"{argument} is {value!r:.80}; it must be names",
            f'{argument}="NAME" or {argument}=["NAME", …]',
        )
    return names


def _f_labels(labels: Any, encoders: tuple[str, ...]) -> Any:
    array = None if isinstance(labels, LabelTable) else _ids_or_texts(labels)
    if array is not None:
        return table_for(array, encoders=encoders)
    if encoders:
        raise EmmsError(
            "encoders-unused",
            "labels are embeddings already, so encoders has no effect",
            "leave it out, or pass texts as labels",
        )
    return labels


def _ids_or_texts(labels: Any) -> np.ndarray | None:
    """Return class ids as int64 (N,), or texts as object (N,); None for other labels."""
    try:
        array = as_numpy(labels)
    except ValueError:  # label embeddings of different widths
        return None
    if array.ndim != 1 or not array.size:
        return None
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        raise float_labels("labels", array)
    return array.astype(object) if all(isinstance(label, str) for label in array) else None


def float_labels(name: str, array: np.ndarray) -> EmmsError:
    """Return the error for one float per row (N,), which can be a value or the id of a class."""
    return EmmsError(
        "wrong-shape",
        f"{name} has dtype {array.dtype} and shape {array.shape}; it must be (N, D2) or (N, K, D2) floats, "
        "or (N,) class ids or texts",
        f"for values pass embeddings of width 1, {name}.reshape(-1, 1); for class ids {name}.astype(int)",
    )


def table_for(
    labels: np.ndarray,
    *,
    encoders: Sequence[str],
    class_names: Sequence[str] | None = None,
    device: str = "auto",
    name: str = "labels",
) -> LabelTable:
    """Return the table of labels: by encoders, or by one-hot codes of classes.

    Args:
        labels: Class ids, int64 (N,), or texts, object (N,).
        encoders: Sets or ids of text encoders.
        class_names: The text of each class id.
        device: The device of the encoders.
        name: The name of the labels in an error.
    """
    if encoders:
        from hf_emms.presets import expand_encoders
        from hf_emms.run.plan import resolve_encoders

        codes, texts = _codes_and_texts(labels, class_names, name)
        device = device_text(device)
        check_type("device", device, str)
        repos = resolve_encoders(expand_encoders(encoders))
        tables = tuple(_embed(repo, texts, device) for repo in repos)
        ids = tuple(repo.id for repo in repos)
        return LabelTable(codes, tables, ids, texts, _are_classes(labels, len(texts)))
    return _one_hot(labels, name)


def _are_classes(labels: np.ndarray, n_distinct: int) -> bool:
    return labels.dtype != object or are_classes(n_distinct, len(labels))


def _one_hot(labels: np.ndarray, name: str) -> LabelTable:
    classes, codes = np.unique(labels.astype(str) if labels.dtype == object else labels, return_inverse=True)
    if not _are_classes(labels, len(classes)) or len(classes) == len(labels):
        kind = "texts" if labels.dtype == object else "class ids"
        raise EmmsError(
            "labels-not-classes",
            f"{name} are {kind}, {len(classes):,} different ones in {pluralize(len(labels), 'row')}, "
            "so that they are not classes",
            'embed them: encoders="demo" needs no network; or pass embeddings as labels',
        )
    return LabelTable(codes, (np.eye(len(classes), dtype=np.float32),), ("classes",), tuple(map(str, classes)))


def _codes_and_texts(
    labels: np.ndarray, class_names: Sequence[str] | None, name: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    if labels.dtype == object:
        texts, codes = np.unique(labels.astype(str), return_inverse=True)
        return codes, tuple(texts.tolist())
    if class_names is None:
        raise EmmsError("class-names-missing", f"{name} are class ids, but encoders need texts", _NAMES_HINT)
    if labels.min() < 0 or labels.max() >= len(class_names):
        names = pluralize(len(class_names), "name")
        raise EmmsError(
            "class-names-missing",
            f"{name} reach from {labels.min()} to {labels.max()} but class_names has {names}",
            _NAMES_HINT,
        )
    from hf_emms.tasks import clean_class_name

    return labels, tuple(map(clean_class_name, class_names))


# Scoring several checkpoints needs the same table each time.
@lru_cache(maxsize=8)
def _embed(encoder: Repo, texts: tuple[str, ...], device: str) -> np.ndarray:
    from hf_emms.run.label_embeddings import embed_texts

    return embed_texts(encoder, texts, device=device)
