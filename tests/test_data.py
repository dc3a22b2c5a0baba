"""From datasets in every supported form to a target."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_stub import HubStub, serve
from PIL import Image
from test_hub import run

from hf_emms import demo
from hf_emms.data import Images, Target, load_target
from hf_emms.data.sampling import balanced_order, proportional_order
from hf_emms.errors import EmmsError

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs ../shared/data, real rows outside the repo")


def png(color: tuple[int, int, int], size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "png")
    return buffer.getvalue()


def pictures(n: int) -> list[bytes]:
    return [png((i % 256, i // 256, 7)) for i in range(n)]


def image_rows(encoded: list[bytes], **columns: list[Any]) -> datasets.Dataset:
    rows = datasets.Dataset.from_dict({"image": [{"bytes": b, "path": None} for b in encoded], **columns})
    return rows.cast_column("image", datasets.Image())


def texts(n: int, classes: list[str], **more: Any) -> datasets.Dataset:
    columns = {"text": [f"text number {i}" for i in range(n)], "label": [classes[i % len(classes)] for i in range(n)]}
    return datasets.Dataset.from_dict({**columns, **more})


def labels_of(target: Target) -> dict[Any, list[str]]:
    """Input (as text or bytes of its pixels) → label texts of its rows."""
    found: dict[Any, list[str]] = {}
    for row, code in enumerate(target.codes):
        value = target.inputs[int(target.input_of_row[row])]
        key = value if isinstance(value, str) else value.getpixel((0, 0))
        found.setdefault(key, []).append(target.label_texts[code])
    return found


def error_of(call: Callable[[], Any]) -> EmmsError:
    with pytest.raises(EmmsError) as caught:
        call()
    return caught.value


# ---- the forms a dataset comes in -----------------------------------------------------------------------------


def write_text_file(path: Path) -> None:
    rows = [{"text": f"text {i}", "label": ["ham", "spam_mail"][i % 2]} for i in range(6)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["text", "label"], delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)


@pytest.mark.parametrize("form", ["parquet", "json", "jsonl", "csv", "tsv"])
@pytest.mark.parametrize("as_folder", [False, True])
def test_one_file_and_a_folder_of_it_are_read(tmp_path: Path, form: str, as_folder: bool) -> None:
    file = tmp_path / "set" / f"train.{form}"
    file.parent.mkdir()
    write_text_file(file)
    target = load_target(str(file.parent if as_folder else file))
    assert target.task.id == "text-classification"
    assert target.columns == {"text": "text", "label": "label"}
    assert target.label_texts == ("ham", "spam mail")
    assert labels_of(target)["text 3"] == ["spam mail"]
    assert (target.split, len(target), target.total_rows, target.skipped) == ("train", 6, 6, 0)


def test_pictures_in_class_folders_are_read(tmp_path: Path) -> None:
    for place, name in enumerate(["apple_pie", "ice_cream"]):
        for i in range(3):
            file = tmp_path / "set" / "train" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png((i, place, 0)))
    target = load_target(str(tmp_path / "set"))
    assert target.task.id == "image-classification"
    assert target.label_texts == ("apple pie", "ice cream")
    assert labels_of(target)[2, 1, 0] == ["ice cream"]


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_of_pictures_with_captions_in_a_metadata_file_is_read(tmp_path: Path, name: str) -> None:
    rows = [(f"{i}.png", f"A Picture, number {i}") for i in range(4)]
    for i, (file, _) in enumerate(rows):
        (tmp_path / file).write_bytes(png((i, 0, 0)))
    lines = (
        [json.dumps({"file_name": file, "caption": text}) for file, text in rows]
        if name.endswith("jsonl")
        else ["file_name,caption", *(f'{file},"{text}"' for file, text in rows)]
    )
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    target = load_target(str(tmp_path))
    assert target.task.id == "image-to-text"
    assert labels_of(target)[3, 0, 0] == ["a picture, number 3"]


def test_a_folder_in_the_hubs_layout_keeps_its_configurations_apart(tmp_path: Path) -> None:
    for config, label in (("easy", "yes"), ("hard", "perhaps")):
        folder = tmp_path / config
        folder.mkdir()
        rows = [{"sentence": f"{config} {i}", "label": label if i % 2 else "no"} for i in range(4)]
        pq.write_table(pa.Table.from_pylist(rows), folder / "train-00000-of-00001.parquet")
    assert load_target(str(tmp_path), config="hard").label_texts == ("no", "perhaps")
    readme = "---\nconfigs:\n" + "".join(f"- config_name: {c}\n  data_files: {c}/*.parquet\n" for c in ("easy", "hard"))
    (tmp_path / "README.md").write_text(readme + "---\n")
    assert load_target(str(tmp_path), config="easy").label_texts == ("no", "yes")
    error = error_of(lambda: load_target(str(tmp_path)))
    assert "easy" in error.message
    assert "--config" in str(error.hint)


def test_pictures_in_a_parquet_file_that_datasets_did_not_write_are_found_by_shape(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": b, "path": None}, "label": "ab"[i % 2]} for i, b in enumerate(pictures(4))]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "struct.parquet")
    binary = [{"img": b, "label": "ab"[i % 2]} for i, b in enumerate(pictures(4))]
    pq.write_table(pa.Table.from_pylist(binary), tmp_path / "binary.parquet")
    for name in ("struct", "binary"):
        target = load_target(str(tmp_path / f"{name}.parquet"))
        assert target.task.id == "image-classification"
        assert target.inputs[0].size == (8, 6)


def test_a_hub_dataset_is_read_over_http_at_its_pinned_revision(tmp_path: Path) -> None:
    def parquet(word: str) -> bytes:
        buffer = io.BytesIO()
        rows = [{"text": f"{word} {i}", "label": "ab"[i % 2]} for i in range(8)]
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        return buffer.getvalue()

    readme = b"---\nlicense: mit\n---\n"
    with serve(HubStub()) as hub:
        files = {"README.md": readme, "data/train-00000-of-00001.parquet": parquet("main")}
        main = hub.add("dataset", "org/texts", files)
        files["data/train-00000-of-00001.parquet"] = parquet("converted")
        hub.add("dataset", "org/texts", files, ref="refs/convert/parquet")
        code = """
            from hf_emms.data import load_target
            targets = [load_target(id, streaming=s, max_samples=4) for id, s in {calls}]
            gone = report(lambda: load_target("flickr8k"))
            print(json.dumps([[t.repo.revision, sorted(t.inputs), t.label_texts, t.split] for t in targets] + [gone]))
            """
        calls = [("org/texts", False), ("org/texts@refs/convert/parquet", False), ("org/texts", True)]
        on_main, converted, streamed, gone = run(code.format(calls=calls), tmp_path, HF_ENDPOINT=hub.url)
        asked = len(hub.requests)
        offline = run(code.format(calls=calls[:2]), tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
        assert len(hub.requests) == asked
        hub.add("dataset", "org/texts", {"README.md": readme}, ref="v2")
        seen = 'print(json.dumps(resolve("org/texts@v2", "dataset").revision))'
        run(seen, tmp_path, HF_ENDPOINT=hub.url)
        loading = "from hf_emms.data import load_target\n"
        other = loading + 'print(json.dumps(report(lambda: load_target("org/texts@v2"))))'
        absent = run(other, tmp_path, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert "not in the local cache (another revision is)" in absent["message"]
    assert on_main[0] == streamed[0] == main
    assert on_main[1][0].startswith("main ")
    assert on_main[2:] == [["a", "b"], "train"]
    assert converted[1][0].startswith("converted ")
    assert streamed[1][0].startswith("main ")
    assert offline[:2] == [on_main, converted]
    assert gone["error"] == "RepoNotFoundError"
    assert "jxie/flickr8k" in gone["message"]


def test_presets_fall_back_and_say_what_they_found_instead(tmp_path: Path) -> None:
    def parquet(rows: list[dict[str, Any]], features: datasets.Features | None = None) -> bytes:
        datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "file")
        return (tmp_path / "file").read_bytes()

    features = datasets.Features({"image": datasets.Image(), "caption": datasets.List(datasets.Value("string"))})
    captions = [
        {"image": {"bytes": b, "path": None}, "caption": [f"one {i}", "two"]} for i, b in enumerate(pictures(3))
    ]
    news = [{"headline": f"headline {i}", "label": "ab"[i % 2]} for i in range(4)]
    code = """
        from hf_emms.data import load_target
        target = load_target("flickr30k")
        print(json.dumps([
            [target.dataset, target.repo.id, target.split, len(target), target.notes],
            report(lambda: load_target("ag_news")),
            report(lambda: load_target("imdb")),
            len(load_target("ag_news", columns={"text": "headline"})),
            report(lambda: load_target("emotion")),
        ]))
        """
    with serve(HubStub()) as hub:
        hub.add(
            "dataset", "lmms-lab-encoder/flickr30k", {"data/test-00000-of-00001.parquet": parquet(captions, features)}
        )
        hub.add("dataset", "fancyzhx/ag_news", {"data/train-00000-of-00001.parquet": parquet(news)})
        hub.add("dataset", "stanfordnlp/imdb", {"data/test-00000-of-00001.parquet": parquet(news)})
        hub.add("dataset", "dair-ai/emotion", {"data/train-00000-of-00001.parquet": b""}, gated=True)
        stood_in, columns, split, named, gated = run(code, tmp_path / "home", HF_ENDPOINT=hub.url)
    assert stood_in[:4] == ["flickr30k", "lmms-lab-encoder/flickr30k", "test", 6]
    assert "AnyModal/flickr30k is not on the Hub any more; lmms-lab-encoder/flickr30k stands in" in stood_in[4]
    assert "column 'text'" in columns["message"]
    assert "headline (string), label (string)" in columns["message"]
    assert "'stanfordnlp/imdb' has no split 'train'" in split["message"]
    assert "test" in split["hint"]
    assert named == 4
    assert "gated" in gated["message"]
    assert "hf auth login" in gated["hint"]


@pytest.mark.parametrize(
    ("dataset", "hint"), [(42, "preset"), ("no such thing!", "ORG/NAME"), ("./absent", "ORG/NAME")]
)
def test_what_is_no_dataset_is_refused_with_what_to_pass(dataset: Any, hint: str) -> None:
    assert hint in str(error_of(lambda: load_target(dataset)).hint)


def test_an_empty_folder_and_a_strange_file_say_what_can_be_read(tmp_path: Path) -> None:
    assert "parquet" in str(error_of(lambda: load_target(str(tmp_path))).hint)
    (tmp_path / "data.xyz").write_text("x")
    assert ".parquet" in str(error_of(lambda: load_target(str(tmp_path / "data.xyz"))).hint)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but not really")
    assert "broken.parquet" in error_of(lambda: load_target(str(tmp_path / "broken.parquet"))).message


# ---- splits, tasks, columns -----------------------------------------------------------------------------------


def test_the_split_to_fine_tune_on_is_chosen_and_said() -> None:
    splits = {"test": texts(4, ["a", "b"]), "validation": texts(6, ["a", "b"]), "train": texts(8, ["a", "b"])}
    target = load_target(datasets.DatasetDict(splits))
    assert (target.split, len(target)) == ("train", 8)
    assert any("split train chosen among test, validation, train" in note for note in target.notes)
    assert len(load_target(datasets.DatasetDict(splits), split="test")) == 4
    del splits["train"]
    assert load_target(datasets.DatasetDict(splits)).split == "validation"
    assert "test, validation" in str(error_of(lambda: load_target(datasets.DatasetDict(splits), split="dev")).hint)


def test_columns_that_are_named_win_over_those_that_are_inferred() -> None:
    rows = texts(8, ["a", "b"], fine=["c", "d", "e", "f"] * 2)
    assert load_target(rows).label_texts == ("a", "b")
    target = load_target(rows, columns={"label": "fine"})
    assert target.label_texts == ("c", "d", "e", "f")
    assert any("label = fine" in note for note in target.notes)


def test_columns_of_unusual_names_are_found_by_their_types() -> None:
    features = datasets.Features(
        {"utterance": datasets.Value("string"), "intent": datasets.ClassLabel(names=["ask", "say"])}
    )
    rows = datasets.Dataset.from_dict({"utterance": list("pqrs"), "intent": [0, 1, 0, 1]}, features=features)
    target = load_target(rows)
    assert target.columns == {"text": "utterance", "label": "intent"}
    assert labels_of(target)["q"] == ["say"]


def test_columns_that_fit_no_task_are_listed_with_types_and_flags() -> None:
    rows = datasets.Dataset.from_dict({"x": [1.0, 2.0], "name": ["a", "b"]})
    error = error_of(lambda: load_target(rows))
    assert "x (float64), name (string)" in error.message
    assert all(flag in str(error.hint) for flag in ("--task", "--image-column", "--text-column", "--label-column"))
    known = error_of(lambda: load_target(rows, task="image-classification"))
    assert "x (float64), name (string)" in known.message
    assert "-column" in str(known.hint)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"label": "labl"}, "text (string), label (string)"),
        ({"text": "number"}, "holds integer"),
        ({"image": "text"}, "no image column"),
        ({"label": "several"}, "several labels a row"),
    ],
)
def test_a_column_that_is_absent_or_of_the_wrong_type_is_refused(columns: dict[str, str], said: str) -> None:
    rows = texts(4, ["a", "b"], number=[1, 2, 3, 4], several=[["a"], ["b"], ["a", "b"], []])
    error = error_of(lambda: load_target(rows, task="text-classification", columns=columns))
    assert said in error.message + str(error.hint)
    assert "-column" in str(error.hint)


def test_columns_that_fit_two_tasks_ask_for_the_task() -> None:
    rows = image_rows(pictures(4), caption=["w", "x", "y", "z"], label=["a", "b", "a", "b"])
    error = error_of(lambda: load_target(rows))
    assert "--task image-classification or --task image-to-text" in str(error.hint)
    assert load_target(rows, task="captioning").columns["text"] == "caption"
    assert load_target(rows, columns={"text": "caption"}).task.id == "image-to-text"


# ---- labels ---------------------------------------------------------------------------------------------------


def test_class_ids_become_names_and_numbers_without_names_stay_with_a_note() -> None:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a_b", "c"])})
    named = datasets.Dataset.from_dict({"text": list("wxyz"), "label": [0, 1, 0, 1]}, features=features)
    assert load_target(named).label_texts == ("a b", "c")
    numbered = load_target(datasets.Dataset.from_dict({"text": list("wxyz"), "label": [0, 11, 0, 2]}))
    assert numbered.label_texts == ("0", "11", "2")
    assert any("numbers without names" in note for note in numbered.notes)


def test_classes_that_cleaning_would_merge_keep_their_raw_names() -> None:
    target = load_target(texts(6, ["a_b", "a b", "c_d"]))
    assert target.label_texts == ("a b", "a_b", "c d")
    assert any("merge" in note for note in target.notes)


def test_a_prompt_wraps_class_names_and_needs_a_place_for_them() -> None:
    assert load_target(texts(4, ["a_b", "c"]), prompt="a {}.").label_texts == ("a a b.", "a c.")
    assert "{}" in error_of(lambda: load_target(texts(4, ["a", "b"]), prompt="a photo")).message
    rows = image_rows(pictures(2), caption=["a", "b"])
    assert "classes" in error_of(lambda: load_target(rows, prompt="a {}")).message


def test_labels_that_cannot_rank_are_refused() -> None:
    assert "the same label" in error_of(lambda: load_target(texts(6, ["only"]))).message
    assert "it is no class" in error_of(lambda: load_target(texts(30, [f"free {i}" for i in range(30)]))).message
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b"])})
    secret = datasets.Dataset.from_dict({"text": list("wxyz"), "label": [-1] * 4}, features=features)
    error = error_of(lambda: load_target(secret))
    assert "4 of 4 rows have no label" in error.message
    assert "--split" in str(error.hint)


# ---- captions -------------------------------------------------------------------------------------------------


def caption_sets() -> dict[str, datasets.Dataset]:
    """The same 3 pictures × 2 captions: as rows, as a list, as numbered columns."""
    encoded = pictures(3)
    two = [[f"Red {i}", f"Blue {i}"] for i in range(3)]
    return {
        "rows": image_rows([b for b in encoded for _ in "xy"], caption=[text for pair in two for text in pair]),
        "list": image_rows(encoded, captions=two),
        "columns": image_rows(encoded, caption_0=[pair[0] for pair in two], caption_1=[pair[1] for pair in two]),
    }


@pytest.mark.parametrize("form", ["rows", "list", "columns"])
def test_several_captions_of_a_picture_become_rows_that_share_input_and_group(form: str) -> None:
    target = load_target(caption_sets()[form])
    assert (len(target), len(target.inputs)) == (6, 3)
    assert labels_of(target) == {(i, 0, 7): [f"blue {i}", f"red {i}"] for i in range(3)}
    assert set(Counter(target.groups.tolist()).values()) == {2}
    assert any("6 rows from 3 pictures" in note for note in target.notes)


@pytest.mark.parametrize("form", ["rows", "list", "columns"])
def test_one_caption_a_picture_is_the_first_or_a_seeded_one(form: str) -> None:
    rows = caption_sets()[form]
    first = load_target(rows, captions="first")
    assert labels_of(first) == {(i, 0, 7): [f"red {i}"] for i in range(3)}
    picks = set()
    for seed in range(6):
        one = load_target(rows, captions="one-per-image", seed=seed)
        assert labels_of(one) == labels_of(load_target(rows, captions="one-per-image", seed=seed))
        assert len(one) == len(one.inputs) == 3
        picks.add(tuple(one.label_texts[code] for code in one.codes))
    assert len(picks) > 1


def test_a_limit_draws_whole_pictures_and_one_caption_each_when_asked() -> None:
    rows = caption_sets()["rows"]
    assert set(Counter(load_target(rows, max_samples=4).groups.tolist()).values()) == {2}
    for captions in ("first", "one-per-image"):
        target = load_target(rows, max_samples=2, captions=captions)
        assert (len(target), len(target.inputs)) == (2, 2)
    assert "captions" in error_of(lambda: load_target(texts(4, ["a", "b"]), captions="first")).message


# ---- sampling -------------------------------------------------------------------------------------------------


def skewed(n: int = 200) -> datasets.Dataset:
    return texts(n, ["big"] * 8 + ["mid"] + ["small"])


def test_a_balanced_sample_is_even_and_gives_the_rest_to_larger_classes() -> None:
    target = load_target(skewed(), max_samples=50)
    counts = {target.label_texts[code]: count for code, count in Counter(target.codes.tolist()).items()}
    assert sorted(counts.values()) == [16, 17, 17]
    spilled = load_target(skewed(), max_samples=100)
    counts = {spilled.label_texts[code]: count for code, count in Counter(spilled.codes.tolist()).items()}
    assert counts == {"big": 60, "mid": 20, "small": 20}


def test_a_proportional_sample_keeps_the_proportions() -> None:
    target = load_target(skewed(), max_samples=50, sampling="proportional")
    counts = {target.label_texts[code]: count for code, count in Counter(target.codes.tolist()).items()}
    assert counts["big"] == pytest.approx(40, abs=1)
    assert counts["mid"] == pytest.approx(5, abs=1)


def test_the_sample_depends_on_the_seed_and_not_on_the_order_of_rows() -> None:
    rows = skewed()
    shuffled = rows.select(random.Random(1).sample(range(len(rows)), len(rows)))
    one, same, other = (load_target(r, max_samples=40, seed=s) for r, s in ((rows, 0), (shuffled, 0), (rows, 1)))
    assert one.inputs == same.inputs
    assert np.array_equal(one.codes, same.codes)
    assert one.fingerprint == same.fingerprint
    assert one.inputs != other.inputs
    assert one.fingerprint != other.fingerprint


def test_everything_that_makes_the_sample_is_in_the_fingerprint() -> None:
    rows = texts(40, ["a_1", "b_2"])
    changed = rows.map(lambda row: {"text": row["text"].replace("number 7", "number seven")})
    variants = [
        load_target(rows),
        load_target(changed),
        load_target(rows, max_samples=20),
        load_target(rows, max_samples=20, sampling="proportional"),
        load_target(rows, prompt="a {}"),
        load_target(rows.rename_column("text", "sentence")),
    ]
    assert len({one.fingerprint for one in variants}) == len(variants)
    assert load_target(rows).fingerprint == variants[0].fingerprint


def test_orders_visit_every_row_once() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**63, 500).astype(np.uint64)
    classes = rng.integers(0, 7, 500)
    for order in (balanced_order(keys, classes), proportional_order(keys, classes)):
        assert np.array_equal(np.sort(order), np.arange(500))


# ---- rows that cannot be read ---------------------------------------------------------------------------------


def test_a_few_broken_rows_are_left_out_and_counted() -> None:
    encoded = pictures(60)
    encoded[7] = encoded[7][:40]
    encoded[9] = b"no picture at all"
    target = load_target(image_rows(encoded, label=["a", "b"] * 30))
    assert (len(target), target.skipped) == (58, 2)
    assert any("2 rows left out" in note for note in target.notes)
    assert all(target.inputs[i].size == (8, 6) for i in range(len(target.inputs)))


def test_broken_rows_are_replaced_while_there_are_others() -> None:
    encoded = pictures(60)
    encoded[7] = b"broken"
    assert len(load_target(image_rows(encoded, label=["a", "b"] * 30), max_samples=50)) == 50


@pytest.mark.parametrize("limit", [None, 40])
def test_too_many_broken_rows_are_an_error_with_count_and_example(limit: int | None) -> None:
    encoded = [b if i % 4 else b"broken" for i, b in enumerate(pictures(60))]
    error = error_of(lambda: load_target(image_rows(encoded, label=["a", "b"] * 30), max_samples=limit))
    assert "5%" in error.message
    assert "known format" in error.message
    if limit is None:
        assert "15 of 60 rows" in error.message


def test_empty_texts_and_missing_captions_are_left_out() -> None:
    rows = texts(60, ["a", "b"])
    holes = rows.map(lambda row, i: {"text": [" ", None][i % 2] if i < 2 else row["text"]}, with_indices=True)
    assert (len(load_target(holes)), load_target(holes).skipped) == (58, 2)
    captions: list[Any] = [["one", None, ""], *[[f"caption {i}"] for i in range(39)]]
    target = load_target(image_rows(pictures(40), captions=captions))
    assert (len(target), target.skipped) == (40, 0)


# ---- streams --------------------------------------------------------------------------------------------------


def counted(n: int, read: list[int]) -> datasets.IterableDataset:
    def rows() -> Any:
        for i in range(n):
            read.append(i)
            yield {"text": f"text {i}", "label": i % 3}

    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["a", "b", "c"])}
    )
    return datasets.IterableDataset.from_generator(rows, features=features)


def test_a_stream_is_read_no_further_than_needed() -> None:
    read: list[int] = []
    target = load_target(counted(100_000, read), max_samples=90)
    assert sorted(Counter(target.codes.tolist()).values()) == [30, 30, 30]
    assert len(read) < 5_000
    assert target.total_rows is None
    (note,) = (note for note in target.notes if note.startswith("streamed"))
    assert 90 <= int(note.split("first ")[1].split()[0]) < 300


def test_a_stream_needs_a_number_of_rows() -> None:
    assert "--max-samples" in str(error_of(lambda: load_target(counted(10, []))).hint)


def test_a_stream_whose_types_only_its_rows_tell_is_read(tmp_path: Path) -> None:
    write_text_file(tmp_path / "train.jsonl")
    target = load_target(str(tmp_path / "train.jsonl"), streaming=True, max_samples=4)
    assert target.task.id == "text-classification"
    assert set(Counter(target.codes.tolist()).values()) == {2}
    pictured = counted(30, []).map(lambda row: {**row, "label": f"class_{row['label']}"})
    assert load_target(pictured, max_samples=12).label_texts == ("class 0", "class 1", "class 2")


def test_a_streamed_folder_gives_rows_of_the_folder(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": b, "path": None}, "caption": f"picture {i}"} for i, b in enumerate(pictures(40))]
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    datasets.Dataset.from_list(rows, features=features).to_parquet(tmp_path / "train.parquet")
    target = load_target(str(tmp_path), streaming=True, max_samples=10)
    assert len(target) == 10
    for pixel, captions in labels_of(target).items():
        assert captions == [f"picture {pixel[0]}"]


# ---- pictures -------------------------------------------------------------------------------------------------


def test_pictures_come_out_rgb_and_upright() -> None:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8, 6), 200).save(buffer, "jpeg", exif=exif)
    images = Images([buffer.getvalue(), png((1, 2, 3))])
    assert (images[0].mode, images[0].size) == ("RGB", (6, 8))
    assert images[1].getpixel((0, 0)) == (1, 2, 3)
    assert [image.size for image in images[1:]] == [(8, 6)]


def test_equal_pictures_and_equal_texts_are_held_once() -> None:
    target = load_target(image_rows([png((1, 1, 1))] * 3 + pictures(3), label=["a", "b"] * 3))
    assert (len(target), len(target.inputs)) == (6, 4)
    assert Counter(Counter(target.groups.tolist()).values()) == {1: 3, 3: 1}
    assert len(load_target(datasets.Dataset.from_dict({"text": ["x", "x", "y"], "label": list("aba")})).inputs) == 2


# ---- real data ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", demo.names("datasets"))
def test_the_embedded_datasets_load_under_their_ids(name: str) -> None:
    target = load_target(name, max_samples=120)
    assert len(target) == 120
    assert target.repo.folder == demo.folder_of(name)
    assert (target.split, target.skipped) == ("test", 0)


@needs_real_data
def test_cifar10_as_laid_out_on_the_hub() -> None:
    target = load_target(str(REAL_DATA / "uoft-cs--cifar10"), config="plain_text", max_samples=200)
    assert target.task.id == "image-classification"
    assert target.columns == {"image": "img", "label": "label"}
    assert len(target.label_texts) == 10
    assert set(np.bincount(target.codes)) == {20}
    assert target.inputs[0].size == (32, 32)


@needs_real_data
@pytest.mark.parametrize(
    ("folder", "options", "n_classes"),
    [
        ("nyu-mll--glue", {"config": "sst2"}, 2),
        ("CogComp--trec", {"columns": {"label": "coarse_label"}}, 6),
        ("CogComp--trec", {"columns": {"label": "fine_label"}}, 50),
    ],
)
def test_real_texts_as_laid_out_on_the_hub(folder: str, options: dict[str, Any], n_classes: int) -> None:
    target = load_target(str(REAL_DATA / folder), max_samples=400, **options)
    assert target.task.id == "text-classification"
    assert len(target.label_texts) == n_classes
    assert target.split == "train"
    assert len(target) == 400
