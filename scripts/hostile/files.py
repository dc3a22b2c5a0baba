"""The files of the corpus, made anew for every run: data, arrays, rankings, tables of truth and checkpoints."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scripts.hostile.checkpoints import GOOD, make_checkpoints

OTHERS = ("emms-demo/albert-distilled", "emms-demo/electra-distilled")
ENCODER = "emms-demo/encoder-minilm-static"
# What words of the corpus stand for: a name that steers a terminal, one that is no UTF-8, a long one, an access token.
NAMES = {
    "$STEERING": "x\x1b[31m\u202ey",
    "$BYTES": os.fsdecode(b"\xe9"),
    "$LONG": "n" * 300,
    "$TOKEN": "hf_" + "abcdefghijklmnopqrstuvwxyz12345678",
}
_TEXTS = [f"a text about thing {number} of kind {'xyz'[number % 3]}" for number in range(40)]
_KINDS = ["xyz"[number % 3] for number in range(40)]


def make_files(folder: Path) -> None:
    """Writes all files that the corpus names into a folder."""
    make = _Writer(folder)
    _data(make)
    _folders(make)
    _tables(make)
    _metadata(make)
    _lists(make)
    _arrays(make)
    _rankings(make)
    _truth(make)
    make_checkpoints(folder / "checkpoints")


class _Writer:
    """Writes files below a folder, which it makes as needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, content: str | bytes, encoding: str = "utf-8") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))


def _csv(texts: list[str], labels: list[Any], header: str = "text,label") -> str:
    return "\n".join([header, *(f"{text},{label}" for text, label in zip(texts, labels, strict=True)), ""])


def _data(make: _Writer) -> None:
    good = _csv(_TEXTS, _KINDS)
    make("good.csv", good)
    make("utf16.csv", good, "utf-16")
    make("latin1.csv", good.replace("thing", "thïng"), "latin-1")
    make("semicolon.csv", good.replace(",", ";"))
    make("twice.csv", good.replace("text,label", "text,text"))
    make("unclosed.csv", good + '"unclosed,x\n')
    make("ragged.csv", good + "a,b,c,d\n")
    make("steering.csv", good.replace("label", NAMES["$STEERING"]))
    make("bytes.csv", bytes(range(256)) * 20)
    make("header.csv", "text,label\n")
    make("key.csv", _csv([f"text {number}" for number in range(30)], [*range(30)], "text,id"))
    make("increasing.csv", _csv([f"text {number}" for number in range(30)], [3 * n for n in range(30)], "text,n"))
    missing = [word + " " * (n > 0) + str(n or "") for n in range(10) for word in ("NA", "None", "null", "nan")]
    make("missing.csv", _csv(missing, ["x", "y"] * 20))
    make("two.csv", _csv(["a", "b"], ["x", "y"]))
    make("four.csv", _csv(["a", "b", "c", "d"], ["x", "x", "y", "y"]))
    make("one_class.csv", _csv(_TEXTS, ["x"] * 40))
    make("same.csv", _csv(["the same"] * 40, ["x", "y"] * 20))
    make("distinct.csv", _csv(_TEXTS, [f"label {number}" for number in range(40)]))
    make("unlabelled.csv", _csv(_TEXTS, [""] * 30 + ["x", "y"] * 5))
    make("file", good)
    make("data.xyz", good)
    for suffix in ("csv", "tsv", "json", "jsonl", "parquet"):
        make(f"empty.{suffix}", "")
    make("broken.jsonl", '{"text": "a", "label": "x"}\n{"text": \n')
    make("deep.json", "[" * 100_000)
    make("list.json", "[1, 2, 3]")
    pq.write_table(pa.table({"text": _TEXTS, "label": _KINDS}), make.folder / "good.parquet")
    whole = (make.folder / "good.parquet").read_bytes()
    make("cut.parquet", whole[: len(whole) // 2])
    make("flipped.parquet", bytes(byte ^ (0xFF if place % 97 == 50 else 0) for place, byte in enumerate(whole)))
    make("mixed/data.csv", good)
    make("mixed/data.parquet", whole)
    make("readme/data.csv", good)
    make("readme/README.md", "---\nconfigs: [\n---\n")
    make("tagged/data.csv", good)
    make("tagged/README.md", "---\nx: !!python/object/apply:os.system ['touch ran']\n---\n")
    make("script/script.py", "import os\nos.system('touch ran')\n")
    make("a[1]/data.csv", good)
    make("two files/a.csv", good)
    make("two files/b.csv", _csv(_TEXTS, _KINDS, "words,kind"))


def _folders(make: _Writer) -> None:
    def pictures(folder: str, *classes: str) -> None:
        for number, name in enumerate(classes):
            (make.folder / folder / name).mkdir(parents=True, exist_ok=True)
            for place in range(6):
                picture = Image.new("RGB", (8, 8), (40 * number, 40 * place, 9))
                picture.save(make.folder / folder / name / f"{place}.png")

    pictures("pictures", "apple", "pear")
    pictures("cut pictures", "apple", "pear")
    for path in (make.folder / "cut pictures").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    pictures("few cut pictures", "apple", "pear")
    make("few cut pictures/pear/0.png", b"no picture")
    pictures("line break", "apple", "pe\nar")
    pictures("colons", "apple", "a::b")
    pictures("bytes", "apple", NAMES["$BYTES"])
    pictures("one class", "apple")
    pictures("no class", ".")
    (make.folder / "nothing").mkdir()
    (make.folder / "loop").symlink_to("loop")
    (make.folder / "ends").symlink_to("nowhere")
    for name in ("closed.csv", "closed.json", "closed.npz", "closed_truth.csv", "closed_out.json"):
        make(name, "text,label\n")
        (make.folder / name).chmod(0)
    make("closed/config.json", "{}")
    (make.folder / "closed" / "config.json").chmod(0)
    pictures("closed class", "apple", "pear")
    (make.folder / "closed class" / "pear").chmod(0)


def _tables(make: _Writer) -> None:
    """Parquet files with columns of odd types and values."""
    count = 30
    texts, classes = [f"text {number}" for number in range(count)], ["a", "b"] * (count // 2)
    picture = {"bytes": (make.folder / "pictures" / "apple" / "0.png").read_bytes(), "path": None}
    labels: dict[str, Any] = {
        "infinite": [float("inf"), *map(float, range(1, count))],
        "nan": [float(number * 7 % 11) if number % 3 else float("nan") for number in range(count)],
        "large": pa.array([2**63 + number % 3 for number in range(count)], pa.uint64()),
        "times": pa.array([*range(count)], pa.timestamp("s")),
        "null": pa.nulls(count),
        "lists": [["a"], []] * (count // 2),
    }
    tables: dict[str, dict[str, Any]] = {
        f"labels_{name}": {"text": texts, "label": one} for name, one in labels.items()
    }
    tables["blank"] = {"text": ["", "  "] * (count // 2), "label": classes}
    tables["no_texts"] = {"text": [text.encode() + b"\xff" for text in texts], "label": classes}
    tables["no_pictures"] = {"image": [{"bytes": b"no picture", "path": None}] * count, "label": classes}
    tables["null_pictures"] = {"image": [None] * count, "label": classes}
    tables["many"] = {f"column {number}": texts for number in range(300)}
    for name, box in {
        "outside": [-5.0, -5.0, 3.0, 3.0],
        "nan": [float("nan")] * 4,
        "three": [1.0, 2.0, 3.0],
        "flat": [1.0, 1.0, 0.0, 0.0],
        "huge": [1e308, 1.0, 1e308, 1.0],
    }.items():
        tables[f"boxes_{name}"] = {"image": [picture] * count, "expression": texts, "box": [box] * count}
    for name, answer in {
        "none": {"text": [], "answer_start": []},
        "far": {"text": ["thing"], "answer_start": [9999]},
        "uneven": {"text": ["thing", "x"], "answer_start": [4]},
        "absent": {"text": ["nowhere"], "answer_start": [4]},
    }.items():
        contexts = [f"the thing {number} is here" for number in range(count)]
        tables[f"answers_{name}"] = {"question": texts, "context": contexts, "answers": [answer] * count}
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), make.folder / f"{name}.parquet")


def _metadata(make: _Writer) -> None:
    """Folders of pictures with a file that describes them."""
    lines = [f"{number}.png,caption {number}" for number in range(12)]
    for name, described in {
        "described": ["file_name,caption", *lines],
        "described in part": ["file_name,caption", *lines[:9]],
        "described without files": ["name,caption", *lines],
        "described outside": ["file_name,caption", *lines[:-1], "../outside.png,x"],
        "described blank": ["file_name,caption", *(f'{number}.png,"  "' for number in range(12))],
        "described by nothing": [],
    }.items():
        for number in range(12):
            (make.folder / name).mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (20 * number, 9, 9)).save(make.folder / name / f"{number}.png")
        make(f"{name}/metadata.csv", "\n".join(described))


def _lists(make: _Writer) -> None:
    make("empty.txt", "")
    make("comments.txt", "# nothing\n\n")
    make("mark.txt", f"{GOOD}\n", "utf-8-sig")
    make("utf16.txt", f"{GOOD}\n", "utf-16")
    make("no_mark.txt", f"{GOOD}\n", "utf-16-le")
    make("latin1.txt", f"{GOOD}  # é\n", "latin-1")


def _arrays(make: _Writer) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 8))
    z = rng.normal(size=(60, 5)) + x[:, :5]
    nan = np.where(np.arange(480).reshape(60, 8) == 7, np.nan, x)
    arrays: dict[str, dict[str, Any]] = {
        "good": {},
        "tiny": {"features": x * 1e-200},
        "huge": {"features": x * 1e200},
        "wide": {"features": np.tile(x.astype(np.float32) * 1e30, 20)},
        "nan": {"features": nan},
        "constant": {"features": np.ones((60, 8))},
        "texts": {"features": np.full((60, 8), "a")},
        "complex": {"features": x + 1j},
        "flat": {"features": x[:, 0]},
        "short": {"features": x[:50]},
        "nobody": {"features": x[:0], "label_embeddings": z[:0]},
        "one": {"features": x[:1], "label_embeddings": z[:1]},
        "tiny_labels": {"label_embeddings": z * 1e-200},
        "huge_labels": {"label_embeddings": z * 1e200},
        "no_labels": {"label_embeddings": np.zeros((60, 5))},
        "four_axes": {"label_embeddings": z[:, :, None, None]},
        "no_encoders": {"label_embeddings": np.zeros((60, 5, 0))},
        "groups": {"groups": np.arange(30)},
        "one_group": {"groups": np.zeros(60, int)},
    }
    for name, changed in arrays.items():
        np.savez(make.folder / f"{name}.npz", **{"features": x, "label_embeddings": z} | changed)
    np.savez(make.folder / "codes.npz", features=x, codes=np.arange(60), table=z[:3])
    np.savez(make.folder / "other.npz", other=x)
    np.savez(make.folder / "objects.npz", features=np.array([object()], dtype=object))  # type: ignore[arg-type]
    np.save(make.folder / "single.npy", x)
    make("text.npz", "no archive")
    whole = (make.folder / "good.npz").read_bytes()
    make("cut.npz", whole[: len(whole) // 2])


def _rankings(make: _Writer) -> None:
    import hf_emms

    base = hf_emms.rank(
        "demo_glosses", (GOOD, *OTHERS), max_samples=40, encoders=ENCODER, estimators="emms", layers="last"
    )
    make("ranking.json", base.to_json())

    def changed(name: str, change: Callable[[dict[str, Any]], Any]) -> None:
        content = json.loads(base.to_json())
        change(content)
        make(f"{name}.json", json.dumps(content))

    def every_row(**values: Any) -> Callable[[dict[str, Any]], Any]:
        return lambda content: [row.update(values) for row in content["rows"]]

    changed("no_rows", lambda content: content.update(rows=[]))
    changed("no_scores", every_row(scores={}))
    changed("all_failed", every_row(scores={}, error="it failed", rank=None))
    changed("unknown_estimator", lambda content: content.update(estimators=["unknown"]))
    changed("many_parameters", every_row(parameters=10**400))
    changed("negative_width", every_row(width=-1))
    changed("texts", lambda content: content["rows"][0]["scores"]["emms"]["details"].update(r2="x", weights="y"))
    changed("newer", lambda content: content.update(schema_version=99))
    changed("no_dataset", lambda content: content.pop("dataset"))
    make("not_a_number.json", base.to_json().replace('"value": ', '"value": NaN, "was": '))
    make("bytes.json", bytes(range(256)))
    make("bytes.parquet", bytes(range(256)))
    for name, text in (("cut", base.to_json()[:300]), ("null", "null"), ("object", "{}"), ("number", "1")):
        make(f"{name}.json", text)


def _truth(make: _Writer) -> None:
    names = (GOOD, *OTHERS)
    table = "checkpoint,score\n" + "".join(f"{name},{place}\n" for place, name in enumerate(names))
    make("truth.csv", table)
    make("truth_latin1.csv", f"{table}é,1\n", "latin-1")
    make("truth_large.json", json.dumps(dict.fromkeys(names, 10**400)))
    make("truth_nan.csv", table.replace(",0", ",nan").replace(",1", ",nan").replace(",2", ",inf"))
    make("truth_header.csv", "checkpoint,score\n")
    make("truth_one.csv", f"checkpoint,score\n{GOOD},1\n")
    make("truth_wide.csv", "checkpoint,score\na," + "1" * 200_000 + "\n")
    make("truth_columns.csv", "who,what\na,b\n")
