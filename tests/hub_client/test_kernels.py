"""Compiled layers of kernel repositories stay on the Hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.errors import raises_code
from tests.helpers.extracting import copied, load
from tests.helpers.tiny_checkpoints import build
from tests.hub import Hub


@pytest.mark.parametrize("environment", [{}, {"USE_HUB_KERNELS": "1"}])
def test_a_forward_pass_and_a_training_step_request_no_kernel(
    hub: Hub, client: Callable[..., Any], environment: dict[str, str], tmp_path: Path
) -> None:
    # transformers maps layers to kernels on GPUs; this maps one on a CPU.
    code = f"""
    import contextlib, json, hf_emms
    try:
        from kernels import LayerRepository, use_kernel_mapping
    except ImportError:
        mapped = contextlib.nullcontext()
    else:
        layer = LayerRepository("kernels-community/activation", layer_name="Gelu", version=1)
        mapped = use_kernel_mapping({{"GeLU": {{"cpu": layer}}}})
    with mapped:
        ranking = hf_emms.rank(
            "demo_glosses", ["emms-demo/bert-random"], encoders=["emms-demo/encoder-minilm-static"], max_samples=40,
            cache=False, confirm=1, steps=2, confirm_samples=40, learning_rates=[1e-3],
            save_model={str(tmp_path / "best")!r},
        )
    row = ranking.rows[0]
    print(json.dumps([row.error, row.fine_tuned.error]))
    """
    assert client(code, HF_EMMS_WORKER="0", **environment) == [None, None]
    assert [entry.line for entry in hub.requests if "kernel" in entry.line] == []


def test_attention_that_a_configuration_names_on_the_hub_is_not_loaded(
    hub: Hub, client: Callable[..., Any], zoo: Path, tmp_path: Path
) -> None:
    plain = build(zoo, "bert")
    folders = [str(plain), str(copied(plain, tmp_path, attn_implementation="kernels-community/flash-attn2"))]
    code = f"""
    import json
    from pathlib import Path
    from tests.helpers.extracting import load, rows
    first, second = (rows(load(Path(folder), "text"), ["a text"]) for folder in {folders})
    print(json.dumps(float(abs(first - second).max())))
    """
    assert client(code) < 1e-5
    assert [entry.line for entry in hub.requests if "kernel" in entry.line] == []


@pytest.mark.parametrize("family", ["mra", "rwkv", "yoso"])
def test_families_that_load_kernels_on_gpus_are_refused_there(
    family: str, zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with raises_code("kernels"):
        load(copied(build(zoo, "bert"), tmp_path, model_type=family), "text")
