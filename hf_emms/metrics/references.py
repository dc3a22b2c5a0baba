"""Class ids and texts as references: the F-labels that stand for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo, resolve
from hf_emms.presets import expand_encoders
from hf_emms.scoring.arrays import as_numpy
from hf_emms.scoring.label_basis import LabelTable
from hf_emms.tasks import clean_class_name

_NAMES_HINT = 'class_names=dataset.features["label"].names says what the ids mean'


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
