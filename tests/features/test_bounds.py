"""Numbers in configurations that are too large for any checkpoint, and names of other repositories."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hf_emms.errors import EmmsError
from hf_emms.features import load as load_module
from tests.helpers.extracting import copied, edit_json, load
from tests.helpers.sound import SOUND_FAMILIES, sound_checkpoint
from tests.helpers.tiny_checkpoints import build

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"
AST = "audio-spectrogram-transformer"
PIXELS = r"preprocessor_config\.json of .* asks for 1,000,000 pixels"
ELSEWHERE = "names another repository, '{}'".format


@pytest.mark.parametrize(
    ("family", "file", "changes", "message"),
    [
        ("wav2vec2", PROCESSOR, {"sampling_rate": 10**9}, "asks for 1,000,000,000 samples a second"),
        ("wav2vec2", PROCESSOR, {"sampling_rate": 0}, "asks for 0 samples a second"),
        ("whisper", PROCESSOR, {"chunk_length": 10**9}, "asks for 1,000,000,000 seconds"),
        ("whisper", PROCESSOR, {"feature_size": 10**9}, "asks for 1,000,000,000 pixels or values"),
        ("whisper", PROCESSOR, {"n_fft": 10**9}, "asks for 1,000,000,000 values a frame"),
        (AST, PROCESSOR, {"max_length": 10**10}, "asks for 10,000,000,000 samples or frames"),
        ("vit", PROCESSOR, {"size": {"height": 10**6, "width": 10**6}}, PIXELS),
        ("vit", PROCESSOR, {"size": {"shortest_edge": 10**6}}, PIXELS),
        ("vit", PROCESSOR, {"size": [10**6, 10**6]}, PIXELS),
        ("vit", PROCESSOR, {"do_pad": True, "size_divisor": 10**6}, PIXELS),
        ("vit", PROCESSOR, {"image_processor_type": "OneFormerImageProcessorFast"}, "reads another repository"),
        ("vit", CONFIG, {"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "asks for 1,000,000 pixels"),
        ("vit", CONFIG, {"num_hidden_layers": 2_001}, r"asks for 2,001 layers \(num_hidden_layers\)"),
        ("vit", CONFIG, {"text_config": {"n_layer": -1}}, "asks for -1 layers"),
        ("vit", CONFIG, {"x": [{"depth": 1e9}]}, r"asks for \S+ layers"),
        ("vit", CONFIG, {"depths": [1, 10**9]}, r"asks for 1,000,000,000 layers \(depths\)"),
        ("vit", CONFIG, {"backbone": "org/other"}, ELSEWHERE("org/other")),
        ("vit", CONFIG, {"backbone_config": {"backbone": "local-dir:/etc"}}, ELSEWHERE("local-dir:/etc")),
    ],
)
def test_a_configuration_that_would_fill_the_memory_or_reads_elsewhere_is_refused(
    family: str, file: str, changes: dict[str, Any], message: str, zoo: Path, tmp_path: Path
) -> None:
    is_sound = family in SOUND_FAMILIES
    folder = copied(sound_checkpoint(zoo, family) if is_sound else build(zoo, family), tmp_path)
    edit_json(folder / file, **changes)
    with pytest.raises(EmmsError, match=message):
        load(folder, "audio" if is_sound else "image")


def test_a_checkpoint_larger_than_the_memory_is_refused(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "total_main_memory", lambda: 10_000)  # of a container that is very small
    message = r"takes \S+ kB in float32, and 10\.0 kB of memory is all that there is"
    with pytest.raises(EmmsError, match=message) as refused:
        load(build(zoo, "bert"), "text")
    assert 'dtype="bfloat16"' in str(refused.value.hint)
