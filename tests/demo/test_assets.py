"""The embedded demo is complete, small, loadable without network or pickle, and documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, ModelCard

from hf_emms.errors import EmmsError
from hf_emms.presets import demo

LIMIT = 14_000_000  # bytes
SAFE = {".json", ".md", ".parquet", ".safetensors"}

CHECKPOINTS = demo.names("checkpoints")
ENCODERS = demo.names("encoders")
DATASETS = demo.names("datasets")
COLUMNS = (
    ["image", "caption"],
    ["image", "label"],
    ["text", "label"],
    ["image", "question", "answer"],
    ["id", "title", "context", "question", "answers"],
    ["image", "answer", "bbox"],
    ["text1", "text2", "label"],
    ["id", "tokens", "ner_tags"],
    ["audio", "label", "voice"],
    ["prompt", "completion"],
    ["query-id", "corpus-id", "score"],
)
DEMO = Path(demo.__file__).parent


def _is_text(repo_id: str) -> bool:
    return not (demo.folder_of(repo_id) / "preprocessor_config.json").exists()


def _family(repo_id: str) -> str:
    return json.loads((demo.folder_of(repo_id) / "config.json").read_text())["model_type"]


# families that read pictures with texts
PAIRED_FAMILIES = ("blip", "clip", "owlvit", "vilt", "vision-text-dual-encoder")
PAIRED = [name for name in CHECKPOINTS if _family(name) in PAIRED_FAMILIES]
SOUND = [name for name in CHECKPOINTS if _family(name) == "audio-spectrogram-transformer"]
IMAGE = [name for name in CHECKPOINTS if not _is_text(name) and name not in (*PAIRED, *SOUND)]
ENCODER_ONLY = [name for name in IMAGE if "captions" not in name]
TEXT = [name for name in CHECKPOINTS if _is_text(name)]


def _shipped() -> list[Path]:
    return [p for p in DEMO.rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"}]


def test_pool_is_large_enough_and_small_enough():
    assert len(ENCODER_ONLY) >= 8
    assert len(TEXT) >= 6
    assert len(SOUND) == 3
    assert len(ENCODERS) == 3
    assert len(DATASETS) == 12
    assert sum(path.stat().st_size for path in _shipped()) <= LIMIT


def test_nothing_that_ships_can_run_code():
    assert {path.suffix for path in _shipped()} <= SAFE


@pytest.mark.parametrize("repo_id", [*CHECKPOINTS, *ENCODERS])
def test_model_card_says_license_library_and_pipeline(repo_id):
    card = ModelCard.load(demo.folder_of(repo_id) / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.library_name == "transformers"
    assert card.data.pipeline_tag
    assert "hf-emms-demo" in card.data.tags
    assert f"# {repo_id}" in card.text


@pytest.mark.parametrize("repo_id", [*TEXT, *PAIRED, *ENCODERS])
def test_tokenizer_neither_cuts_nor_pads_unless_told_to(repo_id):
    settings = json.loads((demo.folder_of(repo_id) / "tokenizer.json").read_text(encoding="utf-8"))
    assert settings["truncation"] is None
    assert settings["padding"] is None


@pytest.mark.parametrize("repo_id", DATASETS)
def test_dataset_loads_as_its_card_says(repo_id, tmp_path):
    from datasets import load_dataset

    folder = demo.folder_of(repo_id)
    card = DatasetCard.load(folder / "README.md")
    table = load_dataset(str(folder), split="test", cache_dir=str(tmp_path))
    info = card.data.to_dict()["dataset_info"]
    assert len(table) == info["splits"][0]["num_examples"]
    assert table.column_names == [feature["name"] for feature in info["features"]]
    assert table.column_names in COLUMNS


def test_unknown_demo_name_lists_the_known_ones():
    with pytest.raises(EmmsError) as raised:
        demo.folder_of("emms-demo/resnet-distiled")
    assert "emms-demo/resnet-distilled" in raised.value.hint
