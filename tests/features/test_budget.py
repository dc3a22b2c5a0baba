"""How much of its input a forward is given: constants on a CPU, what fits on a GPU."""

from __future__ import annotations

import pytest
import torch

from hf_emms.features.device import MEMORY_SHARE, BatchedForward, affordable
from hf_emms.features.extractor import PIXELS, TOKENS, count_pixels, count_tokens
from hf_emms.features.images import images_that_fit

BOUNDS = {"least": 1_024, "most": 262_144}


@pytest.mark.parametrize(
    ("free", "units", "taken", "expected"),
    [
        (10 * 2**30, 4_096, 128 * 2**20, int(MEMORY_SHARE * 80 * 4_096)),  # a probe of 1/80 of what is free
        (2**30, 4_096, 128 * 2**20, int(MEMORY_SHARE * 8 * 4_096)),  # less memory, smaller batches
        (10 * 2**30, 4_096, 1_280 * 2**20, int(MEMORY_SHARE * 8 * 4_096)),  # and so for a larger model
        (70 * 2**30, 4_096, 128 * 2**20, BOUNDS["most"]),
        (2**20, 4_096, 128 * 2**20, BOUNDS["least"]),
        (0, 4_096, 128 * 2**20, BOUNDS["least"]),
        (2**30, 4_096, 0, BOUNDS["most"]),  # what takes nothing fits
    ],
)
def test_a_batch_takes_its_share_of_free_memory_within_bounds(free: int, units: int, taken: int, expected: int) -> None:
    assert affordable(free, units, taken, **BOUNDS) == expected


def token_forward(device: str) -> BatchedForward:
    return BatchedForward(
        lambda inputs: inputs["input_ids"], torch.device(device), max_elements=TOKENS, count=count_tokens
    )


@pytest.mark.parametrize("kind", ["cpu", "mps", "cuda"])
def test_without_a_probe_a_batch_is_as_large_as_the_kind_of_device_allows(kind: str) -> None:
    assert token_forward(kind).batch_elements() == TOKENS[kind]


def test_an_unknown_kind_of_device_gets_what_a_cpu_gets() -> None:
    assert token_forward("meta").batch_elements() == TOKENS["cpu"]


@pytest.mark.parametrize(("side", "images"), [(224, 8), (112, 32), (16, 256), (2_000, 1)])
def test_images_a_batch_follow_their_size(side: int, images: int) -> None:
    forward = BatchedForward(
        lambda inputs: inputs["pixel_values"], torch.device("cpu"), max_elements=PIXELS, count=count_pixels
    )
    assert images_that_fit(forward, side**2) == images
