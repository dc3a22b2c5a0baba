"""Label embeddings by real (tiny, random) text encoders of every layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from hf_emms.errors import EmmsError
from hf_emms.run.label_embeddings import embed_texts
from tests.helpers.extracting import load
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of
from tests.helpers.tiny_families import TEXT_FAMILIES


def embed(folder: Path, texts: list[str], **options: Any) -> np.ndarray:
    return embed_texts(repo_of(folder), texts, device="cpu", **options)


def sentence_layout(
    bert: Path, to: Path, pooling: dict[str, Any], *, normalise: bool = False, dense: tuple[str, ...] = ()
) -> Path:
    """A folder as sentence-transformers writes it, around a BERT checkpoint."""
    shutil.copytree(bert, to)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), *((path, "Dense") for path in dense)]
    modules += [("9_Normalize", "Normalize")] * normalise
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(modules)
    ]
    (to / "modules.json").write_text(json.dumps(listed))
    (to / "1_Pooling").mkdir()
    (to / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **pooling}))
    (to / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12, "do_lower_case": False}))
    return to


def test_rows_come_in_the_order_of_the_texts_also_when_one_repeats(zoo: Path) -> None:
    folder = build(zoo, "bert")
    both = embed(folder, ["cat", TEXTS[2], "cat"])
    np.testing.assert_allclose(both[0], both[2], atol=1e-6)
    assert np.abs(both[0] - both[1]).max() > 1e-3


def test_clip_gives_its_projected_text_features(zoo: Path) -> None:
    folder = build(zoo, "clip-text")
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[:5], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.get_text_features(tokens["input_ids"], tokens["attention_mask"]).pooler_output
    # The text part of this configuration claims 512 columns, as those of some published checkpoints do.
    assert transformers.AutoConfig.from_pretrained(folder).text_config.projection_dim == 512
    np.testing.assert_allclose(embed(folder, TEXTS[:5]), expected, atol=1e-5)


def test_claps_text_tower_gives_what_sounds_are_compared_with(zoo: Path) -> None:
    folder = build(zoo, "clap", TEXT_FAMILIES["clap"], reads_text=True)
    model = transformers.ClapModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS[:5], padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = model.get_text_features(tokens["input_ids"], tokens["attention_mask"]).pooler_output
    # Both are compared at length 1.
    embedded = torch.nn.functional.normalize(torch.from_numpy(embed(folder, TEXTS[:5])))
    np.testing.assert_allclose(embedded, torch.nn.functional.normalize(expected), atol=1e-5)


def test_siglip_texts_are_padded_to_the_full_length_as_in_its_training(zoo: Path) -> None:
    folder = build(zoo, "siglip-text")
    model = transformers.SiglipModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(
        TEXTS[:5], padding="max_length", max_length=24, return_tensors="pt"
    )
    with torch.no_grad():
        expected = model.text_model(tokens["input_ids"]).pooler_output
    np.testing.assert_allclose(embed(folder, TEXTS[:5]), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "spelling"), [("cls", "flags"), ("mean", "word"), ("max", "flags"), ("lasttoken", "word")]
)
def test_pooling_of_a_sentence_transformers_layout_is_honoured(
    mode: str, spelling: str, zoo: Path, tmp_path: Path
) -> None:
    flag = {"cls": "cls_token", "mean": "mean_tokens", "max": "max_tokens", "lasttoken": "lasttoken"}[mode]
    flags = {f"pooling_mode_{name}": name == flag for name in ("cls_token", "mean_tokens", "max_tokens")}
    pooling = {**flags, f"pooling_mode_{flag}": True} if spelling == "flags" else {"pooling_mode": mode}
    bert = build(zoo, "bert")
    folder = sentence_layout(bert, tmp_path / "st", pooling)
    texts = TEXTS[:4]
    model = transformers.BertModel.from_pretrained(bert, add_pooling_layer=False).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(bert)
    expected = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            hidden = model(input_ids=ids).last_hidden_state[0]
        pooled = {"cls": hidden[0], "mean": hidden.mean(0), "max": hidden.amax(0), "lasttoken": hidden[-1]}
        expected.append(pooled[mode].numpy())
    np.testing.assert_allclose(embed(folder, texts), expected, atol=1e-5)


def test_normalisation_of_a_sentence_transformers_layout_is_honoured(zoo: Path, tmp_path: Path) -> None:
    bert = build(zoo, "bert")
    folder = sentence_layout(bert, tmp_path / "st", {"pooling_mode_mean_tokens": True}, normalise=True)
    short = TEXTS[:2]
    plain = embed(bert, short)
    scaled = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(folder, short), scaled, atol=1e-6)


def test_dense_layers_of_a_sentence_transformers_layout_are_applied(zoo: Path, tmp_path: Path) -> None:
    bert = build(zoo, "bert")
    pooling = {"pooling_mode": "mean"}
    folder = sentence_layout(bert, tmp_path / "st", pooling, normalise=True, dense=("2_Dense", "3_Dense"))
    torch.manual_seed(1)
    first, second = torch.nn.Linear(16, 24), torch.nn.Linear(24, 8, bias=False)
    for path, linear, activation in (("2_Dense", first, "Tanh"), ("3_Dense", second, "Identity")):
        (folder / path).mkdir()
        settings = {"in_features": linear.in_features, "out_features": linear.out_features}
        settings["activation_function"] = f"torch.nn.modules.activation.{activation}"
        (folder / path / "config.json").write_text(json.dumps(settings))
    torch.save(
        {f"linear.{name}": tensor for name, tensor in first.state_dict().items()},
        folder / "2_Dense" / "pytorch_model.bin",
    )
    save_file({"linear.weight": second.weight.detach()}, folder / "3_Dense" / "model.safetensors")
    short = TEXTS[:2]
    with torch.no_grad():
        expected = second(torch.tanh(first(torch.from_numpy(embed(bert, short))))).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(folder, short), expected, atol=1e-6)
    assert load(folder, "text").info().pooling.endswith("and the Dense layers behind it, scaled to length one")


def test_a_sentence_transformers_layout_may_keep_its_model_in_a_subfolder(zoo: Path, tmp_path: Path) -> None:
    flat = sentence_layout(build(zoo, "bert"), tmp_path / "flat", {"pooling_mode": "cls"})
    nested = tmp_path / "nested"
    inner = nested / "0_Transformer"
    shutil.copytree(flat, inner)
    shutil.move(inner / "1_Pooling", nested / "1_Pooling")
    modules = (inner / "modules.json").read_text().replace('"path": ""', '"path": "0_Transformer"')
    (inner / "modules.json").unlink()
    (nested / "modules.json").write_text(modules)
    np.testing.assert_array_equal(embed(nested, TEXTS), embed(flat, TEXTS))


def test_texts_cut_at_the_encoders_limit_are_noted(zoo: Path, tmp_path: Path) -> None:
    folder = sentence_layout(build(zoo, "bert"), tmp_path / "st", {"pooling_mode": "mean"})
    notes: list[str] = []
    embed(folder, ["cat", "the small cat " * 20], on_note=notes.append)
    assert notes == [f"{folder}: 1 text was cut at 12 tokens, the most that it reads"]


def test_a_pooling_nobody_knows_is_an_error(zoo: Path, tmp_path: Path) -> None:
    folder = sentence_layout(build(zoo, "bert"), tmp_path / "st", {"pooling_mode": "median"})
    with pytest.raises(EmmsError, match="pools with median"):
        embed(folder, TEXTS)


def test_no_texts_are_an_error(zoo: Path) -> None:
    with pytest.raises(EmmsError, match="no label text"):
        embed(build(zoo, "bert"), [])
