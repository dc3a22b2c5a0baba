"""Fine-tuning trains all weights, an adapter or the head alone, and saves the best model as a checkpoint."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
import yaml

import hf_emms
from hf_emms import Ranking
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.network import load_network
from hf_emms.finetune.recipe import choose_method
from hf_emms.finetune.splits import Splits, load_splits
from hf_emms.heads.head import Network
from hf_emms.options import Options
from tests.finetune.make import FAST, Notes, colours, ranking, save
from tests.finetune.task_rows import KINDS, scores
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import IMAGE_MODELS, build, repo_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(colours(60), tmp_path_factory.mktemp("methods") / "colours")


@pytest.fixture(scope="module")
def splits(folder: str) -> Splits:
    return load_splits(Options.of(folder).sample)


def loaded(folder: Path, splits: Splits, method: str = "full") -> Network:
    return load_network(make_feature_spec(repo_of(folder), splits.task.input, splits.task.id), splits, method)


def trainable(network: Network) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in network.model.named_parameters() if tensor.requires_grad}


@pytest.mark.parametrize("name", ["vit", "resnet", "clip"])
def test_a_head_alone_and_an_adapter_do_not_train_the_checkpoint(zoo: Path, splits: Splits, name: str) -> None:
    whole, head, lora = (trainable(loaded(build(zoo, name), splits, method)) for method in ("full", "head", "lora"))
    assert head
    assert all("classifier" in name or "fc" in name for name in head)
    assert {name for name in lora if "lora_" not in name} == set(head)
    assert len(head) < len(lora)
    assert len(head) < len(whole)


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_an_adapter_trains_in_every_family_of_images(zoo: Path, splits: Splits, name: str) -> None:
    network = loaded(build(zoo, name), splits, "lora")
    network.model(**network.rows(splits.train, True).batch(np.arange(4)))["loss"].backward()
    assert any(tensor.grad is not None for name, tensor in trainable(network).items() if "lora_" in name)


def test_a_pooling_head_without_weights_starts_as_the_standardized_feature(zoo: Path) -> None:
    splits = load_splits(Options.of(KINDS["classes"].rows(60)).sample)
    torch.manual_seed(0)  # for dropout
    network = loaded(build(zoo, "bert"), splits)
    assert isinstance(network.model, transformers.BertForSequenceClassification)
    assert "new-pooler" in codes(network.notes)
    layer, seen = network.model.bert.pooler.dense, []
    layer.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs))
    with torch.no_grad():
        network.model(**network.rows(splits.train, False).batch(np.arange(len(splits.train))))
    assert seen[0].mean(0).abs().max() < 0.25
    assert seen[0].std(0).median() == pytest.approx(0.3, abs=0.1)


def test_checkpoints_that_exceed_memory_get_an_adapter_and_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert choose_method(Options.of("d").training, 1000, cpu) == ("full", None)
    assert choose_method(Options.of("d", confirm=1, method="head").training, 10**15, cpu) == ("head", None)
    monkeypatch.setattr("hf_emms.finetune.recipe.free_main_memory", lambda: 16_000)
    assert choose_method(Options.of("d").training, 700, cpu) == (
        "full",
        None,
    )  # 16 bytes per parameter in 70 % of the memory
    method, why = choose_method(Options.of("d").training, 701, cpu)
    assert method == "lora"
    assert "full fine-tuning needs 11.2 kB of memory and activations, but 16.0 kB are free" in why
    monkeypatch.setitem(sys.modules, "peft", None)
    assert choose_method(Options.of("d").training, 701, cpu)[0] == "head"


@pytest.fixture
def ranked(zoo: Path, folder: str) -> Ranking:
    checkpoints = {str(build(zoo, "regnet")): -0.1, str(build(zoo, "resnet")): -0.2}
    return ranking(folder, "image-classification", KINDS["colours"].columns, checkpoints)


def test_the_best_model_is_trained_again_to_be_kept_and_opens_with_pipeline(ranked: Ranking, tmp_path: Path) -> None:
    first, notes, folder = hf_emms.confirm(ranked, top=2, **FAST), Notes(), tmp_path / "best"
    confirmed = hf_emms.confirm(ranked, top=2, save_model=str(folder), progress=notes, **FAST)
    assert confirmed == first
    best = confirmed.best
    assert f"{best.checkpoint}: trained again, because its model was not kept" in notes.lines
    files = {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    assert {path.name for path in folder.iterdir()} == files | {".hf-emms.json", "test_rows.json"}
    classify = transformers.pipeline("image-classification", model=str(folder))
    test = load_splits(Options.of(ranked.dataset).sample).test
    answers = [classify(test.inputs[i])[0]["label"] for i in test.input_of_row]
    assert scores(KINDS["colours"], answers, test) == pytest.approx(best.fine_tuned.scores)
    card = (folder / "README.md").read_text()
    (result,) = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"]
    assert "split" not in result["dataset"]  # its test rows are part of the training split
    accuracy = pytest.approx(best.fine_tuned.value, abs=1e-6)
    assert result["metrics"][0] == {"type": "accuracy", "value": accuracy}
    assert best.revision in card
    assert f" --checkpoint {best.checkpoint} --confirm 1 --method full --epochs 4 --learning-rate 0.01 " in card
    assert " --batch-size 8" in card


@pytest.mark.parametrize(
    ("place", "code"),
    [
        (".", "folder-not-empty"),
        ("file/below", "cannot-write"),
        ("/proc/none", "cannot-write"),
    ],
)
def test_folders_that_cannot_hold_the_model_are_refused(ranked: Ranking, tmp_path: Path, place: str, code: str) -> None:
    (tmp_path / "file").touch()
    # `rank` checks the folder before it reads anything.
    for refused in (partial(hf_emms.confirm, ranked), partial(hf_emms.rank, "no/dataset", "no/checkpoint", confirm=1)):
        with raises_code(code):
            refused(save_model=str(tmp_path / place), epochs=100_000)
