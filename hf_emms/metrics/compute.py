"""From rows and options to the dictionary that ``compute`` returns; class ids and texts get their F-labels here."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo, resolve
from hf_emms.metrics.batch import MetricRows
from hf_emms.presets import expand_encoders
from hf_emms.scoring.arrays import as_labels, as_numpy
from hf_emms.scoring.emms import METHODS, score_moments
from hf_emms.scoring.estimators import ScoringInputs, get_estimator
from hf_emms.scoring.folds import check_folds, group_ids
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.scoring.moments import Moments
from hf_emms.tasks import clean_class_name

_NAMES_HINT = 'class_names=dataset.features["label"].names says what the ids mean'


@dataclass(frozen=True)
class ComputeOptions:
    """What ``compute`` takes beside the rows; the fields are its arguments."""

    method: str = "cv"
    groups: Any = None
    folds: int = 5
    seed: int = 0
    encoders: tuple[str, ...] = ()
    label_table: Any = None
    class_names: Sequence[str] | None = None
    estimators: tuple[str, ...] = ()
    device: str = "auto"

    @property
    def moment_folds(self) -> int:
        """In-sample methods need no folds, and one is cheaper than five."""
        return self.folds if self.method == "cv" or any(get_estimator(name).folds for name in self.estimators) else 1


OPTIONS = tuple(field.name for field in fields(ComputeOptions))


def options_from(given: Mapping[str, Any]) -> ComputeOptions:
    """Checks names and values before any row is looked at.

    Raises:
        EmmsError: an unknown option, method or estimator, or a value out of range.
    """
    for name in given:
        if name not in OPTIONS:
            close = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(OPTIONS)}"
            raise EmmsError(f"the metric emms has no option {name!r}", hint)
    named = {name: _names(given[name]) for name in ("encoders", "estimators") if name in given}
    options = ComputeOptions(**{**given, **named})
    if options.method not in METHODS:
        raise EmmsError(f"unknown method {options.method!r}", f"choose one of {', '.join(METHODS)}")
    check_folds(options.folds, options.seed, fewest=2)
    for name in options.estimators:
        get_estimator(name)
    return options


def score(rows: MetricRows, options: ComputeOptions) -> dict[str, Any]:
    """Scores rows.

    Args:
        rows: they are gone through batch by batch; k-NN alone holds them all.
        options: checked by `options_from`.

    Returns:
        score, stderr, weights, r2, n, d1, method, and one value for every estimator asked for: plain Python values.

    Raises:
        EmmsError: fewer than two rows, or labels or groups that do not fit.
    """
    n = len(rows)
    if n < 2:
        raise EmmsError(
            f"{n or 'no'} row was given; a score compares rows, and needs at least two",
            "pass hundreds of rows of the dataset that you want to fine-tune on",
        )
    groups = group_ids(options.groups, n)
    table = _table(rows, options)
    moments = _moments(rows, table, groups, options)
    result = score_moments(moments, options.method)
    evidence = ScoringInputs(moments)
    if any(get_estimator(name).needs_rows for name in options.estimators):
        features = np.concatenate([batch.x for batch in rows.batches()])
        evidence = ScoringInputs(moments, features, table if table is not None else _dense(rows), groups)
    return {
        "score": result.score,
        "stderr": result.stderr,
        "weights": list(result.weights),
        "r2": float(result.r2),
        "n": result.n,
        "d1": result.d1,
        "method": result.method,
        **{name: float(get_estimator(name).score(evidence).value) for name in options.estimators},
    }


def _names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value or ())
    if not all(isinstance(name, str) for name in names):
        raise EmmsError(f"{value!r} does not name encoders or estimators", 'pass names: encoders=["demo"]')
    return names


def _table(rows: MetricRows, options: ComputeOptions) -> LabelTable | None:
    if next(rows.batches()).kind == "embeddings":
        if options.encoders or options.label_table is not None:
            name = "encoders" if options.encoders else "label_table"
            raise EmmsError(
                f"references are embeddings already, so {name} has nothing to do",
                f"leave {name} out, or pass class ids or texts as references",
            )
        return None
    # First use of any of the Hub, presets or an encoder: scoring embeddings needs none of them.
    from hf_emms.metrics.compute import table_for

    references = np.concatenate([batch.y for batch in rows.batches()])
    table = table_for(
        references,
        encoders=options.encoders,
        label_table=options.label_table,
        class_names=options.class_names,
        device=options.device,
    )
    as_labels(table, len(rows))
    return table


def _moments(rows: MetricRows, table: LabelTable | None, groups: np.ndarray, options: ComputeOptions) -> Moments:
    moments: Moments | None = None
    for part, x, labels in _parts(rows, table):
        if moments is None:
            moments = Moments.like(labels, x.shape[1], folds=options.moment_folds, seed=int(options.seed))
        moments.update_checked(x, labels, groups[part])
    assert moments is not None
    return moments


def _parts(rows: MetricRows, table: LabelTable | None) -> Iterator[tuple[slice, np.ndarray, LabelTable]]:
    start = 0
    for batch in rows.batches():
        part = slice(start, start + len(batch))
        yield part, batch.x, LabelTable.of_rows(batch.blocks) if table is None else table.take(part)
        start = part.stop


def _dense(rows: MetricRows) -> LabelTable:
    columns = zip(*(batch.blocks for batch in rows.batches()), strict=True)
    return LabelTable.of_rows([np.concatenate(column) for column in columns])


def table_for(
    references: np.ndarray, *, encoders: Sequence[str], label_table: Any, class_names: Sequence[str] | None, device: str
) -> LabelTable:
    """One code a row and one embedding a distinct label.

    Args:
        references: class ids, int64 (N,), or texts, object (N,).
        encoders: presets or ids of text encoders, each of which makes one F-label.
        label_table: embeddings at hand: a `LabelTable`, a mapping from text to (D2,) or (K, D2), an array (U, D2) or
            (U, K, D2), or a list of K arrays (U, D2_k).
        class_names: the text of every class id.
        device: where the encoders run.

    Raises:
        EmmsError: neither or both of `encoders` and `label_table`, an encoder that cannot be loaded, or references
            that the table does not know.
    """
    what = "texts" if references.dtype == object else "class ids"
    if bool(encoders) == (label_table is not None):
        problem = "both encoders and label_table were given" if encoders else f"references are {what}"
        raise EmmsError(
            f"{problem}; F-labels come from one of encoders=[…] or label_table=",
            'encoders="demo" needs no network; label_table={text: embedding} or (U, D2) takes what you have',
        )
    if encoders:
        codes, texts = _texts(references, class_names)
        repos = [_resolved(id) for id in expand_encoders(encoders)]
        tables = tuple(_embedded(repo, texts, device) for repo in repos)
        return LabelTable(codes, tables, tuple(repo.id for repo in repos), texts, _are_classes(references, texts))
    tables, texts = _given(label_table, class_names)
    codes = references if what == "class ids" else _looked_up(references, texts)
    categorical = label_table.categorical if isinstance(label_table, LabelTable) else True
    return LabelTable(codes, tables, texts=texts, categorical=categorical and _are_classes(references, tables[0]))


def _are_classes(references: np.ndarray, distinct: Sequence[str] | np.ndarray) -> bool:
    """Ids are classes; texts are where most of them repeat, as names do and captions do not."""
    return references.dtype != object or 2 * len(distinct) <= len(references)


def _texts(references: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes (N,) and the distinct texts that they number."""
    if references.dtype == object:
        texts, codes = np.unique(references.astype(str), return_inverse=True)
        return codes, tuple(texts.tolist())
    if class_names is None:
        raise EmmsError("references are class ids, and an encoder needs texts", _NAMES_HINT)
    if references.min() < 0 or references.max() >= len(class_names):
        raise EmmsError(
            f"references reach from {references.min()} to {references.max()} but class_names has "
            f"{pluralize(len(class_names), 'name')}",
            _NAMES_HINT,
        )
    return references, tuple(map(clean_class_name, class_names))


def _resolved(id: str) -> Repo:
    try:
        return resolve(id, "model")
    except EmmsError as error:
        hint = f'{error.hint}; or encoders="demo": those ship with hf-emms'
        raise EmmsError(f"a label encoder cannot be used: {error.message}", hint) from error


# Scoring a list of checkpoints asks for the same table every time; a few sets of labels are all that is in use at once.
@lru_cache(maxsize=8)
def _embedded(encoder: Repo, texts: tuple[str, ...], device: str) -> np.ndarray:
    from hf_emms.features.label_embeddings import embed_texts

    return embed_texts(encoder, texts, device=device)


def _given(value: Any, class_names: Sequence[str] | None) -> tuple[tuple[np.ndarray, ...], tuple[str, ...]]:
    """K tables (U, D2_k), and the U texts where they are known."""
    texts = tuple(class_names or ())
    if isinstance(value, LabelTable):
        return value.tables, value.texts or texts
    if isinstance(value, Mapping):
        texts, value = tuple(map(str, value)), [_array(one) for one in value.values()]
        if len({one.shape for one in value}) > 1:
            raise EmmsError(
                f"label_table has embeddings of shapes {sorted({one.shape for one in value})}",
                "every text needs (D2,) or (K, D2) of the same size",
            )
        value = np.stack(value) if value else np.empty(0)
    elif isinstance(value, (list, tuple)) and all(np.ndim(one) == 2 and hasattr(one, "dtype") for one in value):
        return tuple(map(_array, value)), texts
    array = _array(value)
    if array.ndim == 2:
        return (array,), texts
    if array.ndim == 3:
        return tuple(array[:, k] for k in range(array.shape[1])), texts
    raise EmmsError(
        f"label_table has dtype {array.dtype} and shape {array.shape}; it must be (U, D2) or (U, K, D2)",
        "label_table={text: embedding} does as well, and a list of K arrays (U, D2_k) for different widths",
    )


def _array(value: Any) -> np.ndarray:
    try:
        return as_numpy(value)
    except ValueError:
        raise EmmsError("label_table is ragged: its rows differ in length", "every text needs one width") from None


def _looked_up(references: np.ndarray, texts: tuple[str, ...]) -> np.ndarray:
    if not texts:
        raise EmmsError(
            "references are texts, but label_table does not say which row is whose",
            "label_table={text: embedding}, or class_names=[text of row 0, …]",
        )
    codes = {text: code for code, text in enumerate(texts)}
    missing = list(dict.fromkeys(text for text in references if text not in codes))
    if missing:
        shown = ", ".join(map(repr, missing[:3])) + (", …" if len(missing) > 3 else "")
        raise EmmsError(
            f"label_table has no embedding of {pluralize(len(missing), 'text')}: {shown}",
            "add them, or use encoders=[…]",
        )
    return np.fromiter((codes[text] for text in references), np.int64, count=len(references))
