"""Compare forecast and elapsed seconds of rankings and fine-tunings; the goal is a factor of two on an idle machine.

    python -m scripts.bench forecast [CASE …]

A case of a ranking is a command with an empty cache, and its forecast is that of a dry run. A case of a fine-tuning
ranks a checkpoint, forecasts a run at one learning rate, and trains it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hf_emms
from hf_emms.presets.demo import folder_of
from hf_emms.ranking.progress import Progress
from hf_emms.run.confirm import fine_tuning_of, options_for, start_session
from hf_emms.run.preflight import seconds_of

# Dataset → the checkpoint that is fine-tuned.
FINE_TUNINGS = {
    "demo_fashion": "resnet-fashion",
    "demo_captions": "resnet-distilled",
    "demo_glosses": "bert-distilled",
    "demo_words": "bert-distilled",
    "demo_pairs": "bert-distilled",
    "demo_spans": "bert-distilled",
    "demo_sounds": "ast-words",
    "demo_vqa": "vilt-vqa",
    "demo_boxes": "owlvit-scenes",
    "demo_definitions": "llama-glosses-short",
}
# A checkpoint of the demo whose tokenizer the made-up texts and checkpoints use.
_DEMO = "emms-demo/bert-distilled"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = [*RANKINGS, *FINE_TUNINGS]
    parser.add_argument("cases", nargs="*", default=names, metavar="CASE", help=f"of {', '.join(names)}")


def run(options: argparse.Namespace) -> None:
    """Print forecast and elapsed seconds of each case."""
    print("\n### Forecasts, elapsed seconds\n")
    print("| case | forecast | elapsed | elapsed / forecast |\n|---|---|---|---|", flush=True)
    right = 0
    for case in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HF_EMMS_CACHE"] = str(Path(folder, "cache"))
            if case in RANKINGS:
                name, (expected, taken) = f"rank {case}", _ranking(*RANKINGS[case](Path(folder)))
            else:
                name, (expected, taken) = f"fine-tune for {case}", _fine_tuning(case, FINE_TUNINGS[case])
        right += 0.5 <= taken / expected <= 2
        print(f"| {name} | {expected:.1f} | {taken:.1f} | {taken / expected:.2f}× |", flush=True)
    print(f"\nWithin a factor of two: {right} of {len(options.cases)}.")


def _ranking(dataset: str, checkpoint: str, encoder: str) -> tuple[float, float]:
    """Return forecast and elapsed seconds of a command."""
    checked = hf_emms.plan(dataset, checkpoint, encoders=encoder, progress=False)
    command = ["-m", "hf_emms", "rank", "--dataset", dataset, "-c", checkpoint, "-e", encoder]
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
    return sum(seconds_of(checked.plan, checked.costs).values()), time.perf_counter() - started


def _fine_tuning(dataset: str, checkpoint: str) -> tuple[float, float]:
    """Return forecast and elapsed seconds of a run."""
    ranking = hf_emms.rank(dataset, f"emms-demo/{checkpoint}", encoders="demo", progress=False)
    settings = options_for(ranking, confirm=1, learning_rates=("1e-3",))
    work = fine_tuning_of(ranking, start_session(ranking, settings, Progress()))
    expected = work.seconds
    confirmed = hf_emms.confirm(ranking, top=1, learning_rates=["1e-3"], progress=False)
    return expected, sum(run.seconds for run in confirmed.rows[0].fine_tuned.runs)


# ---- rankings --------------------------------------------------------------------------------------------------------


def _many_rows(folder: Path) -> tuple[str, str, str]:
    """Return a table of 500,000 short texts, and tiny checkpoints: reading takes most of the time."""
    rows = ((_text(20), "abcd"[number % 4]) for number in range(500_000))
    return _table(folder / "rows.csv", ("text", "label"), rows), _DEMO, "demo"


def _search(folder: Path) -> tuple[str, str, str]:
    """Return 10,000 queries with a long document each, and tiny checkpoints: BM25 takes a while, too."""
    rows = ((_text(6), _text(200)) for _ in range(10_000))
    return _table(folder / "search.csv", ("query", "document"), rows), _DEMO, "demo"


def _texts(folder: Path) -> tuple[str, str, str]:
    """Return texts of 1,000 classes with long names, a checkpoint and a label encoder, with 10 million parameters."""
    names = [_text(40) for _ in range(1_000)]
    rows = ((_text(60), names[number % len(names)]) for number in range(2_000))
    table = _table(folder / "texts.csv", ("text", "label"), rows)
    return table, _bert(folder / "bert"), _bert(folder / "encoder")


def _short_runs(folder: Path) -> tuple[str, str, str]:
    return "demo_definitions", "emms-demo/llama-glosses-short", "demo"


RANKINGS: dict[str, Callable[[Path], tuple[str, str, str]]] = {
    "rows": _many_rows,
    "search": _search,
    "texts": _texts,
    "short-runs": _short_runs,
}
"""Name → the dataset, checkpoint and label encoder of a ranking, with files in a folder."""

_random = random.Random(0)


@cache
def _words() -> list[str]:
    """Return the words in the vocabulary of the demo's tokenizer, each of which is one token."""
    vocabulary = json.loads(Path(folder_of(_DEMO), "tokenizer.json").read_text())["model"]["vocab"]
    return [token for token in vocabulary if token.isalpha() and len(token) > 2]


def _text(words: int) -> str:
    return " ".join(_random.choices(_words(), k=words))


def _table(path: Path, header: tuple[str, ...], rows: object) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])  # type: ignore[misc]
    return str(path)


def _bert(folder: Path) -> str:
    """Save a BERT of six layers with random weights, since time does not depend on the weights."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer = AutoTokenizer.from_pretrained(str(folder_of(_DEMO)), model_max_length=512)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    BertModel(BertConfig(vocab_size=len(tokenizer), **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
