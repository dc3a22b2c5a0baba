"""The embedded demo is complete, small, loadable without network or pickle, and documented."""

from __future__ import annotations

import json
from pathlib import Path

from huggingface_hub import DatasetCard, ModelCard

from hf_emms.presets import demo

LIMIT = 14_000_000  # bytes
SAFE = {".json", ".md", ".parquet", ".safetensors"}
DATASETS = demo.names("datasets")
MODELS = (*demo.names("checkpoints"), *demo.names("encoders"))


def test_what_ships_is_small_and_cannot_run_code():
    shipped = [path for path in Path(demo.__file__).parent.rglob("*") if path.suffix not in {".py", ".pyc"}]
    shipped = [path for path in shipped if path.is_file()]
    assert {path.suffix for path in shipped} <= SAFE
    assert sum(path.stat().st_size for path in shipped) <= LIMIT
    assert (len(demo.names("encoders")), len(DATASETS)) == (3, 13)


def test_checkpoints_have_a_card_and_a_tokenizer_that_neither_cuts_nor_pads_unless_told_to():
    for id in MODELS:
        folder = demo.folder_of(id)
        card = ModelCard.load(folder / "README.md")
        assert (card.data.license, card.data.library_name) == ("apache-2.0", "transformers"), id
        assert card.data.pipeline_tag, id
        assert "hf-emms-demo" in card.data.tags, id
        assert f"# {id}" in card.text
        if (folder / "tokenizer.json").exists():
            settings = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
            assert (settings["truncation"], settings["padding"]) == (None, None), id
        else:
            assert (folder / "preprocessor_config.json").exists(), id


def test_datasets_load_as_their_cards_say(tmp_path):
    from datasets import load_dataset

    for id in DATASETS:
        folder = demo.folder_of(id)
        info = DatasetCard.load(folder / "README.md").data.to_dict()["dataset_info"]
        table = load_dataset(str(folder), split="test", cache_dir=str(tmp_path))
        assert len(table) == info["splits"][0]["num_examples"], id
        assert table.column_names == [feature["name"] for feature in info["features"]], id
