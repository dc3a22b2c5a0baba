"""A real GPU: the same features as on the CPU, batches that fit, copies that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hf_emms.features.device import pinned, to_device, to_numpy
from hf_emms.features.extractor import Extractor
from hf_emms.inputs import Pairs
from tests.helpers import extracting
from tests.helpers.extracting import pictures, rows, some_pairs
from tests.helpers.tiny_checkpoints import TEXTS, build
from tests.helpers.tiny_pairs import build_pair

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")

GPU = torch.device("cuda")
# What a checkpoint is, and what it reads.
CASES: dict[str, tuple[str, str, Sequence[Any]]] = {
    "texts": ("bert", "text", TEXTS),
    "pictures": ("vit", "image", pictures()),
    "towers": ("clip", "image+text", some_pairs()),
    "fused": ("vilt", "image+text", some_pairs()),
    "text pairs": ("bert", "text+text", Pairs(TEXTS, TEXTS, np.array([(0, 2), (1, 1), (2, 0)]))),
}


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Convolutions in float32: TF32, their default on a GPU, keeps three digits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def load(zoo: Path, case: str, device: str, **options: Any) -> Extractor:
    name, kind, _ = CASES[case]
    folder = build_pair(zoo, name) if kind == "image+text" else build(zoo, name)
    return extracting.load(folder, kind, device=device, **options)


@pytest.mark.parametrize("case", CASES)
def test_features_are_those_of_the_cpu(zoo: Path, case: str) -> None:
    there, here = load(zoo, case, "cuda"), load(zoo, case, "cpu")
    inputs = CASES[case][2]
    for batch_size in (None, 2, 1):
        expected = rows(here, inputs, batch_size)
        np.testing.assert_allclose(rows(there, inputs, batch_size), expected, rtol=1e-3, atol=1e-4)
    assert there.notes == here.notes  # the probe's long texts do not count as texts that were cut


def test_batches_come_over_pinned_and_whole() -> None:
    data = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    assert pinned(data, GPU).is_pinned()
    assert not pinned(data, torch.device("cpu")).is_pinned()
    assert to_device(data, GPU, torch.bfloat16).dtype == torch.bfloat16
    assert to_device(data.long(), GPU, torch.bfloat16).dtype == torch.int64
    # Each copy is under way while much is computed; a batch read too early would hold other numbers.
    heavy = torch.ones(4_096, 4_096, device=GPU)

    def batches() -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        for number in range(20):
            heavy.copy_((heavy @ heavy).clamp(max=1))
            yield np.array([number]), heavy[:1, :64] * number

    for count, (positions, features) in enumerate(to_numpy(batches())):
        assert positions.tolist() == [count]
        np.testing.assert_array_equal(features, np.full((1, 64), count, np.float32))
    assert count == 19


def test_batches_shrink_with_the_memory_that_is_free(zoo: Path) -> None:
    extractor = load(zoo, "texts", "cuda")
    texts = [" ".join(TEXTS)] * 20_000

    def largest() -> int:
        return max(len(positions) for positions, _ in extractor.batches(texts))

    roomy = largest()
    torch.cuda.empty_cache()
    hog = torch.empty(torch.cuda.mem_get_info()[0] - 2**27, dtype=torch.uint8, device=GPU)
    tight = largest()
    del hog
    torch.cuda.empty_cache()
    assert tight < roomy
    assert "halved" not in " ".join(extractor.notes)  # the probe measured what fits


def test_a_batch_that_does_not_fit_halves_itself(zoo: Path) -> None:
    extractor = load(zoo, "texts", "cuda")
    texts = [" ".join(TEXTS)] * 20_000
    expected = rows(extractor, texts[:1])
    total = torch.cuda.get_device_properties(GPU).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**26) / total)
    try:
        found = rows(extractor, texts, len(texts))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "halved" in " ".join(extractor.notes)
    np.testing.assert_allclose(found[[0, -1]], expected.repeat(2, 0), rtol=1e-3, atol=1e-4)
