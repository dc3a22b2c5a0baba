"""Adapters of PEFT, ranked as their base with the adapter merged into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from hf_emms.errors import EmmsError
from hf_emms.heads.modules import load_with_head
from tests.helpers.extracting import edit_json, load, rows
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import TEXTS, build, shaken


def save_adapter(base: Path, to: Path, kind: str, loader: type, **settings: Any) -> Path:
    """An adapter whose factors, and whatever else it trains, are random numbers, as if it had been trained."""
    torch.manual_seed(5)
    config = peft.LoraConfig(task_type=kind, r=16, target_modules=["query", "value"], **settings)
    adapter = peft.get_peft_model(loader.from_pretrained(base), config)
    shaken(adapter)
    adapter.save_pretrained(to)
    assert not (to / "config.json").exists()
    return to


@pytest.fixture
def adapter(zoo: Path, tmp_path: Path) -> Path:
    return save_adapter(build(zoo, "bert"), tmp_path / "lora", "FEATURE_EXTRACTION", transformers.BertModel)


@pytest.mark.parametrize(
    ("kind", "loader", "settings"),
    [
        ("SEQ_CLS", transformers.BertForSequenceClassification, {}),
        ("SEQ_CLS", transformers.BertForSequenceClassification, {"bias": "all"}),
        ("FEATURE_EXTRACTION", transformers.BertModel, {"bias": "all"}),
    ],
)
def test_an_adapter_is_ranked_as_its_base_and_the_adapter(
    kind: str, loader: type, settings: dict[str, Any], zoo: Path, tmp_path: Path
) -> None:
    base = build(zoo, "bert")
    folder = save_adapter(base, tmp_path / "lora", kind, loader, **settings)
    whole = peft.PeftModel.from_pretrained(loader.from_pretrained(base), folder).merge_and_unload().base_model
    whole.save_pretrained(tmp_path / "merged")
    transformers.AutoTokenizer.from_pretrained(base).save_pretrained(tmp_path / "merged")
    extractor = load(folder, "text")
    features = rows(extractor, TEXTS)
    np.testing.assert_allclose(features, rows(load(tmp_path / "merged", "text"), TEXTS), atol=1e-5)
    assert np.abs(features - rows(load(base, "text"), TEXTS)).max() > 1e-2
    assert codes(extractor.notes)[0] == "adapter-merged"
    with_head, *_ = load_with_head(extractor.plan, transformers.AutoModelForSequenceClassification, num_labels=3)
    assert all(parameter.requires_grad for parameter in with_head.parameters())
    expected = transformers.BertModel.from_pretrained(tmp_path / "merged").state_dict()
    name = "encoder.layer.0.attention.self.query.weight"
    torch.testing.assert_close(with_head.bert.state_dict()[name], expected[name])


def test_weights_of_an_adapter_may_be_pickled_and_have_to_be_there_whole(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    features, tensors = rows(load(adapter, "text"), TEXTS), load_file(file)
    torch.save(tensors, file.with_suffix(".bin"))
    file.unlink()
    np.testing.assert_array_equal(rows(load(adapter, "text"), TEXTS), features)
    save_file({name: tensor for name, tensor in tensors.items() if ".1." not in name}, file)
    with pytest.raises(EmmsError, match="does not fit its base"):
        load(adapter, "text")
    file.unlink()
    file.with_suffix(".bin").unlink()
    with pytest.raises(EmmsError, match=r"lacks adapter_model\.safetensors"):
        load(adapter, "text")


def test_an_adapter_that_writes_a_prompt_is_refused(zoo: Path, tmp_path: Path) -> None:
    base = transformers.BertModel.from_pretrained(build(zoo, "bert"))
    config = peft.PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=2)
    peft.get_peft_model(base, config).save_pretrained(tmp_path / "prompt")
    with pytest.raises(EmmsError, match=r"writes a prompt \(PROMPT_TUNING\): it cannot be merged") as refused:
        load(tmp_path / "prompt", "text")
    assert str(build(zoo, "bert")) in str(refused.value.hint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_model_name_or_path": "./absent"}, r"is an adapter of \./absent, which cannot be used"),
        ({"base_model_name_or_path": None}, "does not name"),
        ({"layer_replication": [[0, 1]] * 1_000}, "replicated layers"),
        ({"megatron_config": {"tensor_model_parallel_size": 1}, "megatron_core": "stowaway"}, "megatron_core"),
    ],
)
def test_settings_of_an_adapter_that_cannot_be_used_are_named(
    changes: dict[str, Any], message: str, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that an adapter names is imported, either."""
    (tmp_path / "stowaway.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    edit_json(adapter / "adapter_config.json", **changes)
    with pytest.raises(EmmsError, match=message):
        load(adapter, "text")
    assert not (tmp_path / "ran").exists()
