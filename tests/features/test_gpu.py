"""A real GPU: the same features as on the CPU, batches that fit, copies that nobody waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hf_emms.features.device import pinned, to_device, to_numpy
from tests.helpers.extracting import load, pairs_of, pictures, rows, some_pairs
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import TEXTS, build
from tests.helpers.tiny_pairs import build_pair

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")

GPU = torch.device("cuda")
# Function that makes a checkpoint, name of the checkpoint, kind of input, and some inputs.
CASES: list[tuple[Callable[[Path, str], Path], str, str, Sequence[Any]]] = [
    (build, "bert", "text", TEXTS),
    (build, "vit", "image", pictures()),
    (build_pair, "clip", "image+text", some_pairs()),
    (build_pair, "vilt", "image+text", some_pairs()),
    (build, "bert", "text+text", pairs_of(TEXTS[:3], TEXTS[:3])),
]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Convolutions in float32: TF32, their default on a GPU, keeps three digits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize(("make", "name", "kind", "inputs"), CASES)
def test_features_are_those_of_the_cpu(
    make: Callable[[Path, str], Path], name: str, kind: str, inputs: Sequence[Any], zoo: Path
) -> None:
    there, here = (load(make(zoo, name), kind, device=device) for device in ("cuda", "cpu"))
    for batch_size in (None, 2, 1):
        expected = rows(here, inputs, batch_size)
        np.testing.assert_allclose(rows(there, inputs, batch_size), expected, rtol=1e-3, atol=1e-4)
    assert there.notes == here.notes  # the probe's long texts do not count as texts that were truncated


def test_batches_come_over_pinned_and_whole() -> None:
    data = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    assert pinned(data, GPU).is_pinned()
    assert not pinned(data, torch.device("cpu")).is_pinned()
    assert to_device(data, GPU, torch.bfloat16).dtype == torch.bfloat16
    assert to_device(data.long(), GPU, torch.bfloat16).dtype == torch.int64
    # Each copy runs while much is computed; a batch that is read too early would contain other numbers.
    heavy = torch.ones(4_096, 4_096, device=GPU)

    def batches() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for number in range(20):
            heavy.copy_((heavy @ heavy).clamp(max=1))
            yield np.array([number]), heavy[:1, :64] * number

    for count, (positions, features) in enumerate(to_numpy(batches())):
        assert positions.tolist() == [count]
        np.testing.assert_array_equal(features, np.full((1, 64), count, np.float32))
    assert count == 19


def test_a_batch_that_does_not_fit_halves_itself(zoo: Path) -> None:
    extractor = load(build(zoo, "bert"), "text", device="cuda")
    texts = [" ".join(TEXTS)] * 20_000
    expected = rows(extractor, texts[:1])
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**26) / total)
    try:
        found = rows(extractor, texts, len(texts))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "batch-halved" in codes(extractor.notes)
    np.testing.assert_allclose(found[[0, -1]], expected.repeat(2, 0), rtol=1e-3, atol=1e-4)
