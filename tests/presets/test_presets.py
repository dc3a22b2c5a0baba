"""Names of presets, and what they refer to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from hf_emms.errors import EmmsError
from hf_emms.options import Options
from hf_emms.presets import (
    DatasetPreset,
    checkpoint_presets,
    checkpoint_sets,
    dataset_preset,
    dataset_presets,
    default_checkpoints,
    demo,
    encoder_presets,
    expand_encoders,
    usable_datasets,
)
from hf_emms.ranking.progress import Progress
from hf_emms.run.plan import make_plan
from hf_emms.tasks import TASKS, get_task
from hf_emms.tasks.token_classification import are_entities
from tests.helpers.errors import raises_code
from tests.helpers.samples import load_sample

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def test_every_preset_is_complete() -> None:
    for name, preset in dataset_presets().items():
        assert preset.columns, name
        if preset.id is None:
            assert preset.local, name
            continue
        assert all(HUB_ID.fullmatch(str(source.id)) for source in preset.sources()), name
        assert preset.split in preset.splits, name
        assert set(preset.columns) == set(get_task(preset.task).columns), name
    assert sum(preset.paper for preset in dataset_presets().values()) == 24


def test_tags_of_words_that_are_numbers_have_names() -> None:
    words = dataset_preset("ontonotes5").words
    assert list(words) == [str(number) for number in range(37)]
    assert are_entities(Counter(words.values()))


def test_a_fallback_keeps_the_name_and_drops_the_pinned_commit() -> None:
    others = ({"id": "org/second"}, {"id": "org/third", "split": "val", "columns": {"image": "img"}})
    preset = DatasetPreset(
        "pets", "image-classification", "org/first", revision="a" * 40, split="train", fallbacks=others
    )
    first, second, third = preset.sources()
    assert first is preset
    assert (second.name, second.id, second.revision, second.split) == ("pets", "org/second", None, "train")
    assert (third.id, third.revision, third.split, third.columns) == ("org/third", None, "val", {"image": "img"})


def test_names_are_found_in_any_spelling() -> None:
    assert {"cifar10", "squad", "demo_words"} < {*usable_datasets()} < {*dataset_presets()}
    assert dataset_preset("Coco-Captions") is dataset_preset("coco_captions")
    assert dataset_preset("uoft-cs/cifar10") is None


FOLDER = 'then use dataset="./FOLDER", task="image-to-text": '


@pytest.mark.parametrize(
    ("call", "message", "hints"),
    [
        (lambda: load_sample("cifar11"), "no preset is named 'cifar11'", ["Did you mean cifar10"]),
        (lambda: load_sample("zzzz"), "no preset is named 'zzzz'", usable_datasets()),
        (lambda: load_sample("flickrstyle10k_humor"), "_humor' is not on the Hub", [FOLDER, "metadata.jsonl"]),
        # Before anything is looked for.
        (
            lambda: make_plan(Options.of("daquar", encoders=("org/not-there",)), Progress()),
            "'daquar' is not on the Hub",
            [],
        ),
    ],
)
def test_the_error_of_an_unusable_preset_lists_usable_ones(
    call: Callable[[], Any], message: str, hints: Sequence[str]
) -> None:
    with pytest.raises(EmmsError) as caught:
        call()
    assert message in caught.value.message
    assert [hint for hint in hints if hint not in str(caught.value.hint)] == []


def test_checkpoints_of_a_task_carry_their_pinned_revisions() -> None:
    for task in TASKS:
        assert len(default_checkpoints(task)) >= 4
        pin = rf"{HUB_ID.pattern}(@(refs/pr/\d+|[0-9a-f]{{40}}))?"
        assert all(re.fullmatch(pin, id) for id in default_checkpoints(task))
    assert "dandelin/vilt-b32-mlm@refs/pr/4" in default_checkpoints("visual-question-answering")
    with raises_code("no-default-checkpoints", "depth") as caught:
        default_checkpoints("depth-estimation")
    assert "image-to-text" in str(caught.value.hint)


def test_names_of_sets_are_expanded() -> None:
    sizes = {name: len(ids) for name, ids in encoder_presets().items()}
    assert sizes == {"base": 1, "paper": 3, "paper-small": 3, "demo": 3}
    first, *others = encoder_presets()["paper"]
    assert expand_encoders(["org/name", first, "paper", "org/name"]) == ("org/name", first, *others)
    sizes = {name: len(ids) for name, ids in checkpoint_sets().items()}
    papers, language_models = {"paper-cnn": 10, "paper-vit": 12, "paper-captioning": 3}, {"llm-2b": 3, "llm-8b": 6}
    assert sizes == {**papers, "dinov3": 4, "llm-0.5b": 7, **language_models}
    options = Options.of("demo_fashion", checkpoints=("paper-cnn", "org/name"), max_samples=60, cache=False)
    planned = make_plan(options, Progress())
    ids = [checkpoint.id for checkpoint in planned.checkpoints]
    assert ids == [*checkpoint_sets()["paper-cnn"], "org/name"]
    assert "microsoft/resnet-34" in ids


def test_the_demo_presets_refer_to_shipped_files() -> None:
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


def test_checkpoints_of_a_preset_are_for_its_task_only() -> None:
    columns = {"label": "answer"}
    request = Options.of("demo_vqa", task="image-classification", columns=columns, max_samples=60, encoders="demo")
    found = make_plan(request.replaced(cache=False), Progress())
    assert [one.id for one in found.checkpoints] == list(default_checkpoints("image-classification"))


def test_the_default_checkpoints_can_be_limited_in_size() -> None:
    sizes = {preset.name: preset.parameters for preset in checkpoint_presets()["text-classification"]}
    small = default_checkpoints("text-classification", 100_000_000)
    assert small
    assert set(small) == {name for name, size in sizes.items() if size <= 100_000_000}
    with raises_code("no-default-checkpoints", "max_params"):
        default_checkpoints("text-classification", 1)
    with raises_code("settings-exclude-each-other"):
        Options.of("org/data", checkpoints=["org/a"], max_params="100M")
    with raises_code("invalid-value", "many"):
        Options.of("org/data", max_params="many")
    assert Options.of("org/data", max_params=100).features.max_params == "100"
