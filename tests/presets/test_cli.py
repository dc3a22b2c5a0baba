"""hf-emms presets."""

from __future__ import annotations

import csv
import re
from typing import Any

from click.testing import CliRunner
from safetensors.numpy import load_file

from hf_emms.cli.app import app
from hf_emms.presets import checkpoint_presets, dataset_presets, default_checkpoints, demo, encoder_sets
from tests.helpers.errors import raises_code


def listed(*words: str) -> list[dict[str, Any]]:
    """The lines of a list as a program gets them."""
    done = CliRunner().invoke(app, [*words, "--format", "csv"], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    header, *lines = csv.reader(done.stdout.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_presets_are_listed_with_size_license_and_whether_they_are_verified() -> None:
    rows = {row["name"]: row for row in listed("presets", "--kind", "dataset")}
    assert tuple(rows) == tuple(dataset_presets())
    squad = rows["squad"]
    assert (squad["bytes"], squad["license"], squad["verified"]) == ("16278203", "cc-by-sa-4.0", "True")
    assert (rows["coco_captions"]["license"], rows["oxford_pets"]["verified"]) == ("", "False")
    assert rows["daquar"]["what"].startswith("not on the Hub")
    done = CliRunner().invoke(app, ["presets", "--kind", "dataset", "--task", "image-captioning", "--format", "table"])
    assert re.search(r"coco_captions_2017 +image-to-text .* 20\.0 GB +True", done.stdout)


def test_presets_are_filtered_by_task() -> None:
    rows = listed("presets", "--task", "sentiment-analysis")
    assert {row["task"] for row in rows} == {"text-classification"}
    assert {row["kind"] for row in rows} == {"task", "dataset", "checkpoint"}
    with raises_code("unknown-task"):
        listed("presets", "--task", "depth-estimation")
    with raises_code("no-preset"):
        listed("presets", "--task", "text-ranking", "--kind", "dataset")


def test_default_checkpoints_are_listed_with_their_pins() -> None:
    rows = [row for row in listed("presets", "--kind", "checkpoint") if row["name"] == row["task"]]
    assert [row["what"] for row in rows] == [id for task in checkpoint_presets() for id in default_checkpoints(task)]


def test_default_checkpoints_are_listed_with_size_and_public_value() -> None:
    rows = listed("presets", "--kind", "checkpoint", "--task", "sentiment-analysis")
    ettin = next(row for row in rows if row["what"] == "jhu-clsp/ettin-encoder-68m")
    facts = (ettin["parameters"], ettin["license"], ettin["released"], ettin["value"], ettin["table"])
    assert [str(fact) for fact in facts] == ["68000000", "mit", "2025-07", "87.2", "glue"]


def test_lists_agree_about_repositories_and_contain_the_demo() -> None:
    lists = [*checkpoint_presets().values(), *encoder_sets().values()]
    facts: dict[str, set[Any]] = {}
    for preset in (preset for presets in lists for preset in presets):
        facts.setdefault(preset.id, set()).add((preset.parameters, preset.bytes, preset.license, preset.weights))
    assert {id: several for id, several in facts.items() if len(several) > 1} == {}
    assert set(demo.names("checkpoints")) <= {row["what"] for row in listed("presets") if row["kind"] == "checkpoint"}
    for encoder in encoder_sets()["demo"]:
        folder = demo.folder_of(encoder.id)
        assert folder is not None
        weights = load_file(folder / "model.safetensors")
        assert encoder.parameters == sum(tensor.size for tensor in weights.values())
