"""EMMS for the evaluate library: which pretrained checkpoint fits your labels, without fine-tuning any."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import pyarrow as pa
from datasets import Features, List, Value

from hf_emms.errors import EmmsError
from hf_emms.formatting import pluralize
from hf_emms.options import DEFAULT_ESTIMATORS
from hf_emms.options.calls import unknown_argument
from hf_emms.ranking.estimators import get_estimators
from hf_emms.run.from_arrays import float_labels, names_of, table_for
from hf_emms.scoring import EmmsResult, arrays
from hf_emms.scoring.estimators import EMMS_ESTIMATORS, EstimatorList, score
from hf_emms.scoring.labels import LabelTable
from hf_emms.scoring.moments import Moments

_DESCRIPTION = """\
EMMS estimates which pretrained checkpoint to fine-tune for your dataset, without fine-tuning. K text encoders embed
each label as text (the F-labels). The score measures how well a linear map of the checkpoint's features explains the
best mixture of these embeddings. Higher is better, and 0 is perfect. By default, the score is held out. It is relative:
compare checkpoints only on one dataset, sample and set of labels.
"""

_CITATION = """\
@inproceedings{meng2023foundation,
  title     = {Foundation Model is Efficient Multimodal Multitask Model Selector},
  author    = {Meng, Fanqing and Shao, Wenqi and Peng, Zhanglin and Jiang, Chonghe and Zhang, Kaipeng and Qiao, Yu
               and Luo, Ping},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023},
  url       = {https://arxiv.org/abs/2308.06262}
}
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: features of one checkpoint, floats of shape (N, D1), one row per example.
    references: the labels of the same rows, in one of these forms:
        (N, D2) floats: one F-label; (N, K, D2) floats: K F-labels (the shorter axis is K, so (N, D2, K) works, too);
        (N,) class ids or texts: `encoders` make the F-labels. Without these, repeated values are classes, and their
        F-label is the one-hot code.
    estimators (str or list of str): the first computes EMMS: "emms_knn" (the default, as in `hf-emms rank`:
        held-out ridge regression and 3 nearest rows), "emms" (held-out ridge regression only), "emms_exact" (the
        paper's objective at its optimum), "emms_one_pass" (the official function) or "emms_alternating" (the paper's
        Algorithm 1). The others are additional scores to return, such as "logme" and "knn".
    groups: (N,) integers or strings. Rows of a group, such as five captions of an image, share a fold. Default: rows
        with equal features are a group. Pass the same groups for every checkpoint to use the same folds.
    folds (int): number of folds of the held-out score. Default 5.
    seed (int): seed of the folds. Default 0.
    encoders (list of str): text encoders (Hub ids or folders), or a set: "base", "paper", "demo".
    class_names (list of str): the text of each class id.
    device (str): the device of the encoders. Default "auto".

Returns:
    score (float): minus the mean squared residual of the mixed, standardized F-label. At most 0, higher is better.
    stderr (float or None): its standard error over the folds; None for estimators without folds.
    weights (list of K floats): the weights of the mixture, at least 0, with sum 1.
    r2 (float): share of the mixed F-label's variance that the features explain; held out for "emms_knn" and "emms".
    n (int), d1 (int), estimator (str): number of rows, feature width, the first estimator.
    logme (float), knn (float), …: the scores of the other estimators.

Examples:
    >>> import evaluate
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(200, 8))
    >>> labels = features @ rng.normal(size=(8, 4)) + rng.normal(size=(200, 4))
    >>> emms = evaluate.load("emms")
    >>> results = emms.compute(predictions=features, references=labels)
    >>> print(round(results["r2"], 1), results["n"], results["weights"])
    0.9 200 [1.0]
"""

# Features, float32 or float64 (b, D1); and label embeddings (b, D2) or (b, K, D2), class ids int64 (b,), or texts (b,)
# of Python strings.
Batch = tuple[np.ndarray, np.ndarray]
# Each call iterates from the start, in the order in which batches were added.
Batches = Callable[[], Iterator[Batch]]

_OPTIONS: dict[str, Any] = {
    "estimators": DEFAULT_ESTIMATORS[:1],
    "groups": None,
    "folds": 5,
    "seed": 0,
    "encoders": (),
    "class_names": None,
    "device": "auto",
}
_SETTINGS = tuple(inspect.signature(evaluate.Metric.__init__).parameters)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Emms(evaluate.Metric):
    """The metric. It stores added rows on disk as arrays, without converting numbers to Python objects.

    It scores rows that are only passed to ``compute`` in memory. Settings are the arguments of `evaluate.Metric`,
    and defaults for the options of ``compute``. A `config_name` is the default estimator.
    """

    # Attributes of evaluate.Metric, which has no types.
    writer: Any
    buf_writer: Any
    data: Any
    filelock: Any
    filelocks: Any
    file_paths: Any
    cache_file_name: Any

    def __init__(self, **settings: Any) -> None:
        options = {name: value for name, value in settings.items() if name in _OPTIONS or name not in _SETTINGS}
        if (estimator := settings.get("config_name")) is not None:
            options.setdefault("estimators", estimator)
        _check_options(options)
        # evaluate.Metric uses the seed for numpy. Here it is also the seed of the folds.
        self._defaults = {name: value for name, value in options.items() if value is not None}
        self._layout = ""
        super().__init__(**{name: value for name, value in settings.items() if name in _SETTINGS})

    def _info(self) -> evaluate.MetricInfo:
        numbers = [List(Value(dtype)) for dtype in ("float32", "float64")]
        forms = [*numbers, *map(List, numbers), Value("string"), Value("int64")]
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=[Features({"predictions": x, "references": y}) for x in numbers for y in forms],
            license="Apache-2.0",
            homepage="https://arxiv.org/abs/2308.06262",
            codebase_urls=["https://github.com/OpenGVLab/Multitask-Model-Selector"],
            reference_urls=["https://arxiv.org/abs/2308.06262", "https://openreview.net/forum?id=2ep5PXEZiw"],
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **others: Any) -> None:
        """Add a row."""
        # evaluate.combine passes the plural names on to add().
        prediction, reference = others.pop("predictions", prediction), others.pop("references", reference)
        self.add_batch(predictions=[prediction], references=[reference], **others)

    def add_batch(self, *, predictions: Any = None, references: Any = None, **others: Any) -> None:
        """Add rows."""
        if others:
            raise EmmsError(
                "unknown-column",
                f"rows have only predictions and references, not {', '.join(others)}",
                "pass options such as groups= to compute(), with one value per added row",
            )
        x, y = _check_rows(predictions, references)
        if self.writer is None:
            self._layout = _layout(x, y)
            self.selected_feature_format = Features({"predictions": _feature(x), "references": _feature(y)})
            self._init_writer()
        _check_layout(x, y, self._layout)
        self.writer.write_batch({"predictions": x, "references": y.tolist() if y.dtype == object else y})

    def compute(self, *, predictions: Any = None, references: Any = None, **options: Any) -> dict[str, Any] | None:
        """Score the added rows and the rows that are passed here."""
        options = _check_options({**self._defaults, **options})
        passed = predictions is not None or references is not None
        if self.writer is None and not passed:
            raise EmmsError(
                "no-rows", "no rows were added", "pass predictions= and references=, or call add_batch first"
            )
        if self.writer is None and self.num_process == 1:
            batch = _check_rows(predictions, references)
            return self._compute(lambda: iter([batch]), options)
        if passed:
            self.add_batch(predictions=predictions, references=references)
        try:
            self._finalize()
            return self._compute(self._stored_batches, options) if self.process_id == 0 else None
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise EmmsError(
                "wrong-type",
                "the processes added rows of different types: float32 and float64, or other references",
                "convert all rows to the same types before add_batch",
            ) from error
        finally:
            self._forget()

    def _stored_batches(self) -> Iterator[Batch]:
        """Yield the batches of the files. Files are not memory-mapped, because that counts as memory of the process."""
        layout = ""
        for record in self._stored_records():
            x, y = _to_numpy(record.column("predictions")), _to_numpy(record.column("references"))
            layout = layout or _layout(x, y)
            _check_layout(x, y, layout)
            yield x, y

    def _stored_records(self) -> Iterator[pa.RecordBatch]:
        if self.keep_in_memory:
            yield from self.data.data.to_batches()
            return
        for path in self.file_paths:
            with pa.OSFile(str(path)) as file:
                yield from pa.ipc.open_stream(file)

    def _forget(self) -> None:
        """Release locks and files for the next computation. Process 0 deletes the files of all processes."""
        locks, paths = self.filelocks or [self.filelock], self.file_paths or [self.cache_file_name]
        self.writer = self.buf_writer = self.data = None
        for lock, path in reversed(list(zip(locks, paths, strict=True))):
            if lock is not None:
                if self.process_id == 0:
                    Path(path).unlink(missing_ok=True)
                lock.release()
        self.cache_file_name = self.filelock = self.file_paths = self.filelocks = self.selected_feature_format = None

    def _compute(self, batches: Batches, options: dict[str, Any]) -> dict[str, Any]:
        """Return the scores of rows; only estimators that look for neighbors read all of them into memory."""
        n = sum(len(x) for x, _ in batches())
        if n < 2:
            raise EmmsError(
                "few-rows",
                f"{n or 'no'} row was passed; a score requires at least two",
                "pass several hundred rows of the dataset for fine-tuning",
            )
        estimators = _estimators(options)
        groups, table = _groups(batches, estimators, options["groups"], n), _label_table(batches, options)
        seed, folds = options["seed"], options["folds"]
        if "rows" in estimators.needs:
            x = np.concatenate([x for x, _ in batches()])
            blocks = zip(*(_blocks(y) for _, y in batches()), strict=True) if table is None else ()
            labels = table or list(map(np.concatenate, blocks))
            scores = score(x, labels, estimators=estimators, groups=groups, folds=folds, seed=seed)
        else:
            moments, start = None, 0
            for x, y in batches():
                rows = slice(start, start := start + len(x))
                labels = LabelTable.of_rows(_blocks(y)) if table is None else table.take(rows)
                if moments is None:
                    moments = Moments.like(
                        labels, x.shape[1], folds=folds if "folds" in estimators.needs else 1, seed=seed
                    )
                moments.update_checked(x, labels, groups[rows])
            scores = score(moments, estimators=estimators, folds=folds, seed=seed)
        result, *others = scores
        assert isinstance(result, EmmsResult)
        fields = result.to_dict()
        return {
            **{name: fields[name] for name in ("score", "stderr", "weights", "r2", "n", "d1", "estimator")},
            "weights": list(result.weights),
            **{name: float(score) for name, score in zip(options["estimators"][1:], others, strict=True)},
        }


def _check_options(options: dict[str, Any]) -> dict[str, Any]:
    """Check the options and add defaults."""
    for name in options:
        if name not in _OPTIONS:
            raise unknown_argument(name, ("predictions", "references", *_OPTIONS))
    options = {**_OPTIONS, **options}
    for name in ("encoders", "estimators"):
        options[name] = names_of(name, options[name])
    arrays.check_folds(options["folds"], options["seed"], fewest=2)
    _estimators(options)
    return options


def _estimators(options: dict[str, Any]) -> EstimatorList:
    names = options["estimators"]
    if not names or names[0] not in EMMS_ESTIMATORS:
        message = f"estimators is {', '.join(names) or 'empty'}; the first must compute EMMS"
        raise EmmsError("unknown-estimator", message, f"choose from {', '.join(EMMS_ESTIMATORS)}")
    return get_estimators(names)


def _groups(batches: Batches, estimators: EstimatorList, groups: Any, n: int) -> np.ndarray:
    if groups is not None:
        return arrays.group_ids(groups, n)
    if estimators.needs & {"folds", "rows"}:
        return arrays.groups_by_content(x for x, _ in batches())
    return np.zeros(n, dtype=np.uint64)


def _label_table(batches: Batches, options: dict[str, Any]) -> LabelTable | None:
    """Return the F-labels of class ids or texts, or None if references are embeddings."""
    if next(batches())[1].ndim == 1:
        names = ("encoders", "class_names", "device")
        references = np.concatenate([y for _, y in batches()])
        return table_for(references, name="references", **{name: options[name] for name in names})
    if options["encoders"]:
        raise EmmsError(
            "encoders-unused",
            "references are embeddings, so encoders has no effect",
            "leave encoders out, or pass class ids or texts as references",
        )
    return None


def _blocks(y: np.ndarray) -> list[np.ndarray]:
    """Split label embeddings into one array (b, D2) per encoder."""
    return [y] if y.ndim == 2 else [y[:, k] for k in range(y.shape[1])]


def _feature(array: np.ndarray) -> Any:
    feature: Any = Value("string" if array.dtype == object else array.dtype.name)
    for _ in range(array.ndim - 1):
        feature = List(feature)
    return feature


def _to_numpy(column: pa.Array) -> np.ndarray:
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=object)
    shape = [len(column)]
    while pa.types.is_list(column.type):
        column = column.flatten()
        shape.append(len(column) // int(np.prod(shape)))
    return column.to_numpy().reshape(shape)


def _layout(x: np.ndarray, y: np.ndarray) -> str:
    """Return what all batches must have in common: the feature width and the type of references."""
    if y.ndim == 1:
        return f"D1={x.shape[1]} and {'texts' if y.dtype == object else 'class ids'}"
    return f"D1={x.shape[1]}, K={len(_blocks(y))}, D2={y.shape[-1]}"


def _check_layout(x: np.ndarray, y: np.ndarray, expected: str) -> None:
    if (layout := _layout(x, y)) != expected:
        raise EmmsError(
            "wrong-shape",
            f"a batch has {layout}; the rows before: {expected}",
            "use one checkpoint and one set of labels per computation; call compute() before the next one",
        )


def _check_rows(predictions: Any, references: Any) -> Batch:
    """Return a batch as arrays."""
    if predictions is None or references is None:
        raise EmmsError(
            "setting-missing", "predictions or references are missing", "pass predictions=features, references=labels"
        )
    x, y = arrays.as_matrix(_to_array(predictions), "predictions"), _check_references(references)
    if len(x) != len(y):
        raise EmmsError(
            "different-lengths",
            f"predictions has {pluralize(len(x), 'row')} but references has {len(y)}",
            "pass one reference per prediction, in the same order",
        )
    return x, y


def _check_references(references: Any) -> np.ndarray:
    array = _to_array(references)
    if array.ndim == 1 and array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.ndim == 1 and array.dtype.kind in "UO":
        return array.astype(object)
    if array.ndim not in (2, 3) or array.dtype.kind in "UO":
        raise float_labels("references", array)
    array = arrays.f_labels(array)
    shape = array.shape if array.ndim == 2 or array.shape[1] > 1 else array[:, 0].shape
    return arrays.as_matrix(array.reshape(len(array), -1), "references").reshape(shape)


def _to_array(rows: Any) -> np.ndarray:
    if not hasattr(rows, "__array__") and hasattr(rows, "__iter__"):
        rows = [arrays.as_numpy(row) if hasattr(row, "detach") else row for row in rows]
    return arrays.as_numpy(rows)
