"""Devices: a model prepared for a CPU returns the same features, and batches fit into memory."""

from __future__ import annotations

import os
import platform
import subprocess
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from hf_emms.features import device
from hf_emms.features.device import PIXELS, BatchedForward
from hf_emms.inputs.image import ImageProcessor, ImageReader
from tests.helpers.errors import raises_code
from tests.helpers.extracting import load, pictures, rows, some_pairs
from tests.helpers.quick_python import python
from tests.helpers.tiny_checkpoints import TEXTS, VISION, build
from tests.helpers.tiny_families import family, timm_checkpoint
from tests.helpers.tiny_pairs import build_pair

PACKS = platform.machine() in ("x86_64", "AMD64") and torch.backends.mkldnn.is_available()
packs = pytest.mark.skipif(not PACKS, reason="weights are packed on x86 with oneDNN")
SLACK = 2e-5  # of the largest feature


def packed(model: nn.Module) -> list[str]:
    return [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear) and "forward" in vars(module)
    ]


# Function that makes a checkpoint, name of the checkpoint, kind of input, and some inputs.
CASES = [
    *((family, name, "image", pictures()) for name in ("resnet", "vit", "swin", "beit", "clip", "git")),
    (timm_checkpoint, "densenet121", "image", pictures()[:3]),
    *((family, name, "text", TEXTS) for name in ("bert", "gpt2", "t5")),
    *((build_pair, name, "image+text", some_pairs()) for name in ("clip", "vilt", "grounding-dino")),
]


@pytest.mark.parametrize(("make", "name", "kind", "inputs"), CASES)
def test_a_prepared_model_gives_the_same_features(
    make: Callable[[Path, str], Path], name: str, kind: str, inputs: Any, zoo: Path
) -> None:
    """With every layer packed and channels side by side, against neither."""
    extractor = load(make(zoo, name), kind)
    model = extractor._model
    for packed_name in packed(model):
        del model.get_submodule(packed_name).forward
    torch.nn.utils.convert_conv2d_weight_memory_format(model, torch.contiguous_format)
    before = rows(extractor, inputs)
    device.pack_linears(model, min_weights=1)
    torch.nn.utils.convert_conv2d_weight_memory_format(model, torch.channels_last)
    linears = [module for module in model.modules() if type(module) is nn.Linear]
    assert len(packed(model)) == (len(linears) if PACKS else 0)
    np.testing.assert_allclose(rows(extractor, inputs), before, rtol=0, atol=SLACK * np.abs(before).max())


# --- layers -----------------------------------------------------------------------------------------------


@packs
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_gives_the_same_and_is_gone_when_nobody_holds_it(bias: bool) -> None:
    layer, inputs = nn.Linear(512, 384, bias=bias), torch.randn(2, 3, 4, 1024)[..., ::2]
    expected = layer(inputs).detach()
    device.pack_linears(layer)
    assert packed(layer) == [""]
    with torch.inference_mode():
        torch.testing.assert_close(layer(inputs), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(RuntimeError, match="have the same dtype"):
        layer(inputs.double())
    held = weakref.ref(layer)
    del layer
    assert held() is None  # without the collector: the next checkpoint needs the memory


@packs
def test_weights_names_and_hooks_of_a_packed_layer_stay() -> None:
    model = nn.Sequential(nn.Linear(512, 384), nn.ReLU(), nn.Linear(384, 512))
    model[2].weight = nn.Parameter(model[0].weight.T.contiguous())
    tied = nn.ModuleDict({"model": model, "again": nn.Linear(512, 384)})
    tied["again"].weight = model[0].weight
    before = {name: (id(value), value.clone()) for name, value in tied.named_parameters()}
    seen: list[Any] = []
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    device.pack_linears(tied)
    with torch.inference_mode():
        model(torch.randn(2, 512))
        torch.testing.assert_close(
            tied["again"](torch.ones(1, 512)),
            nn.functional.linear(torch.ones(1, 512), model[0].weight, tied["again"].bias),
        )
    assert seen == [(2, 384)]
    assert packed(tied) == ["model.0", "model.2", "again"]
    after = dict(tied.named_parameters())
    assert list(after) == list(before)
    assert all(id(after[name]) == key and torch.equal(after[name], value) for name, (key, value) in before.items())


class Scaled(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


def _linear(**attributes: Any) -> nn.Module:
    layer = nn.Linear(512, 512)
    for name, value in attributes.items():
        setattr(layer, name, value)
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scaled(512, 512),
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(512, 512)),
        lambda: _linear(weight=nn.Parameter(torch.ones(512, 512, dtype=torch.int8), requires_grad=False)),
        lambda: _linear(weight=nn.Parameter(torch.zeros(1, 1).expand(2**15, 2**14 + 1))),  # more than 2 GB
        lambda: nn.Linear(512, 512, dtype=torch.float64),
        lambda: nn.Linear(512, 512, device="meta"),
        lambda: nn.Linear(64, 64),
        lambda: _linear(forward=lambda input: input),
    ],
)
def test_other_layers_are_left_alone(make: Callable[[], nn.Module]) -> None:
    model = make()
    forwards = [vars(module).get("forward") for module in model.modules()]
    device.pack_linears(model)
    assert [vars(module).get("forward") for module in model.modules()] == forwards


@pytest.mark.parametrize(("name", "channels_last"), [("clip", True), ("metaclip_2", False)])
def test_only_code_that_tests_run_gets_channels_last(name: str, channels_last: bool, zoo: Path) -> None:
    model = load(build_pair(zoo / "pairs", name), "image+text")._model
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert [not weight.is_contiguous() for weight in weights] == [channels_last]


@packs
def test_a_checkpoint_with_large_layers_is_packed_as_it_is_loaded(zoo: Path) -> None:
    config = {**VISION, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}
    model = load(build(zoo, "large", lambda: transformers.ViTModel(transformers.ViTConfig(**config))))._model
    assert {model.get_submodule(name).weight.numel() for name in packed(model)} == {256 * 512}


RESIDENT = """
import resource, torch
from pathlib import Path
from hf_emms.features.device import keep_freed_memory, release_freed_memory

def megabytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20

keep_freed_memory()
for _ in range(2):
    held = [torch.ones(2**21) for _ in range(12)]  # 96 MB
    del held
before = megabytes()
release_freed_memory()
print(before - megabytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
@pytest.mark.parametrize(
    "setting", [{}, {"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}]
)
def test_freed_memory_is_kept_until_it_is_released_unless_the_user_says_otherwise(setting: dict[str, str]) -> None:
    done = subprocess.run(
        [*python(), "-c", RESIDENT], env=os.environ | setting, capture_output=True, text=True, check=True
    )
    assert (float(done.stdout) > 80) == (not setting)


# --- batches ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "images"), [(224, 8), (225, 7), (112, 32), (16, 256), (2_000, 1)])
def test_images_a_batch_follow_their_size(side: int, images: int) -> None:
    cpu = torch.device("cpu")
    reader = ImageReader(ImageProcessor(None, None), side**2, True, cpu)
    assert reader.images_that_fit(BatchedForward(lambda inputs: inputs["pixel_values"], cpu, PIXELS)) == images


def test_batches_halve_until_they_fit() -> None:
    sizes: list[int] = []

    def forward(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        data = inputs["pixel_values"]
        sizes.append(len(data))
        # More than three rows ask for more memory than any machine has: the allocator's own error.
        torch.empty(1 if len(data) <= 3 else 1 << 50)
        return data * 2

    run = BatchedForward(forward, torch.device("cpu"), {"cpu": 1})
    data = torch.arange(26.0).reshape(13, 2)
    torch.testing.assert_close(run({"pixel_values": data}), data * 2)
    assert sizes == [13, 6, 3, 3, 3, 3, 1]
    assert run.halvings == 2
    sizes.clear()
    run({"pixel_values": data})
    run({"pixel_values": torch.zeros(2, 12)})
    assert sizes == [3, 3, 3, 3, 1, 1, 1]  # remembered, for longer inputs too


def test_one_input_that_does_not_fit_is_an_error() -> None:
    run = BatchedForward(lambda inputs: torch.empty(1 << 50), torch.device("cpu"), {"cpu": 1})
    with raises_code("out-of-memory", "10 elements") as refused:
        run({"input_ids": torch.zeros(4, 10)})
    assert (run.halvings, refused.value.hint) == (2, 'device="cpu", or dtype="bfloat16"')
