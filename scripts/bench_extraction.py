"""Rate of hf_emms's extraction against a bare forward loop, interleaved.

    python scripts/bench_extraction.py [text|image …] [--texts 3000] [--images 64] [--rounds 5]

Text: both sides run the same MiniLM-sized model (6 layers, 384 wide, random weights) over the same texts of varying
length and are given text, not tokens: the bare loop tokenises, sorts by length, pads and pools in one place, without
any of the bookkeeping.

Image: both sides run the same ResNet-50 (random weights) at 224 x 224; we are given JPEG files of 500 x 375, the bare
loop tensors that are decoded and resized already.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from hf_emms.data import Images
from hf_emms.features.load import load_extractor
from hf_emms.hub import Repo

WORDS = 8_000
BATCH = 16  # texts: the fastest of 16, 32 and 64 on the CPU this was written on
IMAGES = 8  # pictures: the fastest of 8, 16 and 32
Run = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Comparison:
    """Bare seconds / ours, one a round (1.0: the same rate, 0.9: 90 % of it), by two clocks.

    Attributes:
        elapsed: of the wall clock.
        cpu: of all threads together: says the same on a machine that others use, but hides nothing behind anything.
        rate: our inputs a second.
    """

    elapsed: list[float]
    cpu: list[float]
    rate: float


def write_checkpoint(folder: Path) -> None:
    """A random BERT of MiniLM's size with a tokenizer of made-up words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: i for i, token in enumerate(special + [f"w{i}" for i in range(WORDS)])}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_max_length=256
    ).save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
    )
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def made_up_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 200 words; most are short, as captions and glosses are."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(2.7, 0.8, count).astype(int), 1, 200)
    return [" ".join(f"w{i}" for i in rng.integers(0, WORDS, length)) for length in lengths]


def bare_loop(model: Any, tokenizer: Any, texts: list[str], batch: int = BATCH) -> np.ndarray:
    """The plainest fast way: tokenise, sort by length, pad, forward, mean."""
    tokens = tokenizer(texts, truncation=True, max_length=256)["input_ids"]
    order = sorted(range(len(texts)), key=lambda i: -len(tokens[i]))
    features = np.empty((len(texts), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            padded = tokenizer.pad({"input_ids": [tokens[i] for i in rows]}, return_tensors="pt")
            mask = padded["attention_mask"]
            hidden = model(input_ids=padded["input_ids"], attention_mask=mask).last_hidden_state
            features[rows] = ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)).numpy()
    return features


def made_up_pictures(count: int, seed: int = 0) -> Images:
    """JPEG files of 500 x 375 pixels, as detailed as photographs: about 60 kB each."""
    rng = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        coarse, fine = (rng.integers(0, 256, (side, side, 3), np.uint8) for side in (24, 160))
        layers = [Image.fromarray(layer).resize((500, 375), Image.Resampling.BICUBIC) for layer in (coarse, fine)]
        stream = io.BytesIO()
        Image.blend(*layers, 0.25).save(stream, "jpeg", quality=90)
        files.append(stream.getvalue())
    return Images(files)


def compare_texts(texts: int, rounds: int) -> Comparison:
    """Texts through a BERT of MiniLM's size."""
    inputs = made_up_texts(texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder)
        extractor = load_extractor(Repo(name, "model", "local", folder), "text", "text-classification", device="cpu")
        model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return interleaved(lambda: features_of(extractor, inputs), lambda: bare_loop(model, tokenizer, inputs), rounds)


def compare_images(images: int, rounds: int) -> Comparison:
    """JPEG files through a ResNet-50."""
    inputs = made_up_pictures(images)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        transformers.ResNetModel(transformers.ResNetConfig()).save_pretrained(folder)
        processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 224})
        processor.save_pretrained(folder)
        extractor = load_extractor(Repo(name, "model", "local", folder), "image", "image-classification", device="cpu")
        model = transformers.ResNetModel.from_pretrained(folder).eval()
    pixels = processor(images=[inputs[i] for i in range(images)], return_tensors="pt")["pixel_values"]

    def bare() -> np.ndarray:
        with torch.inference_mode():
            batches = [model(pixel_values=part).pooler_output.flatten(1) for part in pixels.split(IMAGES)]
        return torch.cat(batches).numpy()

    return interleaved(lambda: features_of(extractor, inputs), bare, rounds)


def features_of(extractor: Any, inputs: Sequence[Any]) -> np.ndarray:
    features = np.empty((len(inputs), extractor.width), np.float32)
    for positions, batch in extractor.batches(inputs):
        features[positions] = batch
    return features


def interleaved(ours: Run, bare: Run, rounds: int) -> Comparison:
    """Runs both sides in turn, after a look at whether they agree."""
    mine = ours()
    np.testing.assert_allclose(mine, bare(), rtol=1e-4, atol=1e-4)
    clocks = (time.perf_counter, time.process_time)
    seconds: dict[Run, list[tuple[float, ...]]] = {ours: [], bare: []}
    for turn in range(rounds):
        for run in (ours, bare) if turn % 2 else (bare, ours):
            started = [clock() for clock in clocks]
            run()
            seconds[run].append(tuple(clock() - start for clock, start in zip(clocks, started, strict=True)))
    elapsed, cpu = ([b[i] / a[i] for a, b in zip(seconds[ours], seconds[bare], strict=True)] for i in (0, 1))
    return Comparison(elapsed, cpu, len(mine) / statistics.median(each[0] for each in seconds[ours]))


COMPARISONS = {"text": compare_texts, "image": compare_images}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=list(COMPARISONS))
    parser.add_argument("--texts", type=int, default=3_000)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    counts = {"text": options.texts, "image": options.images}
    for what in options.what:
        result = COMPARISONS[what](counts[what], options.rounds)
        clocks = {"elapsed": result.elapsed, "CPU": result.cpu}
        spreads = ", ".join(
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) in {clock} time"
            for clock, ratios in clocks.items()
        )
        print(
            f"{what} extraction at {spreads} of a bare loop's rate; {result.rate:.0f} inputs/s, "
            f"{options.rounds} rounds, {torch.get_num_threads()} threads"
        )


if __name__ == "__main__":
    main()
