"""Open fine-tuned models with custom layers, which transformers does not know."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.recipe import head_of
from hf_emms.heads import LabeledSplit
from hf_emms.heads.saved import ABOUT, CHECKPOINT, DESCRIPTIONS, HEAD_WEIGHTS
from hf_emms.heads.split import IGNORED, BatchedRows
from hf_emms.hub import Repo, fetch, resolve
from hf_emms.inputs import Pairs, UnusableError
from hf_emms.options import device_text
from hf_emms.options.calls import checked_call
from hf_emms.tasks import Task, get_task
from hf_emms.tasks.task import Column

if TYPE_CHECKING:
    from hf_emms.heads.head import Network

_BATCH_SIZE = 32


@checked_call
def load_finetuned(model: str | Path, *, device: str = "auto", trust_remote_code: bool = False) -> FineTunedModel:
    """Open a model that `confirm` saved with a custom head.

    The model's card shows how to open it and all other saved models.

    Args:
        model: A folder, or a Hub model id (``ORG/NAME[@REVISION]``).
        device: "auto", "cpu", "cuda" or "mps".
        trust_remote_code: Run code of the checkpoint that was fine-tuned.

    Raises:
        EmmsError: The model does not exist, or has no custom head.

    Examples:
        >>> model = hf_emms.load_finetuned("best")  # doctest: +SKIP
        >>> model.predict(["a text", "another"])  # doctest: +SKIP
        ['news', 'sports']
    """
    from safetensors.torch import load_file

    from hf_emms.features.device import choose_device, keep_freed_memory
    from hf_emms.features.load import quiet_transformers

    repo = resolve(str(model), "model")
    folder = fetch(repo, (*DESCRIPTIONS, "*.safetensors"))
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        task, references = get_task(about["task"]), _as_tuples(about["references"])
        weights = load_file(folder / HEAD_WEIGHTS)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        problem = f"{model} has no custom head of hf_emms ({ABOUT}, {HEAD_WEIGHTS})"
        raise EmmsError("no-head", problem, "open it as its card shows: README.md") from error
    described = Repo(repo.id, "model", repo.revision, folder / CHECKPOINT)
    spec = make_feature_spec(described, task.input, task.id, trust_remote_code=trust_remote_code)
    saved = replace(spec, repo=replace(repo, folder=folder))
    keep_freed_memory()
    with quiet_transformers():
        network = head_of(task).open(saved, task.input, references, weights)
    network.model.eval().to(choose_device(device_text(device)))
    return FineTunedModel(task, network)


def predict_rows(network: Network, rows: BatchedRows, numbers: np.ndarray, batch_size: int = _BATCH_SIZE) -> Any:
    """Return the outputs of a network for some of its rows, by their numbers, int64 (m,)."""
    import torch
    from transformers.trainer_pt_utils import nested_concat, nested_numpify

    device, size = next(network.model.parameters()).device, min(batch_size, rows.max_batch or batch_size)
    outputs = None
    for start in range(0, len(numbers), size):
        batch = {name: tensor.to(device) for name, tensor in rows.batch(numbers[start : start + size]).items()}
        with torch.no_grad():
            predicted = network.predict(network.model, batch)
        outputs = predicted if outputs is None else nested_concat(outputs, predicted, padding_index=IGNORED)
    return nested_numpify(outputs)


class FineTunedModel:
    """A fine-tuned checkpoint with a custom head."""

    def __init__(self, task: Task, network: Network) -> None:
        self.task = task.id
        self._task, self.network = task, network

    def predict(self, inputs: Iterable[Any], *, batch_size: int = _BATCH_SIZE) -> list[Any]:
        """Return predictions: a class, several classes, a number, a box, a text, or a tag per word.

        Args:
            inputs: Texts, PIL images, sounds (``{"array": SAMPLES, "sampling_rate": HERTZ}``), or tuples of an image
                and a text or of two texts, as the task requires. Words are separated by white space.
            batch_size: Inputs per batch.

        Raises:
            EmmsError: An input has another type.
        """
        contents = self._contents(list(inputs))
        split = LabeledSplit.of_inputs(contents, head_of(self._task).unanswered_references(contents))
        if not len(split):
            return []
        rows = self.network.rows(split, False)
        outputs = predict_rows(self.network, rows, np.arange(len(rows)), batch_size)
        return self.network.predictions(outputs, split)

    def _contents(self, inputs: list[Any]) -> Sequence[Any]:
        columns, count = self._task.inputs, len(inputs)
        if len(columns) == 1:
            return _contents(columns[0], inputs)
        if not all(isinstance(row, tuple) and len(row) == len(columns) for row in inputs):
            names = ", ".join(column.name for column in columns)
            raise EmmsError(
                "invalid-input", f"inputs for {self.task} are tuples: ({names})", f"predict([({names}), …])"
            )
        firsts, seconds = (_contents(column, [row[i] for row in inputs]) for i, column in enumerate(columns))
        return Pairs(firsts, seconds, np.arange(count).repeat(2).reshape(count, 2))


def _contents(column: Column, inputs: list[Any]) -> Sequence[Any]:
    """Return the contents of a dataset column with these cells."""
    import datasets

    kind = column.kind
    if column.clean is not None:
        inputs = [column.clean(cell) if isinstance(cell, list) == column.is_list else cell for cell in inputs]
    try:
        cells = datasets.Dataset.from_dict({column.name: [kind.as_cell(cell) for cell in inputs]})
        if inputs and not kind.holds(cells.features[column.name]):
            raise UnusableError(f"{inputs[0]!r:.80}")
        return kind.collect([kind.read(cell, column.name) for cell in cells.data.column(column.name).to_pylist()])
    except (ValueError, TypeError, OverflowError) as error:
        raise EmmsError(
            "invalid-input", f"an input is not a valid {kind.singular}: {error}", f"pass {kind.plural}"
        ) from error


def _as_tuples(value: Any) -> Any:
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value
