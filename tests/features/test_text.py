"""Checkpoints share a tokenizer where their files say the same, and nothing else is taken for the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.features.load import load_extractor
from hf_emms.features.text import read_tokenizer
from tests.helpers.counting import counted_calls
from tests.helpers.extracting import rows
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of


def tokenizer_of(folder: Path) -> object:
    return read_tokenizer(plan_extraction(repo_of(folder), "text", "text-classification"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint whose tokenizer no other test has read."""
    made = build(tmp_path, "bert")
    edit(made / "tokenizer_config.json", of=str(tmp_path))
    return made


@pytest.fixture
def twin(folder: Path) -> Path:
    return shutil.copytree(folder, folder.with_name("twin"))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_same_files_are_read_once_whatever_else_is_in_the_folder(folder: Path, twin: Path) -> None:
    edit(twin / "config.json", num_hidden_layers=1, id2label={"0": "cat"}, _name_or_path="elsewhere")
    (twin / "README.md").write_text("fine-tuned")
    (twin / "model.safetensors").write_bytes(b"other weights")
    with counted_calls(transformers.AutoTokenizer.from_pretrained.__func__, lambda frame: "read") as reads:
        assert tokenizer_of(folder) is tokenizer_of(twin)
    assert reads == ["read"]


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: edit(folder / "tokenizer_config.json", model_max_length=7),
        lambda folder: edit(folder / "config.json", model_type="roberta"),
        lambda folder: edit(folder / "config.json", transformers_version="4.40.0"),
        lambda folder: edit(folder / "config.json", encoder={"model_type": "bert"}),
        lambda folder: edit(folder / "tokenizer.json", normalizer={"type": "Lowercase"}),
        lambda folder: (folder / "special_tokens_map.json").write_text('{"pad_token": "</s>"}'),
        lambda folder: (folder / "bpe.codes").write_text("a b"),
    ],
)
def test_whatever_a_tokenizer_may_depend_on_gives_another(
    folder: Path, twin: Path, change: Callable[[Path], object]
) -> None:
    change(twin)
    assert tokenizer_of(folder) is not tokenizer_of(twin)


def test_one_that_reads_less_cuts_for_itself_alone(folder: Path) -> None:
    config = transformers.BertConfig.from_pretrained(folder, max_position_embeddings=6)
    short = build(folder.parent, "short", lambda: transformers.BertModel(config), reads_text=True)
    shutil.copy(folder / "tokenizer_config.json", short)
    assert tokenizer_of(short) is tokenizer_of(folder)
    long, cutting = (
        load_extractor(repo_of(one), "text", "text-classification", device="cpu") for one in (folder, short)
    )
    alone = rows(long, TEXTS)
    rows(cutting, TEXTS)
    assert cutting.cut > 0
    assert (rows(long, TEXTS) == alone).all()
    assert long.cut == 0
