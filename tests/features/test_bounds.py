"""Numbers in configurations that are too large for any checkpoint, and names of other repositories."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from hf_emms.errors import EmmsError
from hf_emms.features import load as load_module
from hf_emms.features.bounds import check_adapter_config, check_model_config, check_processor_config
from tests.helpers.extracting import copied, edit_json, load
from tests.helpers.sound import SOUND_FAMILIES, sound_checkpoint
from tests.helpers.tiny_checkpoints import build, repo_of

CONFIG, PROCESSOR, ADAPTER = "config.json", "preprocessor_config.json", "adapter_config.json"
PIXELS = r"preprocessor_config\.json of .* asks for 1,000,000 pixels"
ELSEWHERE = "names another repository, '{}'".format


@pytest.mark.parametrize(
    ("family", "file", "changes", "message"),
    [
        ("wav2vec2", PROCESSOR, {"sampling_rate": 0}, "asks for 0 samples a second"),
        ("whisper", PROCESSOR, {"chunk_length": 10**9}, "asks for 1,000,000,000 seconds"),
        ("vit", PROCESSOR, {"size": {"height": 10**6, "width": 10**6}}, PIXELS),
        ("vit", PROCESSOR, {"image_processor_type": "OneFormerImageProcessorFast"}, "reads another repository"),
        ("vit", CONFIG, {"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}, "asks for 1,000,000 pixels"),
        ("vit", CONFIG, {"num_hidden_layers": 2_001}, r"asks for 2,001 layers \(num_hidden_layers\)"),
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


@pytest.mark.parametrize(
    ("file", "settings", "least", "most", "noun"),
    [
        (CONFIG, '{"num_hidden_layers": N}', 0, 2_000, "layers"),
        (CONFIG, '{"text_config": {"n_layer": N}}', 0, 2_000, "layers"),
        (CONFIG, '{"x": [{"depth": N}], "depths": [1, N]}', 0, 2_000, "layers"),
        (CONFIG, '{"num_local_experts": N}', 0, 10_000, "experts"),
        (CONFIG, '{"num_labels": N}', 0, 10_000_000, "labels"),
        (CONFIG, '{"pretrained_cfg": {"crop_pct": N}}', 0.05, 20, "times the size of the crop"),
        (PROCESSOR, '{"size": {"shortest_edge": N}}', 0, 8_192, "pixels or values"),
        (PROCESSOR, '{"size": [N, N]}', 0, 8_192, "pixels or values"),
        (PROCESSOR, '{"size_divisor": N}', 0, 8_192, "pixels or values"),
        (PROCESSOR, '{"feature_size": N}', 0, 8_192, "pixels or values"),
        (PROCESSOR, '{"sampling_rate": N}', 100, 400_000, "samples a second"),
        (PROCESSOR, '{"chunk_length": N}', 0, 3_600, "seconds"),
        (PROCESSOR, '{"n_fft": N}', 0, 65_536, "values a frame"),
        (PROCESSOR, '{"max_length": N}', 0, 100_000_000, "samples or frames"),
        (ADAPTER, '{"r": N}', 0, 65_536, "sizes"),
        (ADAPTER, '{"layer_replication": [[N, 1]]}', 0, 2_000, "layers"),
    ],
)
def test_numbers_at_a_bound_are_taken_and_those_beyond_it_refused(
    file: str, settings: str, least: float, most: float, noun: str, tmp_path: Path
) -> None:
    def check(number: float) -> None:
        text, repo = settings.replace("N", str(number)), repo_of(tmp_path)
        if file == PROCESSOR:
            (tmp_path / file).write_text(text)
            check_processor_config(repo, tmp_path)
        else:
            (check_model_config if file == CONFIG else check_adapter_config)(repo, json.loads(text))

    for number in (least, most):
        check(number)
    for number in (least - 1, most + 1):
        with pytest.raises(EmmsError, match=f"{file} of .* asks for {number:,} {noun}"):
            check(number)


def test_a_checkpoint_larger_than_the_memory_is_refused(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "total_main_memory", lambda: 10_000)  # of a container that is very small
    message = r"takes \S+ kB in float32, and 10\.0 kB of memory is all that there is"
    with pytest.raises(EmmsError, match=message) as refused:
        load(build(zoo, "bert"), "text")
    assert 'dtype="bfloat16"' in str(refused.value.hint)
