"""How the metric behaves; what it is, its documentation and its inputs, stands in emms/emms.py."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import evaluate
import pyarrow as pa
from datasets import Features

from hf_emms.errors import EmmsError
from hf_emms.metric.batch import (
    Batch,
    OneBatch,
    StoredRows,
    alternatives,
    check_layout,
    checked,
    features_of,
    to_arrow,
)
from hf_emms.metric.compute import OPTIONS, ComputeOptions, options_from, score

# Rows that wait before they are written: single rows would cost more than their bytes.
WRITE_ROWS = 1000

_SETTINGS = tuple(inspect.signature(evaluate.Metric.__init__).parameters)


class ScoreOfRows(evaluate.Metric):
    """An `evaluate.Metric` that scores rows of features without turning any number into a Python object.

    evaluate's own locks, files, processes and clean-up are used as they are; only what is written between ``add`` and
    ``compute``, and how it is read again, is ours. Rows that come with ``compute`` alone are scored where they are.

    Args:
        settings: those of every `evaluate.Metric`, and defaults for the options of ``compute``.
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
        strange = [name for name in settings if name not in OPTIONS and name not in _SETTINGS]
        options_from({name: settings[name] for name in settings if name in (*OPTIONS, *strange)})
        # The seed of an evaluate.Metric seeds numpy meanwhile; here it is that of the folds as well.
        self._defaults = {name: settings[name] for name in OPTIONS if settings.get(name) is not None}
        self._waiting: list[Batch] = []
        self._layout: Any = None
        try:
            super().__init__(**{name: value for name, value in settings.items() if name in _SETTINGS})
        except OSError as error:
            raise EmmsError(
                f"evaluate cannot write its cache: {error}", "set HF_METRICS_CACHE, or pass cache_dir=FOLDER"
            ) from error

    def __len__(self) -> int:
        return int(super().__len__()) + sum(map(len, self._waiting))

    def compute(self, *, predictions: Any = None, references: Any = None, **options: Any) -> dict[str, Any] | None:
        """Score the rows that were added and those that are passed here."""
        settings = options_from({**self._defaults, **options})
        given = predictions is not None or references is not None
        if self.writer is None and not given:
            raise EmmsError("no rows were added", "pass predictions= and references=, or call add_batch first")
        if self.writer is None and self.num_process == 1:
            return score(OneBatch(checked(predictions, references)), settings)
        if given:
            self.add_batch(predictions=predictions, references=references)
        try:
            self._write_waiting()
            result: dict[str, Any] | None = super().compute(settings=settings)
            return result
        except BaseException:
            self._forget()
            raise

    def add_batch(self, *, predictions: Any = None, references: Any = None, **others: Any) -> None:
        """Add rows."""
        _refuse(others)
        self._take(checked(predictions, references, len(self)))

    def add(self, *, prediction: Any = None, reference: Any = None, **others: Any) -> None:
        """Add one row."""
        # evaluate.combine passes the plural names on to add().
        prediction, reference = others.pop("predictions", prediction), others.pop("references", reference)
        _refuse(others)
        self._take(checked(_alone(prediction), _alone(reference), len(self)))

    @staticmethod
    def inputs() -> list[Features]:
        """Every form of predictions and references, as `evaluate.MetricInfo` wants them."""
        return alternatives()

    def _compute(
        self, *, predictions: list[StoredRows], references: list[StoredRows], settings: ComputeOptions
    ) -> dict[str, Any]:
        """What evaluate calls at the end of `compute`, where rows were added before."""
        (rows,) = predictions
        return score(rows, settings)

    def _take(self, batch: Batch) -> None:
        if self.writer is None:
            self._layout, self._waiting = batch.layout, []
            self.selected_feature_format = features_of(batch)
            self._init_writer()
        check_layout(batch, self._layout, len(self))
        # A caller may reuse its buffers; what is written at once need not be copied.
        at_once = not self._waiting and len(batch) >= WRITE_ROWS
        self._waiting.append(batch if at_once else Batch(batch.x.copy(), batch.y.copy()))
        if sum(map(len, self._waiting)) >= WRITE_ROWS:
            self._write_waiting()

    def _write_waiting(self) -> None:
        batches, self._waiting = self._waiting, []
        if not batches:
            return
        try:
            self.writer.write_table(to_arrow(batches, self.selected_feature_format))
        except OSError as error:
            raise EmmsError(
                f"evaluate cannot write its cache {self.data_dir}: {error.strerror or error}",
                "free space there, pass cache_dir=FOLDER, or keep_in_memory=True",
            ) from error

    def _finalize(self) -> None:
        try:
            super()._finalize()
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise EmmsError(
                "the processes added rows of different types: float32 and float64, or other references",
                "convert all of them alike before add_batch",
            ) from error
        if self.process_id == 0:
            files = () if self.keep_in_memory else tuple(map(str, self.file_paths))
            self.data = _Columns(StoredRows(files, self.data.data))

    def _forget(self) -> None:
        """Gives locks and files back after a failure, so that the next computation starts clean."""
        locks, files = self.filelocks or [self.filelock], self.file_paths or [self.cache_file_name]
        for lock, file in reversed(list(zip(locks, files, strict=True))):
            if lock is not None and file is not None:
                Path(file).unlink(missing_ok=True)
                lock.release()
        self.writer = self.buf_writer = self.data = None
        self.cache_file_name = self.filelock = self.file_paths = self.filelocks = None


class _Columns:
    """Stands where evaluate expects a dataset, whose ``data[column][:]`` would copy a column into Python objects."""

    def __init__(self, rows: StoredRows) -> None:
        self._rows = rows

    def set_format(self, type: str | None = None) -> None:
        """Asked for before the columns are read; these rows have one format only."""

    def __getitem__(self, column: str) -> list[StoredRows]:
        return [self._rows]


def _alone(value: Any) -> list[Any] | None:
    return None if value is None else [value]


def _refuse(others: dict[str, Any]) -> None:
    if others:
        raise EmmsError(
            f"rows have predictions and references, not {', '.join(others)}",
            "options such as groups= go to compute(), one value for each row added",
        )
