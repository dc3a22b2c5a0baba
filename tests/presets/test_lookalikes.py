"""Dataset presets with quirks against a look-alike of their repositories, over real HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hf_emms.presets import dataset_presets, usable_datasets
from tests.helpers.rows import png
from tests.helpers.samples import load_sample
from tests.hub import Hub, running_hub
from tests.hub.fixtures import run_client
from tests.presets.lookalikes import (
    COLORS,
    FALLBACKS,
    REPOS,
    Lookalike,
    answer_of,
    caption,
    put,
    renamed,
)

NAMES = [name for name in usable_datasets() if name in REPOS]
RENAMED = ("clevr", "trec")
_LOAD = """
    import json
    from datasets import config
    from hf_emms.data import load_sample
    from hf_emms.errors import EmmsError, Note
    from hf_emms.options import SampleOptions

    config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0  # five seconds after every stream

    def loaded(name, **how):
        try:
            target = load_sample(SampleOptions(name, max_samples=200, **how))
        except EmmsError as error:
            return {"error": error.message, "hint": error.hint}
        facts = ("dataset", "config", "split", "columns", "label_texts", "notes")
        found = {fact: getattr(target, fact) for fact in facts}
        codes = [note.code if isinstance(note, Note) else note for note in target.notes]
        found |= {"notes": codes, "task": target.task.id, "rows": len(target)}
        return {**found, "inputs": len(target.inputs),
                "groups": len(set(target.groups.tolist())), "id": target.repo.id, "revision": target.repo.revision}
"""
Report = dict[str, Any]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        put(running, every(REPOS))
        yield running


def every(repos: dict[str, tuple[Lookalike, ...]]) -> list[Lookalike]:
    return [part for parts in repos.values() for part in parts]


def load_all(hub: Hub, home: Path, calls: Iterable[str]) -> dict[str, Report]:
    """The reports of many calls of `load_sample`, made by one client."""
    lines = ", ".join(f"{call!r}: {call}" for call in calls)
    return run_client(hub, f"{_LOAD}\n    print(json.dumps({{{lines}}}))", home)


@pytest.fixture(scope="module")
def reports(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    calls = [call for name in NAMES for call in (f"loaded('{name}')", f"loaded('{name}', split='nowhere')")]
    return load_all(hub, tmp_path_factory.mktemp("client"), calls)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_loads_its_repository(reports: dict[str, Report], name: str) -> None:
    found, preset = reports[f"loaded('{name}')"], dataset_presets()[name]
    assert "error" not in found, found
    assert (found["dataset"], found["id"], found["task"]) == (name, preset.id, preset.task)
    assert (found["config"], found["split"], found["columns"]) == (preset.config, preset.split, dict(preset.columns))
    assert found["rows"] == expected_rows(name)
    assert len(found["label_texts"]) > 1
    assert all(sensible(text) for text in found["label_texts"]), found["label_texts"]
    assert ("streamed-preset" in found["notes"]) == preset.stream
    if preset.revision and not preset.revision.startswith("refs/"):
        assert found["revision"] == preset.revision
    refused = reports[f"loaded('{name}', split='nowhere')"]
    assert "has no split 'nowhere'" in refused["error"]
    assert all(split in refused["hint"] for split in REPOS[name][0].splits)


def expected_rows(name: str) -> int:
    """30, except for several captions of a picture in separate rows, and several turns."""
    return {"coco_captions": 15, "clevr": 60}.get(name, 30)


def sensible(text: str) -> bool:
    """Whether a label is words: no prompt, no path, nothing around it."""
    return text == text.strip() and bool(re.search("[A-Za-z0-9]", text)) and not re.search(r"[_\n{}\[\]]", text)


def test_labels_are_expanded_joined_with_images_and_grouped(reports: dict[str, Report]) -> None:
    trec, gqa = (reports[f"loaded('{name}')"] for name in ("trec", "gqa"))
    words = dataset_presets()["trec"].words
    assert set(words) == set(REPOS["trec"][0].features["coarse_label"].names)
    assert set(trec["label_texts"]) == set(words.values())
    assert set(gqa["label_texts"]) == {*COLORS, "yes", "no"}
    assert (gqa["inputs"], gqa["groups"]) == (30, 15)


LOCAL = [preset.name for preset in dataset_presets().values() if preset.local]


@pytest.mark.parametrize("name", LOCAL)
def test_the_folder_that_a_preset_asks_for_is_read(tmp_path: Path, name: str) -> None:
    preset = dataset_presets()[name]
    assert preset.local is not None
    texts = {"caption": caption, "question": lambda n: "What colour is it?", "answer": answer_of}
    fields = [field for field in re.findall(r'"(\w+)"', preset.local) if field != "file_name"]
    rows = [{"file_name": f"{n}.png", **{field: texts[field](n) for field in fields}} for n in range(12)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(png((number, 99, 7)))
    target = load_sample(str(tmp_path), task=preset.task)
    assert (len(target), dict(target.columns)) == (12, dict(preset.columns))


# ---- repositories that are not what a preset expects ----------------------------------------------------------


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """Reports if the column of labels has another name, and if the first repository is gone."""
    home = tmp_path_factory.mktemp("changed")
    repos = {name: tuple(renamed(one, label_column(name), "surprise") for one in REPOS[name]) for name in RENAMED}
    with running_hub(home / "hub") as running:
        put(running, every(repos | FALLBACKS))
        return load_all(running, home / "client", [f"loaded('{name}')" for name in (*RENAMED, *FALLBACKS)])


def label_column(name: str) -> str:
    """The first column of labels; of a field, the column that it is in."""
    return list(dataset_presets()[name].columns.values())[-1].split(",")[0].split(".")[0]


@pytest.mark.parametrize("name", RENAMED)
def test_a_renamed_column_is_an_error_that_lists_the_columns(changed: dict[str, Report], name: str) -> None:
    refused = changed[f"loaded('{name}')"]
    assert label_column(name) in refused["error"]
    assert "surprise" in refused["error"]
    assert "_column=" in refused["hint"]


@pytest.mark.parametrize("name", FALLBACKS)
def test_a_fallback_repository_replaces_a_removed_one(changed: dict[str, Report], name: str) -> None:
    loaded = changed[f"loaded('{name}')"]
    assert (loaded["dataset"], loaded["id"]) == (name, FALLBACKS[name][0].id)
    assert loaded["rows"] >= 30
    assert "fallback-repository" in loaded["notes"]
