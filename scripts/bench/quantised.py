"""Text features in int8 and by torch.compile on a CPU, against the default in float32 and against bfloat16.

    python -m scripts.bench quantised [--rounds 3] [--rows 200]

all-MiniLM-L6-v2 (from PyPI, as scripts/demo fetches it) on glosses of the demo: CPU seconds of each way in turn, after
a warm-up that compiles; how far the features are from those in float32; and the score on the glosses' classes.
"""

from __future__ import annotations

import argparse
from statistics import median

import numpy as np
import torch
from torch import nn

from hf_emms import emms
from hf_emms.data import load_sample
from hf_emms.features import device
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.features.extractor import Extractor
from hf_emms.hub import resolve
from hf_emms.inputs import TEXT
from hf_emms.options import Options
from scripts.bench.extraction import features_of
from scripts.bench.timing import interleave, ratios, spread
from scripts.demo import sources


def extractors() -> dict[str, Extractor]:
    """The ways, by name."""

    def load(dtype: str = "float32") -> Extractor:
        repo = resolve(str(sources.minilm()), "model")
        return TEXT.load_extractor(plan_extraction(repo, TEXT, "benchmark", dtype=dtype))

    found = {"float32": load(), "bfloat16": load("bfloat16")}
    # Neither of the others can use packed weights.
    pack, device.pack_linears = device.pack_linears, lambda model: None
    compiled, quantised = load(), load()
    device.pack_linears = pack
    compiled._model.forward = torch.compile(compiled._model.forward, dynamic=True)
    torch.ao.quantization.quantize_dynamic(quantised._model, {nn.Linear}, dtype=torch.qint8, inplace=True)
    return {**found, "int8, torch's dynamic quantisation": quantised, "float32, torch.compile": compiled}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=200)


def run(options: argparse.Namespace) -> None:
    """Print a table."""
    sample = load_sample(Options("demo_glosses", max_samples=options.rows))
    texts = sample.inputs
    codes = np.array([sample.codes[np.flatnonzero(sample.input_of_row == place)[0]] for place in range(len(texts))])
    ways = extractors()
    made = {name: features_of(one, texts) for name, one in ways.items()}
    contestants = {name: lambda one=one: features_of(one, texts) for name, one in ways.items()}
    seconds = interleave(contestants, options.rounds)
    print(f"\n### all-MiniLM-L6-v2 on {len(texts)} glosses, CPU time\n")
    print("| way | seconds | as fast as float32 | least cosine to float32 | emms |\n|---|---|---|---|---|")
    exact = made["float32"]
    for name, own in seconds.items():
        cosines = (made[name] * exact).sum(1) / np.linalg.norm(made[name], axis=1) / np.linalg.norm(exact, axis=1)
        score = emms(made[name], codes, method="emms", groups=range(len(codes)))
        ratio = spread(ratios(seconds["float32"], own, "cpu"), "×", ".2f", bold=True)
        print(f"| {name} | {median(one.cpu for one in own):.2f} | {ratio} | {cosines.min():.4f} | {score.value:.4f} |")
