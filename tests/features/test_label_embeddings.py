"""Label embeddings by text encoders: towers as images and sounds are compared with them, notes, errors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import normalize

from hf_emms.run.label_embeddings import embed_texts
from tests.helpers.errors import raises_code
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of
from tests.helpers.tiny_families import family


def embed(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    return embed_texts(repo_of(folder), texts, device="cpu", **options)


@pytest.mark.parametrize("name", ["clip-text", "siglip-text", "clap"])
def test_a_text_tower_gives_what_its_model_compares_others_with(name: str, zoo: Path, tmp_path: Path) -> None:
    folder = family(zoo, name)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    # SigLIP was trained on texts of its full length.
    padding = {"padding": "max_length", "max_length": 24} if name == "siglip-text" else {"padding": True}
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[:5], return_tensors="pt", **padding)
    mask = {} if name == "siglip-text" else {"attention_mask": tokens["attention_mask"]}
    with torch.no_grad():
        expected = model.get_text_features(tokens["input_ids"], **mask).pooler_output
    *embedded, repeated = embed(folder, [*TEXTS[:5], TEXTS[1]])
    np.testing.assert_allclose(repeated, embedded[1], atol=1e-6)
    if name == "clap":  # both are compared at length 1
        embedded, expected = normalize(torch.tensor(np.array(embedded))), normalize(expected)
    np.testing.assert_allclose(embedded, expected, atol=1e-5)
    if name == "clip-text":
        # Like some published checkpoints, it claims 512 columns in the text part of its configuration.
        assert transformers.AutoConfig.from_pretrained(folder).text_config.projection_dim == 512
        shutil.copytree(folder, tmp_path / "0_CLIPModel")
        modules = [{"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}]
        (tmp_path / "modules.json").write_text(json.dumps(modules))
        np.testing.assert_array_equal(embed(tmp_path, TEXTS[:5]), embedded)


def test_texts_cut_at_the_encoders_limit_are_noted(zoo: Path) -> None:
    folder, notes = build(zoo, "bert"), list[str]()
    embed(folder, ["cat", "the small cat " * 20], on_note=notes.append)
    assert notes == [f"{folder}: truncated 1 text to 40 tokens, the model's maximum"]


def test_no_texts_are_an_error(zoo: Path) -> None:
    with raises_code("no-labels"):
        embed(build(zoo, "bert"), [])
