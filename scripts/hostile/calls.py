"""The corpus of calls from Python, each with the message of the `EmmsError` that it has to raise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scripts.hostile.checkpoints import GOOD
from scripts.hostile.files import ENCODER


@dataclass(frozen=True)
class Call:
    """A call from Python that has to raise an `EmmsError`.

    Attributes:
        says: pattern of its message.
        call: the call.
    """

    says: str
    call: Callable[[], Any]


def _rank_calls() -> list[Call]:
    import torch

    import hf_emms

    def ranks(says: str, **given: Any) -> Call:
        arguments = {"dataset": "good.csv", "checkpoints": GOOD, "encoders": ENCODER, "estimators": "emms"} | given
        return Call(says, lambda: hf_emms.rank(**arguments))

    return [
        *(ranks("is an empty list", **{name: []}) for name in ("checkpoints", "encoders", "estimators", "layers")),
        *(ranks(f"{name} is 2.5", **{name: 2.5}) for name in ("folds", "seed", "max_samples", "race", "batch_size")),
        *(ranks(f"{name} is 'x'; it must be", **{name: "x"}) for name in ("folds", "seed", "cache", "columns")),
        *(ranks(f"{name} is 7; it must be", **{name: 7}) for name in ("task", "split", "config", "prompt", "device")),
        ranks("folds is True", folds=True),
        ranks("dtype is torch.bfloat16", dtype=torch.bfloat16),
        ranks("engine is None", engine=None),
        ranks("checkpoints is", checkpoints=[None]),
        ranks("encoders is", encoders=[""]),
        ranks("columns is", columns={"text": 3}),
        ranks("unknown layer '2.5'", layers=2.5),
        ranks("where results come back", engine="jobs"),
        *(
            ranks(f"dataset is a {type(value).__name__}", dataset=value)
            for value in (None, 42, b"good.csv", np.zeros(3))
        ),
        ranks("no task fits", dataset=[{"text": "a"}]),
        ranks("no rows|no task fits|cannot fill", dataset=_in_memory({"text": [], "label": []})),
        ranks("no task fits", dataset=_in_memory({"a": [1.5] * 9})),
        ranks("no task fits|holds", dataset=_in_memory({"text": [["a"]] * 9, "label": [{"b": 1}] * 9})),
        ranks("has the same label", dataset=_in_memory({"text": [f"t {n}" for n in range(9)], "label": ["x"] * 9})),
        ranks("no label", dataset=_in_memory({"text": [f"t {n}" for n in range(9)], "label": [None] * 8 + ["x"]})),
    ]


def _in_memory(columns: dict[str, Any]) -> Any:
    import datasets

    return datasets.Dataset.from_dict(columns)


def _score_calls() -> list[Call]:
    import scipy.sparse
    import torch

    from hf_emms import LabelTable, Moments, emms

    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8))
    z = rng.normal(size=(60, 5)) + x[:, :5]
    moments = Moments(8, [5])

    def scores(says: str, features: Any = x, labels: Any = z, **given: Any) -> Call:
        return Call(says, lambda: emms(features, labels, **given))

    return [
        *(scores("folds=", folds=value) for value in (2.5, 1, 0, -1, 10**8, True, "5", None)),
        *(scores("seed=", seed=value) for value in (1.5, 10**30, "0", None)),
        scores("unknown method", method="absent"),
        scores("masked", np.ma.masked_greater(x, 1.0)),
        scores("sparse", scipy.sparse.csr_array(x)),
        scores("sparse_coo", torch.tensor(x).to_sparse()),
        scores("'meta'", torch.empty((60, 8), device="meta")),
        scores("features", None),
        scores("features", "abc"),
        scores("features", {"a": 1}),
        scores("features", [[1.0], [1.0, 2.0]]),
        scores("features", x.astype(object)),
        scores("features", x * 1e-200),
        scores("features", x * 1e200),
        scores("features", x[:0]),
        scores("label", labels=None),
        scores("label_embeddings", labels=z[:10]),
        scores("label_embeddings", labels=[z, z[:10]]),
        scores("label_embeddings", labels=np.full((60, 5), np.nan)),
        scores("groups", groups=np.arange(3)),
        scores("groups", groups=np.zeros((60, 2), int)),
        scores("groups", groups=np.zeros(60)),
        Call("codes", lambda: LabelTable(np.arange(9), (z[:3],))),
        Call("codes", lambda: LabelTable(np.arange(3) + 0.5, (z[:3],))),
        Call("tables", lambda: LabelTable(np.arange(3), ())),
        Call("at least 1", lambda: Moments(0, [5])),
        Call("folds=2.5", lambda: Moments(8, [5], folds=2.5)),  # type: ignore[arg-type]
        Call("cannot merge moments with a NoneType", lambda: moments.merge(None)),  # type: ignore[arg-type]
        Call("cannot merge moments with d1", lambda: moments.merge(Moments(7, [5]))),
    ]


def calls() -> list[Call]:
    """All calls; the folder with the files of the corpus is the current one."""
    return [*_rank_calls(), *_score_calls()]
