"""The names that users type, and what stands behind them."""

from __future__ import annotations

import dataclasses
import re

import pytest

from hf_emms.errors import EmmsError
from hf_emms.options import Options
from hf_emms.presets import (
    DatasetPreset,
    candidate_sets,
    dataset_preset,
    dataset_presets,
    default_checkpoints,
    demo,
    encoder_presets,
    expand_checkpoints,
    expand_encoders,
    usable_datasets,
)
from hf_emms.ranking.progress import Silent
from hf_emms.run.plan import plan
from hf_emms.tasks import TASKS, get_task
from hf_emms.tasks.token_classification import is_bio
from tests.helpers.samples import load_sample

PAPER = {
    *("fgvc_aircraft", "caltech101", "stanford_cars", "cifar10", "cifar100", "dtd", "flowers102", "food101"),
    *("oxford_pets", "sun397", "voc2007", "flickr8k", "flickr30k", "flickrstyle10k_humor"),
    *("flickrstyle10k_romantic", "rsicd", "daquar", "coco_qa", "clevr", "squad", "squad_v2"),
    *("refcoco", "refcocoplus", "refcocog"),
}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def all_presets() -> list:
    return list(dataset_presets().values())


def test_the_24_datasets_of_the_paper_are_there() -> None:
    assert {preset.name for preset in all_presets() if preset.paper} == PAPER
    assert len(PAPER) == 24


@pytest.mark.parametrize("name", dataset_presets())
def test_every_preset_is_complete(name: str) -> None:
    preset = dataset_preset(name)
    assert preset is not None
    assert preset.columns
    if preset.id is None:
        assert preset.local
        return
    for source in preset.sources():
        assert HUB_ID.fullmatch(str(source.id))
    assert preset.split in preset.splits
    if preset.task in TASKS and not preset.blocked:
        task = get_task(preset.task)
        assert set(preset.columns) == set(task.columns)


def test_tags_of_words_that_are_numbers_have_names() -> None:
    words = dataset_preset("ontonotes5").words
    assert list(words) == [str(number) for number in range(37)]
    assert is_bio(list(words.values()))


def test_a_fallback_keeps_the_name_and_drops_the_pinned_commit() -> None:
    others = ({"id": "org/second"}, {"id": "org/third", "split": "val", "columns": {"image": "img"}})
    preset = DatasetPreset(
        "pets", "image-classification", "org/first", revision="a" * 40, split="train", fallbacks=others
    )
    first, second, third = preset.sources()
    assert first is preset
    assert (second.name, second.id, second.revision, second.split) == ("pets", "org/second", None, "train")
    assert (third.id, third.revision, third.split, third.columns) == ("org/third", None, "val", {"image": "img"})


def test_names_are_found_however_they_are_typed() -> None:
    assert dataset_preset("Coco-Captions") is dataset_preset("coco_captions")
    assert dataset_preset("uoft-cs/cifar10") is None


def test_a_mistyped_name_suggests_the_preset() -> None:
    with pytest.raises(EmmsError, match="no preset is named 'cifar11'") as caught:
        load_sample("cifar11")
    assert "did you mean cifar10" in str(caught.value.hint)
    with pytest.raises(EmmsError) as far:
        load_sample("zzzz")
    assert all(name in str(far.value.hint) for name in usable_datasets())


@pytest.mark.parametrize("name", ["flickrstyle10k_humor", "flickrstyle10k_romantic"])
def test_a_dataset_that_is_not_on_the_hub_tells_which_folder_to_pass(name: str) -> None:
    with pytest.raises(EmmsError) as caught:
        load_sample(name)
    assert f"{name!r} is not on the Hub" in caught.value.message
    assert "metadata.jsonl" in str(caught.value.hint)
    assert 'dataset="./FOLDER", task="image-to-text"' in str(caught.value.hint)


def test_a_preset_for_a_task_that_is_not_supported_yet_lists_those_that_are() -> None:
    with pytest.raises(EmmsError, match="depth-estimation, a task that is not supported yet") as caught:
        DatasetPreset("nyu", "depth-estimation", "org/nyu").check_usable()
    assert all(task in str(caught.value.hint) for task in TASKS)
    with pytest.raises(EmmsError, match="'old' is not supported yet: its files are gone"):
        DatasetPreset("old", "image-classification", "org/old", blocked="its files are gone").check_usable()


def test_checkpoints_of_a_task_carry_their_pinned_revisions() -> None:
    for task in TASKS:
        assert len(default_checkpoints(task)) >= 5
        for id in default_checkpoints(task):
            assert re.fullmatch(r"[\w.-]+/[\w.-]+(@refs/pr/\d+)?", id)
    assert "google/electra-base-discriminator@refs/pr/4" in default_checkpoints("text-classification")
    with pytest.raises(EmmsError, match="depth") as caught:
        default_checkpoints("depth-estimation")
    assert "image-to-text" in str(caught.value.hint)


def test_encoder_sets() -> None:
    sizes = {name: len(ids) for name, ids in encoder_presets().items()}
    assert sizes == {"base": 1, "paper": 3, "paper-small": 3, "demo": 3}
    first, *others = encoder_presets()["paper"]
    assert expand_encoders(["org/name", first, "paper", "org/name"]) == ("org/name", first, *others)


def test_the_candidates_of_the_paper_are_named_by_family() -> None:
    ids, notes = expand_checkpoints(["paper-cnn", "org/name"])
    assert len(ids) == 11
    assert {"microsoft/resnet-34", "timm/densenet201.tv_in1k", "org/name"} <= set(ids)
    assert "GoogLeNet" in notes[0]
    assert {name: len(one.checkpoints) for name, one in candidate_sets().items()} == {
        "paper-cnn": 10,
        "paper-vit": 12,
        "paper-captioning": 3,
        "dinov3": 4,
        "llm-0.5b": 7,
        "llm-2b": 3,
        "llm-8b": 6,
    }
    options = Options("demo_fashion", checkpoints=("paper-cnn",), max_samples=60, cache=False)
    found = plan(options, Silent())
    assert [one.id for one in found.candidates] == list(candidate_sets()["paper-cnn"].checkpoints)
    assert any("GoogLeNet" in note for note in found.notes)


def test_the_demo_presets_name_what_ships() -> None:
    assert set(encoder_presets()["demo"]) == set(demo.names("encoders"))
    named: set[str] = set()
    for name in (name for name in dataset_presets() if name.startswith("demo_")):
        preset = dataset_preset(name)
        assert preset is not None
        assert preset.id in demo.names("datasets")
        assert preset.encoders == "demo"
        named |= set(preset.checkpoints)
        target = load_sample(name, max_samples=20)
        assert (target.dataset, target.task.id) == (name, preset.task)
    assert named == set(demo.names("checkpoints"))


def test_a_preset_that_cannot_be_used_is_said_before_anything_is_looked_for() -> None:
    with pytest.raises(EmmsError, match="'daquar' is not on the Hub"):
        plan(Options("daquar", encoders=("org/not-there",)), Silent())


def test_checkpoints_of_a_preset_are_for_its_task_only() -> None:
    request = Options("demo_vqa", task="image-classification", columns={"label": "answer"}, max_samples=60)
    found = plan(dataclasses.replace(request, encoders=("demo",), cache=False), Silent())
    assert [one.id for one in found.candidates] == list(default_checkpoints("image-classification"))
