"""Dataset presets whose repositories need more than the names of columns, on the stand-in Hub."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest

from hf_emms.presets import dataset_presets
from tests.helpers.hub_client import run
from tests.helpers.rows import png
from tests.helpers.samples import load_sample
from tests.hub import Hub, running_hub

COLORS = ("red", "green", "blue", "orange", "purple", "gray")
TREC = datasets.ClassLabel(names=["ABBR", "ENTY", "DESC", "HUM", "LOC", "NUM"])
_LOAD = """
    from datasets import config
    from hf_emms.data import load_sample
    from hf_emms.options import SampleOptions

    config.SLEEP_TIME_ON_THREADS_SHUTDOWN = 0  # five seconds after every stream

    def loaded(name, **how):
        target = load_sample(SampleOptions(name, max_samples=200, **how))
        return {"preset": [target.dataset, target.task.id, target.config, target.split, dict(target.columns)],
                "labels": target.label_texts, "notes": [note.code for note in target.notes], "id": target.repo.id,
                "counts": [len(target), len(target.inputs), len({*target.groups.tolist()})]}
    """


def caption(number: int) -> str:
    return f"A {COLORS[number % len(COLORS)]} shape, picture {number}."


def parquet(rows: list[dict[str, Any]], **kinds: Any) -> bytes:
    """As push_to_hub writes it: the file's metadata contains the types of columns."""
    content = io.BytesIO()
    features = datasets.Features({name: kinds.get(name, datasets.Value("string")) for name in rows[0]})
    datasets.Dataset.from_list(rows, features=features).to_parquet(content)
    return content.getvalue()


def put_questions(hub: Hub) -> None:
    """Two questions about each picture, which is in another configuration."""
    asked = [
        {"id": f"{n}", "imageId": f"n{n // 2}", "question": q, "answer": a}
        for n in range(30)
        for q, a in [("Is it round?", ("yes", "no")[n // 2 % 2]) if n % 2 else ("Which colour?", COLORS[n // 2 % 6])]
    ]
    seen = [{"id": f"n{n}", "image": {"bytes": png((n, 99, 7)), "path": None}} for n in range(15)]
    content = {"instructions": parquet(asked), "images": parquet(seen, image=datasets.Image())}
    card = "".join(
        f"- config_name: testdev_balanced_{name}\n  data_files:\n  - split: testdev\n    path: {name}.parquet\n"
        for name in content
    )
    files = {f"{name}.parquet": data for name, data in content.items()}
    hub.store.put_files("lmms-lab-encoder/GQA", {"README.md": f"---\nconfigs:\n{card}---\n", **files}, "dataset")


def put_classes(hub: Hub, column: str) -> None:
    """Abbreviated classes, in the copy that the Hub converted."""
    rows = [{"text": caption(n), column: n % 6} for n in range(30)]
    files = {f"default/{split}/0000.parquet": parquet(rows, **{column: TREC}) for split in ("train", "test")}
    hub.store.put_files("CogComp/trec", files, "dataset", ref="refs/convert/parquet")


def put_captions(hub: Hub, id: str, column: str, *, each: bool) -> None:
    """A caption in `each` row, so that pictures repeat, or a list of captions."""
    rows = [
        {"image": {"bytes": png((n % 15, 99, 7)), "path": None}, column: caption(n) if each else [caption(n)]}
        for n in range(30)
    ]
    kind = datasets.Value("string") if each else datasets.List(datasets.Value("string"))
    content = parquet(rows, **{"image": datasets.Image(), column: kind})
    files = {f"data/{split}-00000-of-00001.parquet": content for split in ("train", "validation", "test")}
    hub.store.put_files(id, files, "dataset")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running_hub(tmp_path_factory.mktemp("hub")) as running:
        put_questions(running)
        put_classes(running, "coarse_label")
        put_captions(running, "jxie/coco_captions", "caption", each=True)
        yield running


def test_labels_are_expanded_joined_with_images_and_grouped(hub: Hub, tmp_path: Path) -> None:
    names = ("gqa", "trec", "coco_captions")
    calls = [*(f"loaded({name!r})" for name in names), "report(lambda: loaded('trec', split='nowhere'))"]
    gqa, trec, coco, refused = run(f"{_LOAD}\n    print(json.dumps([{', '.join(calls)}]))", hub, tmp_path)
    for name, found in zip(names, (gqa, trec, coco), strict=True):
        preset = dataset_presets()[name]
        assert found["preset"] == [name, preset.task, preset.config, preset.split, dict(preset.columns)]
        assert ("streamed-preset" in found["notes"]) == preset.stream
    assert set(trec["labels"]) == set(dataset_presets()["trec"].words.values())
    assert set(gqa["labels"]) == {*COLORS, "yes", "no"}
    assert [found["counts"] for found in (gqa, coco)] == [[30, 30, 15], [15, 15, 15]]
    assert all(split in refused["hint"] for split in ("train", "test"))


def test_a_fallback_replaces_a_removed_repository_and_a_renamed_column_is_an_error(tmp_path: Path) -> None:
    with running_hub(tmp_path / "hub") as running:
        put_classes(running, "surprise")
        put_captions(running, "AKCIT/coco2017-captioning", "captions", each=False)
        calls = "loaded('coco_captions'), report(lambda: loaded('trec'))"
        coco, refused = run(f"{_LOAD}\n    print(json.dumps([{calls}]))", running, tmp_path)
    assert (coco["preset"][0], coco["id"], coco["counts"][0]) == ("coco_captions", "AKCIT/coco2017-captioning", 15)
    assert "fallback-repository" in coco["notes"]
    assert all(name in refused["message"] for name in ("coarse_label", "surprise"))
    assert "label_column=" in refused["hint"]


@pytest.mark.parametrize("name", [preset.name for preset in dataset_presets().values() if preset.local])
def test_the_folder_that_a_preset_asks_for_is_read(tmp_path: Path, name: str) -> None:
    preset = dataset_presets()[name]
    assert preset.local is not None
    texts = {"caption": caption, "question": lambda n: "What colour is it?", "answer": lambda n: COLORS[n % 6]}
    fields = [field for field in re.findall(r'"(\w+)"', preset.local) if field != "file_name"]
    rows = [{"file_name": f"{n}.png", **{field: texts[field](n) for field in fields}} for n in range(12)]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(png((number, 99, 7)))
    target = load_sample(str(tmp_path), task=preset.task)
    assert (len(target), dict(target.columns)) == (12, dict(preset.columns))
