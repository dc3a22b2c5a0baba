"""Peak memory that scoring adds to its input, each figure from a fresh process.

python -m scripts.bench memory [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hf_emms import LabelTable, Moments, emms
from hf_emms.inputs import AUDIO, WORDS, Sounds
from hf_emms.scoring.moments import needed_bytes
from scripts.bench.extraction import VOCABULARY, all_words, features_of, load, made_up_sounds, write_checkpoint
from scripts.bench.scoring import classes_problem, dense, plain_one_pass
from scripts.bench.timing import fresh_process, memory_mb, reset_peak, spread
from scripts.demo.checkpoints_sounds import Recipe, write

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)


def run(options: argparse.Namespace) -> None:
    """Print a table of rows in memory and streamed, and one of wide features."""
    print("\n### Peak memory added by scoring\n\n| what | rows | MB | rows/s |\n|---|---|---|---|")
    for what in ("official", "emms_exact", "emms"):
        values = [fresh_process("memory", what, 20_000)["mb"] for _ in range(options.rounds)]
        print(f"| classes shape, {what} | 20,000 | {spread(values, digits=',.0f')} | |")
    for rows in (10_000, 200_000, 1_000_000):
        found = [fresh_process("memory", "stream", rows) for _ in range(options.rounds if rows < 1_000_000 else 1)]
        columns = [spread([one[name] for one in found], digits=",.0f") for name in ("mb", "rate")]
        print(f"| streamed, D1=768 D2=1,024, emms | {rows:,} | {' | '.join(columns)} |")
    for words in (100_000, 1_000_000):
        found = fresh_process("memory", "words", words)
        print(f"| words of sentences, tiny BERT, emms | {words:,} | {found['mb']:,.0f} | {found['rate']:,.0f} |")
    for clips in (120, 1_200):
        found = fresh_process("memory", "sound", clips)
        what = f"clips of 1 to 5 seconds ({found['seconds'] / 60:.0f} minutes), tiny wav2vec 2.0, emms"
        print(f"| {what} | {clips:,} | {found['mb']:,.0f} | {found['rate']:,.0f} |")
    print("\n| D1=8,192, 100 classes, 20,000 rows | forecast, GB | peak, GB | seconds |\n|---|---|---|---|")
    for method in ("emms_exact", "emms"):
        found = fresh_process("memory", f"wide-{method}", 20_000)
        print(f"| {method} | {found['forecast'] / 1e9:.1f} | {found['taken'] / 1e9:.1f} | {found['seconds']:.0f} |")


def probe(what: str, rows: int) -> dict[str, float | None]:
    """MB that scoring adds to its input, and rows accumulated in a second."""
    x, labels = classes_problem(n=rows) if what != "stream" else (None, None)
    z = dense(labels) if what == "official" else None
    before = reset_peak()
    rate = None
    if what == "stream":
        rate = stream(rows)
    elif what == "official":
        before -= z.nbytes / 2**20  # the official function cannot do without N x D2 x K
        plain_one_pass(x, z)
    else:
        emms(x, labels, method=what)
    return {"mb": memory_mb("VmHWM") - before, "rate": rate}


def wide_probe(method: str, rows: int, d1: int = 8_192, classes: int = 100, folds: int = 5) -> dict[str, float]:
    """The bytes that a run forecasts before it scores, those it took, and its seconds."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, d1), np.float32)
    labels = LabelTable(rng.integers(0, classes, rows), tuple(rng.normal(size=(classes, 1024)) for _ in range(3)))
    emms(x[:64, :8], labels.take(np.arange(64)), method="emms")  # libraries are loaded, threads started
    before = reset_peak()
    started = time.perf_counter()
    moments = Moments.like(labels, d1, folds=folds)
    moments.update(x, labels)
    emms(moments, method=method)
    seconds = time.perf_counter() - started
    taken = (memory_mb("VmHWM") - before) * 2**20
    return {"forecast": needed_bytes(rows, d1, classes, folds), "taken": taken, "seconds": seconds}


def word_probe(words: int, length: int = 50, classes: int = 10) -> dict[str, float]:
    """MB that extracting and scoring every word of made-up sentences adds to them, and words in a second."""
    rng = np.random.default_rng(0)
    sentences = [[f"w{i}" for i in numbers] for numbers in rng.integers(0, VOCABULARY, (words // length, length))]
    inputs, groups = all_words(sentences), np.repeat(np.arange(words // length), length)
    labels = LabelTable(rng.integers(0, classes, words), (rng.normal(size=(classes, 64)),))
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), TINY)
        extractor = load(Path(folder), WORDS)
    features_of(extractor, inputs[: 64 * length])  # libraries are loaded, threads started
    before = reset_peak()
    started = time.perf_counter()
    moments = Moments.like(labels, extractor.width)
    for positions, features in extractor.batches(inputs):
        moments.update(features, labels.take(positions), groups[positions])
    emms(moments, method="emms")
    seconds = time.perf_counter() - started
    return {"mb": memory_mb("VmHWM") - before, "rate": words / seconds}


def sound_probe(clips: int, distinct: int = 40, classes: int = 10) -> dict[str, float]:
    """MB that extracting and scoring sounds adds to their files, and clips in a second."""
    rng = np.random.default_rng(0)
    inputs = Sounds(made_up_sounds(distinct).encoded * (clips // distinct))
    labels = LabelTable(rng.integers(0, classes, clips), (rng.normal(size=(classes, 64)),))
    with tempfile.TemporaryDirectory() as folder:
        write(Recipe("tiny", "wav2vec2", "none"), 0, Path(folder))
        extractor = load(Path(folder), AUDIO)
    features_of(extractor, inputs[:distinct])  # libraries are loaded, threads started
    before = reset_peak()
    started = time.perf_counter()
    moments = Moments.like(labels, extractor.width)
    for positions, features in extractor.batches(inputs):
        moments.update(features, labels.take(positions), positions)
    emms(moments, method="emms")
    rate = clips / (time.perf_counter() - started)
    return {"mb": memory_mb("VmHWM") - before, "rate": rate, "seconds": AUDIO.seconds(inputs)}


def stream(rows: int, batch: int = 1000, d1: int = 768) -> float:
    """Scores a stream of made-up rows; returns how many a second were accumulated, making them up not counted."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(32, d1 + 1024)).astype(np.float32)
    moments = Moments(d1, [1024])
    seconds = 0.0
    for start in range(0, rows, batch):
        hidden = rng.normal(size=(batch, 32)).astype(np.float32)
        both = hidden @ mixing + rng.normal(size=(batch, d1 + 1024)).astype(np.float32)
        began = time.perf_counter()
        moments.update(both[:, :d1], both[:, d1:], groups=np.arange(start, start + batch))
        seconds += time.perf_counter() - began
    emms(moments)
    return rows / seconds


if __name__ == "__main__":
    what, rows = sys.argv[1], int(sys.argv[2])
    if what.startswith("wide-"):
        measured = wide_probe(what.removeprefix("wide-"), rows)
    else:
        probes = {"words": word_probe, "sound": sound_probe}
        measured = probes[what](rows) if what in probes else probe(what, rows)
    print(json.dumps(measured))
