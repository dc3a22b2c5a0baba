"""What each measure for CPUs gains: hf_emms's features with none, one, two and all three of them, interleaved.

    python scripts/bench_cpu.py [text|text-bfloat16|resnet|mobilenet|convnext|vit …] [--rounds 5] [--threads 1]

The measures are those of hf_emms/features/device.py, one added to the other. Every contestant is a process of its own,
because a process keeps memory or does not; all have loaded the same random weights and warmed up. Pictures are decoded
and resized before, as for every checkpoint but the first of a run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import transformers
from bench_extraction import features_of, made_up_pictures, made_up_texts, write_checkpoint
from bench_side import Side

from hf_emms.features import device
from hf_emms.features.images import PixelStore, keeping
from hf_emms.features.load import load_extractor
from hf_emms.hub import Repo

MEASURES = {"keep_freed_memory": "memory kept", "pack_linears": "+ packed weights", "interleave": "+ channels_last"}
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


def compare(workloads: Sequence[str], rounds: int, threads: int) -> list[str]:
    """Lines of a markdown table.

    In CPU time on one thread, which others on the machine hardly change; several threads wait for each other in a
    loop, so there it is elapsed time.
    """
    clock, word = ("cpu", "CPU") if threads == 1 else ("wall", "elapsed")
    lines = [f"| inputs | none, inputs/s | {' | '.join(MEASURES.values())} |", f"|---|---|{'---|' * len(MEASURES)}"]
    for what in workloads:
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            _write(what, Path(folder))
            command = [sys.executable, __file__, "--side", what, folder]
            path = str(Path(__file__).parents[1])
            sides = [
                stack.enter_context(Side([*command, str(measures)], threads, path))
                for measures in range(len(MEASURES) + (what in IMAGE_MODELS))  # texts have no channels
            ]
            spent = []
            for turn in range(rounds):
                taken = {side: side.seconds("again")[clock] for side in (sides if turn % 2 else sides[::-1])}
                spent.append([taken[side] for side in sides])
        first, *others = zip(*spent, strict=True)
        ratios = [[a / b for a, b in zip(first, other, strict=True)] for other in others]
        cells = [f"**{median(each):.2f}×** [{min(each):.2f} … {max(each):.2f}]" for each in ratios]
        cells += ["–"] * (len(MEASURES) - len(cells))
        rate = (IMAGES if what in IMAGE_MODELS else TEXTS) / median(first)
        lines.append(f"| {TITLES[what]} | {rate:.0f} | {' | '.join(cells)} |")
    return [*lines, "", f"{word} time, {threads} thread{'s' * (threads > 1)}, {rounds} rounds"]


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
    modality, dtype = "image" if what in IMAGE_MODELS else "text", "bfloat16" if "bfloat16" in what else "auto"
    repo = Repo(folder, "model", "local", Path(folder))
    extractor = load_extractor(repo, modality, "benchmark", device="cpu", dtype=dtype)
    inputs: Any = keeping(made_up_pictures(IMAGES), PixelStore()) if modality == "image" else made_up_texts(TEXTS)
    features_of(extractor, inputs)
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        features_of(extractor, inputs)
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", default=list(TITLES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        what, folder, measures = options.side
        answer(what, folder, int(measures))
    else:
        print("\n".join(compare(options.workloads, options.rounds, options.threads)))


if __name__ == "__main__":
    main()
