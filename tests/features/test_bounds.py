"""Numbers in configurations that are too large for any checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hf_emms.errors import EmmsError
from hf_emms.features import load as load_module
from tests.helpers.extracting import load
from tests.helpers.sound import sound_checkpoint
from tests.helpers.tiny_checkpoints import build


def edit_processor(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("wav2vec2", {"sampling_rate": 10**9}, "asks for 1,000,000,000 samples a second"),
        ("wav2vec2", {"sampling_rate": 0}, "asks for 0 samples a second"),
        ("whisper", {"chunk_length": 10**9}, "asks for 1,000,000,000 seconds"),
        ("whisper", {"feature_size": 10**9}, "asks for 1,000,000,000 pixels or values"),
        ("whisper", {"n_fft": 10**9}, "asks for 1,000,000,000 values a frame"),
        ("audio-spectrogram-transformer", {"max_length": 10**10}, "asks for 10,000,000,000 samples or frames"),
    ],
)
def test_a_sound_that_would_fill_the_memory_is_refused(
    family: str, changes: dict[str, Any], message: str, zoo: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(sound_checkpoint(zoo, family), tmp_path / family)
    edit_processor(folder, changes)
    with pytest.raises(EmmsError, match=message):
        load(folder, "audio")


@pytest.mark.parametrize(
    "changes",
    [
        {"size": {"height": 10**6, "width": 10**6}},
        {"size": {"shortest_edge": 10**6}},
        {"size": [10**6, 10**6]},
        {"do_pad": True, "size_divisor": 10**6},
    ],
)
def test_a_picture_that_would_fill_the_memory_is_refused(changes: dict[str, Any], zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    edit_processor(folder, changes)
    with pytest.raises(EmmsError, match=r"preprocessor_config\.json of .* asks for 1,000,000 pixels"):
        load(folder)


def test_numbers_of_layers_in_lists_count(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "swin"), tmp_path / "swin")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "depths": [1, 10**9]}))
    with pytest.raises(EmmsError, match=r"asks for 1,000,000,000 layers \(depths\)"):
        load(folder)


def test_a_checkpoint_larger_than_the_memory_is_refused(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_module, "total_main_memory", lambda: 10_000)  # of a container that is very small
    with pytest.raises(
        EmmsError, match=r"takes \S+ kB in float32, and 10\.0 kB of memory is all that there is"
    ) as refused:
        load(build(zoo, "bert"), "text")
    assert 'dtype="bfloat16"' in str(refused.value.hint)


@pytest.mark.parametrize("backbone", ["org/other", "local-dir:/etc"])
def test_a_backbone_in_another_repository_is_refused(backbone: str, zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    path = folder / "config.json"
    for changes in ({"backbone": backbone}, {"backbone_config": {"backbone": backbone}}):
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        with pytest.raises(EmmsError, match=f"names another repository, '{backbone}'"):
            load(folder)


def test_a_processor_that_reads_files_elsewhere_is_refused(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    (tmp_path / "classes.json").write_text("{}")
    edit_processor(
        folder,
        {
            "image_processor_type": "OneFormerImageProcessorFast",
            "repo_path": str(tmp_path),
            "class_info_file": "classes.json",
            "num_text": 1,
        },
    )
    with pytest.raises(EmmsError, match="reads another repository"):
        load(folder)


def test_pictures_of_a_timm_checkpoint_have_bounds(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "vit"), tmp_path / "vit")
    path = folder / "config.json"
    settings = {"pretrained_cfg": {"input_size": [3, 10**6, 10**6]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    with pytest.raises(EmmsError, match=r"config\.json of .* asks for 1,000,000 pixels"):
        load(folder)
