"""Mutated checkpoints: each must become one row, and a good checkpoint next to them must keep its score."""

from __future__ import annotations

import copy
import json
import random
import resource
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ENCODER = "emms-demo/encoder-minilm-static"
# A good checkpoint, and the dataset for which its mutations are ranked.
BASES = {"emms-demo/bert-random": "demo_glosses", "emms-demo/vit-random": "demo_fashion"}
_TOGETHER = 20
# Configurations can request any amount of memory; the system refuses more than this.
_MOST_MEMORY = 24 * 2**30
_JSON = ("config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json")
_INDEX, _WEIGHTS = "model.safetensors.index.json", "model.safetensors"
_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3.5, 7, 1000, 2**31, 2**40, 10**30, 1e308),
    *("", "big", "[UNK]", "../../etc/passwd", "x" * 10_000, "\x1b[31m\u202e"),
    *([], {}, [None], [1, "a"], {"a": {"b": []}}),
)


def run_mutations(count: int, seed: int, report: Callable[[str], None]) -> list[str]:
    """Rank mutated checkpoints in groups, each next to a good one.

    Args:
        count: Number of mutations.
        seed: Of the mutations.
        report: Called with a line for each group.

    Returns:
        Everything that was not as expected.
    """
    _limit_memory()
    problems: list[str] = []
    expected = {base: _scores(base, [])[base] for base in BASES}
    counts = {"scored": 0, "failed": 0}
    for start in range(0, count, _TOGETHER):
        group = range(start, min(start + _TOGETHER, count))
        base = [*BASES][group[0] // _TOGETHER % len(BASES)]
        with tempfile.TemporaryDirectory() as folder:
            made = {f"{folder}/{number}": _mutated(base, Path(folder, str(number)), seed + number) for number in group}
            try:
                rows = _scores(base, [*made])
            except Exception:  # noqa: BLE001 (the failures to find)
                problems.append(
                    f"mutations {group[0]} to {group[-1]}: the good row is {rows[base]}, not {expected[base]}"
                )
        lost = [f"{made[name]} of {name}" for name in made if name not in rows]
        problems += [f"a row was lost: {row}" for row in lost]
        problems += [f"{made[name]}: {rows[name]!r}" for name in made if "\n" in str(rows.get(name))]
        failed = sum(isinstance(rows.get(name), str) for name in made)
        counts["failed"] += failed
        counts["scored"] += len(made) - failed - len(lost)
        report(f"mutations {group[0]} to {group[-1]}: {failed} of {len(group)} failed")
    report(f"{count} mutations: {counts['failed']} failed rows, {counts['scored']} that can still be scored")
    return problems


def _scores(base: str, others: list[str]) -> dict[str, float | str]:
    """Return checkpoint → score or error."""
    import hf_emms

    ranking = hf_emms.rank(
        BASES[base],
        [*others, base],
        max_samples=40,
        encoders=ENCODER,
        estimators="emms",
        layers="last",
        device="cpu",
        cache=False,
    )
    return {row.checkpoint: row.error if row.error is not None else row.scores["emms"].value for row in ranking.rows}


def _mutated(base: str, folder: Path, seed: int) -> str:
    """Write a mutated copy of a checkpoint; return a description of the change."""
    from hf_emms.presets.demo import folder_of

    source = folder_of(base)
    assert source is not None
    shutil.copytree(source, folder)
    rng = random.Random(seed)
    names = [name for name in _JSON if (folder / name).exists()]
    name = rng.choice([*names, names[0], _WEIGHTS, _INDEX])
    if name == _INDEX:
        _with_index(folder)
    if name == _WEIGHTS:
        return f"{name}: {_mutate_header(folder / name, rng)}"
    if rng.random() < 0.15:
        return f"{name}: {mutate_bytes(folder / name, rng)}"
    content = json.loads((folder / name).read_text())
    what = mutate_value(content, rng)
    (folder / name).write_text(json.dumps(content))
    return f"{name}: {what}"


def _with_index(folder: Path) -> None:
    """Split the weights into two files with an index."""
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / _WEIGHTS)
    (folder / _WEIGHTS).unlink()
    files = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, folder / file, {"format": "pt"})
    (folder / _INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": files}))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every container inside a value with each of its keys."""
    entries = [*value.items()] if isinstance(value, dict) else [*enumerate(value)] if isinstance(value, list) else []
    # Skip most words of a vocabulary.
    for key, inner in entries[:60]:
        yield value, key
        yield from _places(inner)


def mutate_value(content: Any, rng: random.Random) -> str:
    """Replace, remove, wrap or copy a value inside a container; return a description."""
    container, key = rng.choice([*_places(content)])
    how = rng.choice(["replace"] * 6 + ["remove", "wrap", "swap"])
    if how == "remove":
        del container[key]
        return f"{key!r} removed"
    if how == "wrap":
        container[key] = [container[key]]
        return f"{key!r} in a list"
    other, its_key = rng.choice([*_places(content)])
    new = copy.deepcopy(other[its_key]) if how == "swap" else rng.choice(_VALUES)
    container[key] = new
    return f"{key!r} is {str(new)[:60]!r}"


def mutate_bytes(path: Path, rng: random.Random) -> str:
    """Truncate a file, or change some of its bytes; return a description."""
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        length = rng.randrange(len(content))
        path.write_bytes(content[:length])
        return f"cut to {length} bytes"
    for _ in range(rng.randint(1, 8)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path.write_bytes(content)
    return "changed bytes"


def _mutate_header(path: Path, rng: random.Random) -> str:
    """Change the header of a safetensors file: its length, its JSON, or its bytes; return a description."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = content[8 : 8 + length], content[8 + length :]
    how = rng.choice(["length", "value", "value", "value", "bytes"])
    if how == "length":
        length = rng.choice([0, 1, length - 1, length + 1, 2**40, 2**64 - 1])
        path.write_bytes(struct.pack("<Q", length) + header + data)
        return f"the header's length is {length}"
    if how == "bytes":
        changed = bytearray(header)
        changed[rng.randrange(len(changed))] = rng.randrange(256)
        path.write_bytes(struct.pack("<Q", len(changed)) + changed + data)
        return "a byte of the header"
    tensors = json.loads(header)
    what = mutate_value(tensors, rng)
    changed = bytearray(json.dumps(tensors).encode())
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + data)
    return f"header: {what}"


def _limit_memory() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _MOST_MEMORY if hard == resource.RLIM_INFINITY else min(hard, _MOST_MEMORY)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
