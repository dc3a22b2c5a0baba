"""hf-emms datasets and hf-emms checkpoints."""

from __future__ import annotations

import re
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from hf_emms.cli.app import app
from hf_emms.errors import EmmsError
from hf_emms.presets import checkpoint_presets, dataset_presets, default_checkpoints, demo, encoder_sets


def listed(*words: str) -> list[dict[str, Any]]:
    """The lines of a list as a program gets them."""
    done = CliRunner().invoke(app, [*words, "--format", "tsv"], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    header, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_datasets_are_listed_with_size_license_and_whether_the_source_is_verified() -> None:
    rows = {row["name"]: row for row in listed("datasets")}
    assert tuple(rows) == tuple(dataset_presets())
    squad = rows["squad"]
    assert (squad["rows"], squad["bytes"]) == ("train 87,599, validation 10,570", "16278203")
    assert (squad["license"], squad["verified"]) == ("cc-by-sa-4.0", "yes")
    assert (rows["coco_captions"]["license"], rows["oxford_pets"]["verified"]) == ("not seen", "no")
    assert (rows["dtd"]["license"], rows["cifar10"]["license"]) == ("not stated", "unknown")
    assert (rows["fgvc_aircraft"]["license"], rows["fgvc_aircraft"]["verified"]) == ("not seen", "yes")
    assert rows["daquar"]["dataset"] == "not on the Hub"
    assert rows["clevr"]["rows"] == "train ?"


def test_a_table_says_it_in_words() -> None:
    done = CliRunner().invoke(app, ["datasets", "--task", "captioning", "--format", "table"])
    assert re.search(r"coco_captions_2017 +image-to-text .* 20\.0 GB +not seen +yes$", done.stdout, re.M)
    assert "note" not in done.stdout.splitlines()[0]


@pytest.mark.parametrize("command", ["datasets", "checkpoints"])
def test_lists_are_filtered_by_task(command: str) -> None:
    rows = listed(command, "--task", "sentence-classification")
    assert {row["task"] for row in rows} == {"text-classification"}
    with pytest.raises(EmmsError, match="depth-estimation"):
        listed(command, "--task", "depth-estimation")


def test_checkpoints_are_listed_with_pin_and_weights() -> None:
    rows = listed("checkpoints")
    named = [row["checkpoint"] + ("" if row["revision"] == "main" else f"@{row['revision']}") for row in rows]
    assert named == [id for task in checkpoint_presets() for id in default_checkpoints(task)]
    electra = next(row for row in rows if row["checkpoint"].startswith("google/electra"))
    assert (electra["revision"], electra["weights"], electra["verified"]) == ("refs/pr/4", "safetensors", "yes")
    clip = next(row for row in rows if row["checkpoint"] == "openai/clip-vit-base-patch32")
    assert clip["weights"] == "pickled"
    assert {row["weights"] for row in rows if row["verified"] == "no"} == {"unknown"}


def test_lists_agree_about_a_repository_and_hold_everything_that_ships() -> None:
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
