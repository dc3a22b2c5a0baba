"""Mutated data, arrays, rankings and tables of truth: each command ends in a result, or in an error with a hint."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from scripts.hostile.mutations import ENCODER, mutate_bytes, mutate_value

CHECKPOINTS = ("emms-demo/bert-random", "emms-demo/albert-distilled", "emms-demo/electra-distilled")
_RANK = f"rank -e {ENCODER} --estimator emms --layer last --device cpu -c emms-demo/bert-random --dataset"
# A file, and the command that reads it.
COMMANDS = {
    **{f"data.{suffix}": f"{_RANK} data.{suffix}" for suffix in ("csv", "jsonl", "json", "parquet")},
    "answers.jsonl": f"{_RANK} answers.jsonl",
    "boxes.jsonl": f"{_RANK} boxes.jsonl",
    "pictures/metadata.csv": f"{_RANK} pictures -c emms-demo/vit-random",
    "pictures/README.md": f"{_RANK} pictures -c emms-demo/vit-random",
    "checkpoints.txt": f"{_RANK} data.csv --checkpoints-file checkpoints.txt",
    "arrays.npz": "score arrays.npz",
    "other.json": "validate --ranking other.json --truth truth.csv",
    "truth.csv": "validate --ranking other.json --truth truth.csv",
    "truth.json": "validate --ranking other.json --truth truth.json",
}
_ODD_TEXTS = ("\x00", "\x1b[31m\u202e", '"', ",", "\n", "\ufeff", "é", "nan", "-1", "1e999", "9" * 400, "x" * 200_000)
_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]")
_FAILED = 99


def run_files(count: int, seed: int, folder: Path, report: Callable[[str], None]) -> list[str]:
    """Run commands on mutated files.

    Args:
        count: Number of mutations.
        seed: Of the mutations.
        folder: An empty one.
        report: Called with a line for each command.

    Returns:
        Everything that was not as expected.
    """
    problems: list[str] = []
    with contextlib.chdir(folder):
        _make_files(folder)
        originals = {name: (folder / name).read_bytes() for name in COMMANDS}
        for number in range(count):
            rng = random.Random(seed + number)
            name = rng.choice([*COMMANDS])
            what = _mutate(folder / name, rng)
            wrong = _wrong(shlex.split(COMMANDS[name]))
            (folder / name).write_bytes(originals[name])
            report(f"{'WRONG' if wrong else 'ok':5}  {name}: {what}")
            if wrong:
                problems.append(f"file {seed + number}, {name}: {what}\n    {wrong}")
    return problems


def _mutate(path: Path, rng: random.Random) -> str:
    """Mutate a file; return a description of the change."""
    is_json = path.suffix in (".json", ".jsonl")
    if is_json and rng.random() < 0.7:
        lines = path.read_text().splitlines()
        place = rng.randrange(len(lines))
        content = json.loads(lines[place])
        what = mutate_value(content, rng)
        lines[place] = json.dumps(content)
        path.write_text("\n".join(lines))
        return f"line {place + 1}, {what}"
    if path.suffix in (".csv", ".txt", ".md", ".json", ".jsonl") and rng.random() < 0.5:
        text = path.read_text()
        place, odd = rng.randrange(len(text)), rng.choice(_ODD_TEXTS)
        path.write_text(text[:place] + odd + text[place:])
        return f"{odd[:20]!r} at {place}"
    return mutate_bytes(path, rng)


def _wrong(words: Sequence[str]) -> str | None:
    """Run a command; return a description of the failed checks, or None."""
    code, out, err = _run_command(words)
    checks = {
        f"exit code {code}": code in (0, 1, 2),
        "a traceback": "Traceback" not in err,
        "no message": bool(err.strip()) or code == 0,
        "control characters": _STEERING.search(out + err) is None,
        "no hint": code != 1 or "→" in err or "failed" in err,
    }
    failed = [what for what, right in checks.items() if not right]
    return f"{'; '.join(failed)}: {err.strip()[-600:]}" if failed else None


def _run_command(words: Sequence[str]) -> tuple[int, str, str]:
    """Run ``hf-emms WORDS`` in this process, which has imported everything: exit code, stdout, stderr."""
    from hf_emms.cli.app import main

    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = ["hf-emms", *words]
    code: int | str | None = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:  # noqa: BLE001 (the failures to find)
        err.write(traceback.format_exc())
        code = _FAILED
    finally:
        sys.argv = before
    return int(code or 0), out.getvalue(), err.getvalue()


def _make_files(folder: Path) -> None:
    import hf_emms

    texts = [f"a text about thing {number} of kind {'xyz'[number % 3]}" for number in range(40)]
    rows = [{"text": text, "label": text[-1]} for text in texts]
    (folder / "data.csv").write_text("text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows))
    (folder / "data.json").write_text(json.dumps(rows))
    _write_lines(folder / "data.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), folder / "data.parquet")
    answers = {"text": ["thing"], "answer_start": [13]}
    _write_lines(folder / "answers.jsonl", [{"question": "what?", "context": t, "answers": answers} for t in texts])
    (folder / "pictures").mkdir()
    for number in range(12):
        Image.new("RGB", (8, 8), (20 * number, 9, 9)).save(folder / "pictures" / f"{number}.png")
    boxes = [
        {"image": f"pictures/{n % 12}.png", "expression": text, "bbox": [1.0, 1.0, 3.0, 3.0]}
        for n, text in enumerate(texts)
    ]
    _write_lines(folder / "boxes.jsonl", boxes)
    described = "file_name,label\n" + "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(12))
    (folder / "pictures" / "metadata.csv").write_text(described)
    (folder / "pictures" / "README.md").write_text("---\nlicense: mit\nconfigs:\n- config_name: default\n---\n# A\n")
    (folder / "checkpoints.txt").write_text("\n".join(CHECKPOINTS))
    rng = np.random.default_rng(0)
    np.savez(folder / "arrays.npz", features=rng.normal(size=(60, 8)), label_embeddings=rng.normal(size=(60, 5)))
    settings = {"max_samples": 40, "encoders": ENCODER, "estimators": "emms", "layers": "last", "progress": False}
    ranking = json.loads(hf_emms.rank("demo_glosses", CHECKPOINTS, **settings).to_json())
    _write_lines(folder / "other.json", [ranking])
    truth = [{"checkpoint": name, "score": place} for place, name in enumerate(CHECKPOINTS)]
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "truth.csv").write_text(
        "checkpoint,score\n" + "".join(f"{name},{place}\n" for place, name in enumerate(CHECKPOINTS))
    )


def _write_lines(path: Path, rows: Sequence[object]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
