"""A part's inputs go through a checkpoint, and come out as features or, folded where they were made, as moments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from hf_emms.engines.parts import Features, Part, empty_moments, streamed_moments, with_rows
from hf_emms.engines.settings import Settings
from hf_emms.scoring.label_table import LabelTable
from hf_emms.scoring.moments import Moments

if TYPE_CHECKING:
    import torch

    from hf_emms.features.running import Running
    from hf_emms.features.transfer import Batch

# Of a GPU's free memory that sums may take: the forwards need the rest.
SUMS_SHARE = 0.25

Told = Callable[[int], None]


def batches_of(
    extractor: Running, part: Part, settings: Settings, on_inputs: Told = lambda count: None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Features of a part's inputs, batch by batch, see `Batches`; `on_inputs` is told how many inputs a batch had."""
    return _told(extractor.batches(part.inputs, batch_size=settings.batch_size), on_inputs)


def moments_from(
    extractor: Running,
    part: Part,
    labels: LabelTable,
    settings: Settings,
    on_inputs: Told = lambda count: None,
) -> dict[str, Moments]:
    """Layer → moments of a part's rows, without their features.

    On a CUDA GPU, the features stay there and only their sums come back.
    """
    columns = extractor.columns
    if extractor.device.type == "cuda" and _folds_there(empty_moments(columns, labels, settings), part, extractor):
        batches = extractor.device_batches(part.inputs, batch_size=settings.batch_size)
        return folded_there(_told(batches, on_inputs), columns, part, labels, settings, extractor.device)
    return streamed_moments(batches_of(extractor, part, settings, on_inputs), columns, part, labels, settings)


def folded_there(
    batches: Iterable[Batch],
    columns: Mapping[str, slice],
    part: Part,
    labels: LabelTable,
    settings: Settings,
    device: torch.device,
) -> dict[str, Moments]:
    """`streamed_moments` of batches of a device, by that device."""
    from hf_emms.scoring.device_moments import DeviceMoments

    forms = empty_moments(columns, labels, settings)
    moments = {layer: DeviceMoments(form, device) for layer, form in forms.items()}
    for features, places, taken, groups in with_rows(batches, part, labels):
        for layer, own in columns.items():
            moments[layer].update(features[:, own], places, taken, groups)
    return {layer: own.moments() for layer, own in moments.items()}


def _folds_there(forms: Mapping[str, Moments], part: Part, extractor: Running) -> bool:
    """Whether there are rows to be folded (few are kept as they are), and room for the sums."""
    from hf_emms.features.budget import free_memory
    from hf_emms.scoring.device_moments import device_bytes

    if any(len(part.rows) <= form.capacity for form in forms.values()):
        return False
    needed = sum(device_bytes(form) for form in forms.values())
    return needed <= SUMS_SHARE * free_memory(extractor.device)


def _told(batches: Iterable[tuple[np.ndarray, Features]], on_inputs: Told) -> Iterator[tuple[np.ndarray, Features]]:
    for positions, features in batches:
        yield positions, features
        on_inputs(len(positions))
