"""Open a saved model as its card says, and compare its outputs for test rows with those that were measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from transformers.trainer_pt_utils import nested_concat

from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.load_finetuned import load_finetuned, predict_rows
from hf_emms.finetune.network import load_network
from hf_emms.finetune.recipe import TrainingJob
from hf_emms.finetune.splits import Splits
from hf_emms.heads.head import Network
from hf_emms.heads.saved import HEAD_WEIGHTS
from hf_emms.heads.split import IGNORED
from hf_emms.hub import resolve

# The most test rows that are compared, and the rows between two signs of life.
_MAX_ROWS, _STEP = 500, 32
Read = Callable[[np.ndarray], Any]
"""Returns the outputs of a saved model for test rows by number, see `Network.opened`."""


def compare(read: Read, measured: Any, rounding: float) -> tuple[bool, int, int]:
    """Compare a saved model with the outputs that were measured.

    Returns whether they differ by more than rounding, how many rows the model cannot read, and of how many. For outputs
    above 1, `rounding` is a share of the largest.
    """
    measured = measured if isinstance(measured, tuple) else (measured,)
    numbers = np.arange(len(measured[0]))[:: -(-len(measured[0]) // _MAX_ROWS)]
    saved, differs, unread = read(numbers), False, np.zeros(len(numbers), bool)
    for before, after in zip(measured, saved if isinstance(saved, tuple) else (saved,), strict=True):
        # Batches of different rows may be padded to different lengths.
        both: tuple[Any, ...] = tuple(map(slice, map(min, before.shape[1:], after.shape[1:])))
        expected, predicted = before[(numbers, *both)].astype(float), after[(slice(None), *both)].astype(float)
        unread |= np.isnan(predicted).reshape(len(predicted), -1).any(1)
        largest = max(1.0, np.abs(expected).max(initial=0))
        differs |= bool((np.abs(predicted - expected)[~unread] > rounding * largest).any())
    return differs, int(unread.sum()), len(numbers)


def opened(folder: Path, network: Network, splits: Splits, job: TrainingJob, on_step: Callable[[], None]) -> Read:
    """Open the model of a network as its card says. `on_step` is called after every few rows."""
    device, spec = next(network.model.parameters()).device, job.spec
    read = network.opened(folder, splits.test, device)
    if read is None:
        if (folder / HEAD_WEIGHTS).is_file():
            saved = load_finetuned(folder, device=str(device), trust_remote_code=spec.code).network
        else:  # as a class of transformers
            spec = make_feature_spec(resolve(str(folder), "model"), splits.task.input, splits.task.id)
            saved = load_network(spec, splits)
            saved.model.eval().to(device)
        rows = saved.rows(splits.test, False)
        read = lambda numbers: network.trained_outputs(predict_rows(saved, rows, numbers))  # noqa: E731

    def in_steps(numbers: np.ndarray) -> Any:
        outputs = None
        for start in range(0, len(numbers), _STEP):
            some = read(numbers[start : start + _STEP])
            outputs = some if outputs is None else nested_concat(outputs, some, padding_index=IGNORED)
            on_step()
        return outputs

    return in_steps
