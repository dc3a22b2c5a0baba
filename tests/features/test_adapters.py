"""Adapters of PEFT, ranked as their base with the adapter merged into it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_emms.errors import EmmsError
from hf_emms.heads.modules import load_with_head
from tests.helpers.extracting import load, load_repo, rows
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of


def save_adapter(base: Path, to: Path, kind: str, loader: type) -> Path:
    """An adapter whose two factors are random numbers, as if it had been trained."""
    torch.manual_seed(5)
    config = peft.LoraConfig(task_type=kind, r=2, target_modules=["query", "value"], init_lora_weights=False)
    peft.get_peft_model(loader.from_pretrained(base), config).save_pretrained(to)
    assert not (to / "config.json").exists()
    return to


@pytest.mark.parametrize(
    ("kind", "loader"),
    [("SEQ_CLS", transformers.BertForSequenceClassification), ("FEATURE_EXTRACTION", transformers.BertModel)],
)
def test_an_adapter_is_ranked_as_its_base_and_the_adapter(kind: str, loader: type, zoo: Path, tmp_path: Path) -> None:
    base = build(zoo, "bert")
    folder = save_adapter(base, tmp_path / "lora", kind, loader)
    whole = peft.PeftModel.from_pretrained(loader.from_pretrained(base), folder).merge_and_unload().base_model
    whole.save_pretrained(tmp_path / "merged")
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "merged")
    extractor = load(folder, "text")
    features = rows(extractor, TEXTS)
    np.testing.assert_allclose(features, rows(load(tmp_path / "merged", "text"), TEXTS), atol=1e-5)
    assert np.abs(features - rows(load(base, "text"), TEXTS)).max() > 1e-2
    assert extractor.notes[0].startswith(f"an adapter of {base} at local-")
    with_head, *_ = load_with_head(extractor.plan, transformers.AutoModelForSequenceClassification, num_labels=3)
    assert all(parameter.requires_grad for parameter in with_head.parameters())
    expected = transformers.BertModel.from_pretrained(tmp_path / "merged").state_dict()
    name = "encoder.layer.0.attention.self.query.weight"
    torch.testing.assert_close(with_head.bert.state_dict()[name], expected[name])


def test_an_adapter_of_another_base_is_an_error(zoo: Path, tmp_path: Path) -> None:
    folder = save_adapter(build(zoo, "bert"), tmp_path / "lora", "FEATURE_EXTRACTION", transformers.BertModel)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file(
        {name: tensor for name, tensor in weights.items() if ".1." not in name}, folder / "adapter_model.safetensors"
    )
    with pytest.raises(EmmsError, match="does not fit its base"):
        load(folder, "text")


def test_an_adapter_whose_base_is_nowhere_names_it(zoo: Path, tmp_path: Path) -> None:
    folder = save_adapter(build(zoo, "bert"), tmp_path / "lora", "FEATURE_EXTRACTION", transformers.BertModel)
    settings = json.loads((folder / "adapter_config.json").read_text())
    for base, message in (("./absent", r"is an adapter of \./absent, which cannot be used"), (None, "does not name")):
        (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": base}))
        with pytest.raises(EmmsError, match=message):
            load_repo(repo_of(folder), "text")


def test_an_adapter_names_no_module_that_is_imported(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_adapter(build(zoo, "bert"), tmp_path / "lora", "FEATURE_EXTRACTION", transformers.BertModel)
    ran = tmp_path / "ran"
    (tmp_path / "stowaway.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = json.loads((folder / "adapter_config.json").read_text())
    named = {"megatron_config": {"tensor_model_parallel_size": 1}, "megatron_core": "stowaway"}
    (folder / "adapter_config.json").write_text(json.dumps({**settings, **named}))
    with pytest.raises(EmmsError, match="megatron_core"):
        load(folder, "text")
    assert not ran.exists()
