"""How much of its input a forward is given: constants on a CPU, what fits on a GPU."""

from __future__ import annotations

import pytest
import torch

from hf_emms.features.device import SHARE, Budget, affordable
from hf_emms.features.extractor import PIXELS, TOKENS, fitting_images

BOUNDS = {"least": 1_024, "most": 262_144}


@pytest.mark.parametrize(
    ("free", "units", "taken", "expected"),
    [
        (10 * 2**30, 4_096, 128 * 2**20, int(SHARE * 80 * 4_096)),  # a probe of 1/80 of what is free
        (2**30, 4_096, 128 * 2**20, int(SHARE * 8 * 4_096)),  # less memory, smaller batches
        (10 * 2**30, 4_096, 1_280 * 2**20, int(SHARE * 8 * 4_096)),  # and so for a larger model
        (70 * 2**30, 4_096, 128 * 2**20, BOUNDS["most"]),
        (2**20, 4_096, 128 * 2**20, BOUNDS["least"]),
        (0, 4_096, 128 * 2**20, BOUNDS["least"]),
        (2**30, 4_096, 0, BOUNDS["most"]),  # what takes nothing fits
    ],
)
def test_a_batch_takes_its_share_of_free_memory_within_bounds(free: int, units: int, taken: int, expected: int) -> None:
    assert affordable(free, units, taken, **BOUNDS) == expected


@pytest.mark.parametrize("kind", ["cpu", "mps", "cuda"])
def test_without_a_probe_a_budget_is_that_of_the_kind_of_device(kind: str) -> None:
    budget = Budget(TOKENS, lambda inputs: inputs["input_ids"].numel(), torch.device(kind))
    assert budget.units() == TOKENS[kind]


def test_a_kind_of_device_that_nobody_measured_gets_what_a_cpu_gets() -> None:
    assert Budget(TOKENS, len, torch.device("meta")).units() == TOKENS["cpu"]


@pytest.mark.parametrize(("side", "images"), [(224, 8), (112, 32), (16, 256), (2_000, 1)])
def test_images_a_batch_follow_their_size(side: int, images: int) -> None:
    assert fitting_images(Budget(PIXELS, len, torch.device("cpu")), side**2) == images
