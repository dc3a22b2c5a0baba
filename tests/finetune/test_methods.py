"""What is trained: all weights, an adapter or the head alone; and the best model is kept as a normal checkpoint."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
import transformers
import yaml

import hf_emms
from hf_emms import EmmsError, Ranking
from hf_emms.errors import use
from hf_emms.finetune.fine_tune import plan_for
from hf_emms.finetune.memory import check_memory
from hf_emms.finetune.network import load_network
from hf_emms.finetune.recipe import choose_method
from hf_emms.finetune.splits import Splits, load_splits
from hf_emms.heads.head import Network
from hf_emms.options import Options
from tests.finetune.make import FAST, Notes, colours, ranking, save, texts
from tests.helpers.tiny_checkpoints import IMAGE_MODELS, build, repo_of

IMAGES = {"image": "image", "label": "label"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("methods")


@pytest.fixture(scope="module")
def folder(root: Path) -> str:
    return save(colours(60), root / "colours")


def loaded(folder: Path, splits: Splits, method: str = "full") -> Network:
    options = Options("data")
    return load_network(plan_for(repo_of(folder), splits.task, options), splits, method)


def trainable(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: one for name, one in model.named_parameters() if one.requires_grad}


@pytest.mark.parametrize("name", ["vit", "resnet", "clip"])
def test_a_head_alone_and_an_adapter_leave_the_checkpoint_as_it_is(root: Path, folder: str, name: str) -> None:
    splits = load_splits(Options.of(folder))
    whole, head, lora = (
        trainable(loaded(build(root, name), splits, method).model) for method in ("full", "head", "lora")
    )
    assert all("classifier" in one or "fc" in one for one in head)
    assert head
    assert {one for one in lora if "lora_" not in one} == set(head)
    counts = [sum(one.numel() for one in found.values()) for found in (head, lora)]
    assert counts[0] < counts[1]
    assert len(whole) > len(head)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_an_adapter_trains_in_every_family_of_images(root: Path, folder: str, name: str) -> None:
    splits = load_splits(Options.of(folder))
    network = loaded(build(root, name), splits, "lora")
    network.model(**network.rows(splits.train, True).batch(np.arange(4)))["loss"].backward()
    assert any(one.grad is not None for key, one in trainable(network.model).items() if "lora_" in key)


def test_a_pooling_head_without_weights_starts_as_the_standardized_feature(root: Path) -> None:
    data = datasets.Dataset.from_dict({"text": texts(60), "label": ["dog", "cat"] * 30})
    splits = load_splits(Options.of(data))
    network = loaded(build(root, "bert"), splits)
    assert isinstance(network.model, transformers.BertForSequenceClassification)
    assert any("its pooling head has no weights" in note for note in network.notes)
    layer, seen = network.model.bert.pooler.dense, []
    layer.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    with torch.no_grad():
        network.model(**network.rows(splits.train, False).batch(np.arange(len(splits.train))))
    assert seen[0].mean(0).abs().max() < 0.25
    assert seen[0].std(0).median() == pytest.approx(0.3, abs=0.1)


def test_a_merged_adapter_gives_the_same_outputs_in_the_layers_of_the_checkpoint(root: Path, folder: str) -> None:
    splits, checkpoint = load_splits(Options.of(folder)), build(root, "vit")
    network = loaded(checkpoint, splits, "lora")
    with torch.no_grad():
        for name, one in trainable(network.model).items():
            one.add_(0.1 * torch.randn_like(one) if "lora_" in name else 0)
    model, batch = network.model.eval(), {"pixel_values": torch.randn(2, 3, 32, 32)}
    with torch.no_grad():
        before = model(**batch).logits
        network.adapter.merge_and_unload()
        assert torch.allclose(model(**batch).logits, before, atol=1e-5)
    plain = loaded(checkpoint, splits).model
    assert set(model.state_dict()) == set(plain.state_dict())


@pytest.mark.parametrize("method", ["lora", "head"])
@pytest.mark.parametrize("name", ["bert", "clip-text"])
def test_runs_of_other_methods(root: Path, tmp_path: Path, name: str, method: str, emms_cache: Path) -> None:
    data = datasets.Dataset.from_dict({"text": texts(60), "label": ["dog", "cat"] * 30})
    rows = ranking(save(data, tmp_path / "data"), "text-classification", {}, {str(build(root, name)): -0.1})
    found = hf_emms.confirm(rows, top=1, method=method, **FAST).rows[0].fine_tuned
    assert found.error is None
    assert found.recipe["method"] == method


def test_what_does_not_fit_into_memory_gets_an_adapter_and_says_so() -> None:
    cpu = torch.device("cpu")
    assert choose_method(Options("d"), 1000, cpu) == ("full", None)
    assert choose_method(Options("d", confirm=1, method="head"), 10**15, cpu) == ("head", None)
    method, why = choose_method(Options("d"), 10**15, cpu)
    assert method == "lora"
    assert "full fine-tuning would need 16000.0 TB" in why.replace(",", "")
    # Where activations are known they count, and weights may take all that they leave.
    assert choose_method(Options("d"), 1000, cpu, 10**15)[0] == "lora"
    check_memory("its training", "full", 10**6, "cpu", use("method", "lora"))
    with pytest.raises(EmmsError, match="its training would take about 1"):
        check_memory("its training", "lora", 10**15, "cpu", use("method", "head"))


@pytest.fixture
def ranked(root: Path, folder: str) -> Ranking:
    checkpoints = {str(build(root, "regnet")): -0.1, str(build(root, "resnet")): -0.2}
    return ranking(folder, "image-classification", IMAGES, checkpoints)


def test_the_best_model_is_kept_and_opens_with_pipeline(ranked: Ranking, tmp_path: Path, emms_cache: Path) -> None:
    folder = tmp_path / "best"
    confirmed = hf_emms.confirm(ranked, top=2, save_model=str(folder), **FAST)
    files = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    assert {path.name for path in folder.iterdir()} == files | {".hf-emms.json", "test_rows.json"}
    classify = transformers.pipeline("image-classification", model=str(folder))
    splits = load_splits(Options.of(ranked.dataset))
    right = [
        classify(splits.test.inputs[i])[0]["label"] == answer
        for i, answer in zip(splits.test.input_of_row, splits.test.references, strict=True)
    ]
    assert sum(right) / len(right) == pytest.approx(confirmed.best.fine_tuned.value)
    card = (folder / "README.md").read_text()
    data = yaml.safe_load(card.split("---")[1])
    (result,) = data["model-index"][0]["results"]
    assert result["task"]["type"] == "image-classification"
    assert "split" not in result["dataset"]  # its test rows are part of the split that was trained on
    assert result["metrics"][0] == {
        "type": "accuracy",
        "value": pytest.approx(confirmed.best.fine_tuned.value, abs=1e-6),
    }
    assert confirmed.best.revision in card
    (command,) = [line for line in card.splitlines() if line.startswith("hf-emms rank ")]
    for words in (
        "--confirm 1",
        "--epochs 4",
        "--learning-rate 0.01",
        "--batch-size 8",
        f"-c {confirmed.best.checkpoint}",
    ):
        assert words.replace("-c ", "--checkpoint ") in command


def test_a_run_whose_model_was_not_kept_is_trained_again_to_be_kept(
    ranked: Ranking, tmp_path: Path, emms_cache: Path
) -> None:
    first, notes = hf_emms.confirm(ranked, top=1, **FAST), Notes()
    again = hf_emms.confirm(ranked, top=1, save_model=str(tmp_path / "best"), progress=notes, **FAST)
    assert again == first
    assert any("trained again, because its model was not kept" in line for line in notes.lines)
    assert (tmp_path / "best" / "model.safetensors").is_file()


def test_a_folder_that_holds_other_files_is_refused_before_anything_runs(ranked: Ranking, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmmsError, match="is not empty"):
        hf_emms.confirm(ranked, save_model=str(tmp_path))
    for place in ("x" * 300, "/proc/none"):
        with pytest.raises(EmmsError, match="cannot be written: "):
            hf_emms.confirm(ranked, save_model=str(tmp_path / place), epochs=100_000)


def test_a_head_of_ours_is_saved_beside_the_checkpoint(root: Path, tmp_path: Path, emms_cache: Path) -> None:
    data = datasets.Dataset.from_dict({"text": texts(60), "label": ["dog", "cat"] * 30})
    rows = ranking(save(data, tmp_path / "data"), "text-classification", {}, {str(build(root, "clip-text")): -0.1})
    settings: dict[str, Any] = {**FAST, "method": "lora", "save_model": str(tmp_path / "best")}
    hf_emms.confirm(rows, top=1, **settings)
    assert (tmp_path / "best" / "head.safetensors").is_file()
    card = (tmp_path / "best" / "README.md").read_text()
    assert "`pipeline()` would put random weights in its place" in card
    assert "library_name: hf-emms" in card
    assert f"hf_emms.load_finetuned({str(tmp_path / 'best')!r})" in card
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "best")("the cat")["input_ids"]


def test_a_note_on_how_rows_are_read_is_made_once_for_all_splits(root: Path) -> None:
    lines = [f"{text} {'and the cat ' * 60}" for text in texts(40)]
    splits = load_splits(Options.of(datasets.Dataset.from_dict({"text": lines, "label": ["cat", "dog"] * 20})))
    network = loaded(build(root, "bert"), splits)
    for split in splits.parts.values():
        network.rows(split, True)
    assert [bool(re.fullmatch(r"texts are cut at \d+ tokens", note)) for note in network.notes].count(True) == 1
