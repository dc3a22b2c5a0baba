"""What each measure for CPUs gains: hf_emms's features with none, one, two and all three of them, interleaved.

    python -m scripts.bench cpu [text|text-bfloat16|resnet|mobilenet|convnext|vit …] [--rounds 5] [--threads 1]

The measures are those of hf_emms/features/device.py, one added to the other. Each contestant is a process of its own,
because the reuse of memory is a setting of a process; all have loaded the same random weights and warmed up. Pictures
are decoded and resized before, as for every checkpoint but the first of a run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import transformers

from hf_emms.features import device
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.hub import Repo
from hf_emms.inputs import IMAGE, TEXT
from hf_emms.inputs.image import PixelCache, with_pixel_cache
from scripts.bench.extraction import features_of, made_up_pictures, made_up_texts, write_checkpoint
from scripts.bench.timing import Contestant, Seconds, in_turn, ratios, spread, timed

MEASURES = {
    "keep_freed_memory": "memory reused",
    "pack_linears": "+ packed weights",
    "to_channels_last": "+ channels_last",
}
IMAGE_MODELS = {
    "resnet": lambda: transformers.ResNetModel(transformers.ResNetConfig()),
    "mobilenet": lambda: transformers.MobileNetV2Model(transformers.MobileNetV2Config()),
    "convnext": lambda: transformers.ConvNextModel(transformers.ConvNextConfig()),
    "vit": lambda: transformers.ViTModel(
        transformers.ViTConfig(hidden_size=384, intermediate_size=1_536, num_attention_heads=6)
    ),
}
TITLES = {
    "text": "texts, MiniLM-sized",
    "text-bfloat16": "texts, MiniLM-sized, bfloat16",
    "resnet": "ResNet-50",
    "mobilenet": "MobileNetV2",
    "convnext": "ConvNeXt-T",
    "vit": "ViT-S/16",
}
TEXTS, IMAGES = 400, 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("workloads", nargs="*", default=list(TITLES), help=f"of {', '.join(TITLES)}; all by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)


def run(options: argparse.Namespace) -> None:
    """Print a table.

    In CPU time on one thread, which other processes hardly change; several threads wait for each other in a loop, so
    there it is elapsed time.
    """
    clock, word = ("cpu", "CPU") if options.threads == 1 else ("wall", "elapsed")
    print("\n### What each measure for CPUs gains, one added to the other\n")
    print(f"| inputs | none, inputs/s | {' | '.join(MEASURES.values())} |\n|---|---|{'---|' * len(MEASURES)}")
    for what in options.workloads:
        first, *others = _seconds(what, options.rounds, options.threads)
        cells = [spread(ratios(first, other, clock), "×", ".2f", bold=True) for other in others]
        cells += ["–"] * (len(MEASURES) - len(cells))
        rate = (IMAGES if what in IMAGE_MODELS else TEXTS) / median(getattr(one, clock) for one in first)
        print(f"| {TITLES[what]} | {rate:.0f} | {' | '.join(cells)} |")
    print(f"\n{word} time, {options.threads} thread{'s' * (options.threads > 1)}, {options.rounds} rounds")


def _seconds(what: str, rounds: int, threads: int) -> list[list[Seconds]]:
    """Of each contestant: the first has no measure, each other one more than the one before."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        _write(what, Path(folder))
        command = [sys.executable, "-m", "scripts.bench.cpu", what, folder]
        contestants = [
            stack.enter_context(Contestant([*command, str(measures)], threads))
            for measures in range(len(MEASURES) + (what in IMAGE_MODELS))  # texts have no channels
        ]
        return in_turn(contestants, "again", rounds)


def _write(what: str, folder: Path) -> None:
    if what not in IMAGE_MODELS:
        write_checkpoint(folder)
        return
    IMAGE_MODELS[what]().save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 224, "width": 224}).save_pretrained(folder)


def answer(what: str, folder: str, measures: int) -> None:
    """One contestant: the first so many measures; answers every line on its standard input with its seconds."""
    for name in list(MEASURES)[measures:]:
        setattr(device, name, lambda *model: None)
    kind, dtype = IMAGE if what in IMAGE_MODELS else TEXT, "bfloat16" if "bfloat16" in what else "auto"
    repo = Repo(folder, "model", "local", Path(folder))
    extractor = kind.load_extractor(plan_extraction(repo, kind, "benchmark", dtype=dtype), device="cpu")
    inputs: Any = with_pixel_cache(made_up_pictures(IMAGES), PixelCache()) if kind is IMAGE else made_up_texts(TEXTS)
    features_of(extractor, inputs)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(timed(lambda: features_of(extractor, inputs))), flush=True)


if __name__ == "__main__":
    answer(sys.argv[1], sys.argv[2], int(sys.argv[3]))
