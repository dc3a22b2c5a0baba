"""Private names of other packages that hf_emms uses: each test says what breaks without the name."""

from __future__ import annotations

import importlib
import inspect
import platform
from pathlib import Path

import gradio
import pytest
import torch
import transformers


def test_training_uses_one_gpu_of_several(tmp_path: Path) -> None:
    settings = transformers.TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    settings._n_gpu = 3
    assert settings.n_gpu == 3


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("_save_checkpoint", ["self", "model", "trial"]),  # a killed training leaves no half of a state
        ("_load_best_model", ["self"]),  # a training that was killed after its last step is not run again
    ],
)
def test_trainings_resume_from_whole_states(name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(transformers.Trainer, name)).parameters) == parameters
    assert f"self.{name}(" in inspect.getsource(transformers.Trainer)


@pytest.mark.parametrize("family", ["Wav2Vec2Model", "HubertModel", "WavLMModel", "WhisperModel"])
def test_padding_of_sounds_is_left_out_of_their_mean(family: str) -> None:
    """Without the name, the frames of padding are estimated from the lengths, within a frame."""
    model = getattr(transformers, family)
    names = {name for part in (model, *model.__mro__) for name in vars(part)}
    if family == "WhisperModel":
        names |= set(vars(transformers.models.whisper.modeling_whisper.WhisperPreTrainedModel))
    assert "_get_feat_extract_output_lengths" in names


def test_linear_layers_are_packed_once() -> None:
    """Without the names, products on a CPU take longer; numbers stay."""
    if platform.machine() not in ("x86_64", "AMD64") or not torch.backends.mkldnn.is_available():
        pytest.skip("packing needs oneDNN on x86")
    for name in ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported"):
        assert hasattr(torch.ops.mkldnn, name), name


def test_short_runs_are_measured_without_imports() -> None:
    assert importlib.import_module("torch._dynamo")


def test_retries_of_requests_are_not_logged_on_the_terminal() -> None:
    module = importlib.import_module("huggingface_hub.utils._http")
    assert module.logger.name == "huggingface_hub.utils._http"


def test_an_idle_page_takes_no_processor_time() -> None:
    with gradio.Blocks() as blocks:
        pass
    assert {"sleep_when_free", "progress_update_sleep_when_free"} <= vars(blocks._queue).keys()
