"""Files that are too large, too deep or not regular: each command must end soon, in little memory, with one error."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.hostile.mutations import ENCODER

MAX_SECONDS, MAX_MEMORY = 20, 1.5e9
_GB = 1 << 30
_ROOT = str(Path(__file__).resolve().parents[2])
_CHECKPOINT = "emms-demo/bert-random"
_RUNNING = "--device cpu --read-memory 1GB --stall-limit 10"
_SETTINGS = f"-e {ENCODER} --estimator emms --layer last --max-samples 40 {_RUNNING}"
_DATA = f"rank {_SETTINGS} -c {_CHECKPOINT} --dataset"
_ROWS = "text,label\n" + "".join(f"a text about thing {n},{'xyz'[n % 3]}\n" for n in range(40))
_OPEN = '{"_id": "a", "text": "'
_DEEP = '{"a":' * 100_000
_BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
Make = Callable[[Path], object]
_LEVELS, _COLUMNS, _KEYS = 10_000, 100_000, 1_000_000


def _text(content: str) -> Make:
    return lambda path: path.write_text(content)


def _sparse(head: str, size: int = 10 * _GB) -> Make:
    """A file of `head` and zeros, which uses no space on the disk."""

    def make(path: Path) -> None:
        path.write_text(head)
        os.truncate(path, size)

    return make


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _compressed(path: Path) -> None:
    """A line of 600 MB in 3 MB."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(_ROWS.encode())
        for _ in range(600):
            file.write(b"a" * (1 << 20))


def _zip(path: Path) -> None:
    """A file of 1 GB in 5 MB."""
    archive = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("data.csv", "w", force_zip64=True) as file:
        for _ in range(1024):
            file.write(b"a" * (1 << 20))


def _tar(path: Path) -> None:
    """The header of a file of 20 GB, and zeros."""
    member = tarfile.TarInfo("data.csv")
    member.size = 20 * _GB
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 21 * _GB)


def _many_files(path: Path) -> None:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number in range(100_000):
            archive.addfile(tarfile.TarInfo(f"{'ab'[number % 2]}/{number}.txt"), io.BytesIO())


def _nested(start: str, end: str) -> Make:
    row = f'{{"text": "a text", "label": "x", "deep": {start * _LEVELS}1{end * _LEVELS}}}\n'
    return _text(3 * row)


def _parquet(rows: int, groups: int = 1) -> Make:
    """A text of 2.5 MB in `rows` rows, each group with a dictionary: a few kB on the disk."""

    def make(path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        texts = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["a" * 2_480_000]))
        table = pa.table({"text": texts, "label": ["xyz"[row % 3] for row in range(rows)]})
        pq.write_table(table, path, compression="zstd", store_schema=False, row_group_size=rows // groups)

    return make


def _many_keys(path: Path) -> None:
    keys = {"text": "a text", "label": "x"} | {f"key{number}": number for number in range(_KEYS)}
    rows = [keys, *({"text": f"a text about {number}", "label": "xy"[number % 2]} for number in range(40))]
    path.write_text("\n".join(map(json.dumps, rows)))


def _search(name: str, make: Make) -> Make:
    """A folder of a corpus, queries and judgments, one of which `make` writes."""

    def make_folder(folder: Path) -> None:
        (folder / "qrels").mkdir(parents=True)
        rows = [json.dumps({"_id": f"{n}", "text": f"thing {n}"}) for n in range(40)]
        judgments = [f"{n}\t{n}\t1" for n in range(40)]
        (folder / "corpus.jsonl").write_text("\n".join(rows))
        (folder / "queries.jsonl").write_text("\n".join(rows))
        (folder / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judgments]))
        (folder / name).unlink()
        make(folder / name)

    return make_folder


def _card(make: Make) -> Make:
    def make_folder(folder: Path) -> None:
        folder.mkdir()
        (folder / "train.csv").write_text(_ROWS)
        make(folder / "README.md")

    return make_folder


def _checkpoint(name: str, make: Make) -> Make:
    """A copy of a checkpoint with a file that `make` writes."""

    def make_folder(folder: Path) -> None:
        from hf_emms.presets.demo import folder_of

        source = folder_of(_CHECKPOINT)
        assert source is not None
        shutil.copytree(source, folder)
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return make_folder


def _module(number: int, kind: str) -> dict[str, str | int]:
    return {"idx": number, "name": f"{number}", "path": "", "type": f"sentence_transformers.models.{kind}"}


def _prompt(folder: Path) -> None:
    modules = [_module(0, "Transformer"), _module(1, "Pooling")]
    _checkpoint("modules.json", _text(json.dumps(modules)))(folder)
    prompts = {"prompts": {"query": "a " * (1 << 20)}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))


def _cases() -> dict[str, tuple[str, Make]]:
    """Return the name of a file → a command up to that name, and the function that writes the file."""
    truth, model = "validate --ranking other.json --truth", f"rank {_SETTINGS} --dataset demo_glosses -c"
    data: dict[str, Make] = {
        **{f"long.{suffix}": _sparse(_ROWS) for suffix in ("csv", "tsv", "conll", "txt")},
        **{f"long.{suffix}": _sparse(_OPEN) for suffix in ("jsonl", "json")},
        **{f"deep.{suffix}": _text(_DEEP) for suffix in ("jsonl", "json")},
        "list.json": _sparse("[" + _OPEN),
        "lists.json": _text("[" * 100_000),
        "pipe.csv": os.mkfifo,
        "device.csv": _device,
        "line.csv.gz": _compressed,
        "bomb.zip": _zip,
        "bomb.tar": _tar,
        "many.tar.gz": _many_files,
        "objects.jsonl": _nested('{"a":', "}"),
        "lists.jsonl": _nested("[", "]"),
        "bomb.parquet": _parquet(3000),
        "groups.parquet": _parquet(4000, groups=8),
        "keys.jsonl": _many_keys,
        "columns.csv": _text(f"text,label{',a' * _COLUMNS}\n" + f"a text,x{',1' * _COLUMNS}\n" * 40),
        "bomb": _card(_text(f"---\n{_BOMB}configs: *a11\n---\n")),
        "deep": _card(_text("---\nconfigs: " + "[" * 50_000 + "\n---\n")),
        "card": _card(_sparse("---\nconfigs:\n---\n")),
    }
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
        makes = {"long": _sparse(_OPEN), "pipe": os.mkfifo, "device": _device}
        data |= {f"{kind}-{Path(name).stem}": _search(name, make) for kind, make in makes.items()}
    data["deep-corpus"] = _search("corpus.jsonl", _text(f'{{"_id": "a", "text": {"[" * 100_000}'))
    truths: dict[str, Make] = {
        "truth-deep.json": _text(_DEEP),
        "truth-deep.jsonl": _text(_DEEP),
        "truth-long.json": _sparse('{"a'),
        "truth-long.csv": _sparse("checkpoint,score\na"),
        "truth-pipe.csv": os.mkfifo,
        "truth-device.json": _device,
    }
    models: dict[str, Make] = {
        "model-settings": _checkpoint("config_sentence_transformers.json", _sparse('{"a')),
        "model-config": _checkpoint("config.json", _text(_DEEP)),
        "model-pipe": _checkpoint("config.json", os.mkfifo),
        "model-tokenizer": _checkpoint("tokenizer.json", _sparse('{"a')),
        "model-deep": _checkpoint("tokenizer_config.json", _text(_DEEP)),
        "model-modules": _checkpoint(
            "modules.json", _text(json.dumps([_module(0, "Transformer"), *[_module(1, "Dense")] * 100_000]))
        ),
        "model-prompt": _prompt,
    }
    return {
        **{name: (_DATA, make) for name, make in data.items()},
        **{name: (truth, make) for name, make in truths.items()},
        **{name: (model + " ./", make) for name, make in models.items()},
        "ranking.json": ("validate --ranking", _sparse('{"rows')),
        "deep-ranking.json": ("validate --ranking", _text('{"rows":' + "[" * 100_000)),
        "list.txt": (f"rank {_SETTINGS} --dataset demo_glosses --checkpoints-file", _device),
        "long.yaml": ("sweep", _sparse("datasets:\n")),
    }


def run_limits(folder: Path, report: Callable[[str], None]) -> list[str]:
    """Run a command on each file; return everything that was not as expected.

    Args:
        folder: A folder with a ranking other.json.
        report: Called with a line for each command.
    """
    problems = []
    with contextlib.chdir(folder):
        for name, (words, make) in _cases().items():
            path = Path(name)
            make(path)
            separator = "" if words.endswith("/") else " "
            wrong, measured = _measured(shlex.split(f"{words}{separator}{name}"))
            report(f"{'WRONG' if wrong else 'ok':5}  {name}: {measured}")
            if wrong:
                problems.append(f"{name}, {measured}: {wrong}")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return problems


def _memory_of(pid: int) -> float:
    """Return the memory of a process and its descendants in bytes, without mapped files."""
    import psutil

    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                memory = process.memory_info()
                total += memory.rss - memory.shared
    return total


def _measured(words: Sequence[str]) -> tuple[str, str]:
    """Run ``hf-emms WORDS``; return the failed checks, and time and peak memory."""
    started = time.perf_counter()
    used = [0.0]
    with tempfile.TemporaryFile("w+") as err:
        command = [sys.executable, "-m", "hf_emms", *words]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=err, env={**os.environ, "PYTHONPATH": _ROOT}
        )
        timer = threading.Timer(3 * MAX_SECONDS, process.kill)
        timer.start()
        while process.poll() is None:
            used.append(_memory_of(process.pid))
            time.sleep(0.05)
        timer.cancel()
        err.seek(0)
        text = err.read().strip()
    seconds, memory = time.perf_counter() - started, max(used)
    lines, code = text.splitlines()[-2:], process.returncode
    checks = {
        f"exit code {code}": code == 1,
        "it took too long": seconds < MAX_SECONDS,
        "it took too much memory": memory < MAX_MEMORY,
        "not an error of two lines": len(lines) == 2 and lines[0].startswith("Error: ") and "→" in lines[1],
        "a traceback": "Traceback" not in text,
    }
    failed = [what for what, right in checks.items() if not right]
    return "; ".join(failed) + (f": {text[-600:]}" if failed else ""), f"{seconds:.1f} s, {memory / 1e9:.2f} GB"
