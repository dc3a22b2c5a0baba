"""The files of the corpus, made anew for every run: data, arrays, rankings, tables of truth and checkpoints."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors.numpy import load_file, save_file

from hf_emms.demo import folder_of

GOOD = "emms-demo/bert-random"
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
    _lists(make)
    _arrays(make)
    _rankings(make)
    _truth(make)
    for name, spoil in _SPOILED.items():
        copy = folder / "checkpoints" / name
        shutil.copytree(_folder(GOOD), copy)
        spoil(copy)


class _Writer:
    """Writes files below a folder, which it makes as needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str, content: str | bytes, encoding: str = "utf-8") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))


def _folder(checkpoint: str) -> Path:
    found = folder_of(checkpoint)
    assert found is not None
    return found


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


# ---- checkpoints -------------------------------------------------------------------------------------------------


def _config(**changes: Any) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def _file(name: str, content: str | bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _without(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def _weights(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file({name: change(tensor) for name, tensor in load_file(path).items()}, path, {"format": "pt"})

    return spoil


def _folder_for(name: str) -> Callable[[Path], Any]:
    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()

    return spoil


def _outside(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index = {"weight_map": {"weight": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


def _harmful(folder: Path) -> None:
    """Weights whose unpickling would run a command."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch ran'\ntR.")


def _only(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


_ODD_VALUES = {
    **{"text": "big", "list": [1, 2], "null": None, "negative": -16, "zero": 0, "fraction": 1.5, "object": {"a": 1}},
    "huge": 2**40,
}
# Each is one failed row next to a good one; `HARMLESS` can be scored.
_SPOILED: dict[str, Callable[[Path], Any]] = {
    **{f"size is {name}": _config(hidden_size=value) for name, value in _ODD_VALUES.items()},
    **{f"layers are {name}": _config(num_hidden_layers=value) for name, value in _ODD_VALUES.items() if name != "zero"},
    "no heads": _config(num_attention_heads=0),
    "type is number": _config(model_type=7),
    "type is list": _config(model_type=["bert"]),
    "type is unknown": _config(model_type="no-such-architecture"),
    "type of pictures": _config(model_type="vit"),
    "own code": _config(model_type="own", auto_map={"AutoModel": "own.Model"}),
    "activation is number": _config(hidden_act=3),
    "labels are number": _config(id2label=5),
    "config is list": _file("config.json", "[1]"),
    "config is text": _file("config.json", '"a"'),
    "config is deep": _file("config.json", "[" * 100_000),
    "config is empty": _file("config.json", ""),
    "config is binary": _file("config.json", bytes(range(256))),
    "no config": _without("config.json"),
    "config is folder": _folder_for("config.json"),
    "no weights": _without("model.safetensors"),
    "weights are folder": _folder_for("model.safetensors"),
    "weights are empty": _file("model.safetensors", b""),
    "weights are cut": _cut_weights,
    "weights are a pointer": _file("model.safetensors", "version https://git-lfs.github.com/spec/v1\nsize 9\n"),
    "weights are outside": _outside,
    "weights are nan": _weights(lambda tensor: tensor * np.nan),
    "weights of others": _weights(lambda tensor: tensor.reshape(-1)[:1]),
    "weights would run code": _harmful,
    "only tensorflow": _only("tf_model.h5"),
    "only an adapter": _only("adapter_model.safetensors"),
    "no tokenizer": _without("tokenizer.json"),
    "tokenizer is empty": _file("tokenizer.json", ""),
    "tokenizer is list": _file("tokenizer.json", "[]"),
    "tokenizer is folder": _folder_for("tokenizer.json"),
    "weights are zero": _weights(lambda tensor: tensor * 0),
}
HARMLESS = ("weights are zero",)
SPOILED = tuple(_SPOILED)
