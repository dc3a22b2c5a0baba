"""Features by hf_emms against the plainest fast loop of transformers, with random weights: what is done around a model.

    python -m scripts.bench extraction [text|base|image …] [--texts 1500] [--images 48] [--rounds 5]

The loop reads made-up texts sorted by length, and pictures that are decoded already; ours decodes JPEG files.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.features.extractor import Extractor
from hf_emms.hub import Repo
from hf_emms.inputs import IMAGE, TEXT, Images, InputKind, Spans
from scripts.bench.timing import interleave, ratios, spread

VOCABULARY = 8_000
BATCH = 16  # texts: the fastest of 16, 32 and 64 on the CPU this was written on
IMAGES = 8  # pictures: the fastest of 8, 16 and 32
Features = Callable[[], np.ndarray]
# Shapes of a BERT: all-MiniLM-L6-v2, and all-mpnet-base-v2 with 109 million parameters.
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
TITLES = {
    "text": "texts, MiniLM-sized; the loop sorts by length",
    "base": "the same, sized as all-mpnet-base-v2, a tenth of the texts",
    "image": "JPEG files, ResNet-50 at 224; the loop has decoded tensors",
}


def write_checkpoint(folder: Path, size: dict[str, int] = MINILM) -> None:
    """Write a random BERT of some size with a tokenizer of made-up words."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: i for i, token in enumerate(special + [f"w{i}" for i in range(VOCABULARY)])}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 256}
    transformers.PreTrainedTokenizerFast(tokenizer_object=core, **names).save_pretrained(folder)
    config = transformers.BertConfig(vocab_size=len(vocabulary), **size)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def made_up_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 200 words; most are short, as captions and glosses are."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(2.7, 0.8, count).astype(int), 1, 200)
    return [" ".join(f"w{i}" for i in rng.integers(0, VOCABULARY, length)) for length in lengths]


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


def all_words(sentences: list[list[str]]) -> Spans:
    """Every word of sentences."""
    bounds = []
    for number, words in enumerate(sentences):
        stops = np.cumsum([len(word) + 1 for word in words]) - 1
        bounds += [(number, stop - len(word), stop) for word, stop in zip(words, stops.tolist(), strict=True)]
    return Spans([" ".join(words) for words in sentences], np.array(bounds))


def features_of(extractor: Any, inputs: Sequence[Any]) -> np.ndarray:
    """Features of all inputs in their order, float32 (N, D1)."""
    features = np.empty((len(inputs), extractor.width), np.float32)
    for positions, batch in extractor.batches(inputs):
        features[positions] = batch
    return features


def _extractor(folder: Path, kind: InputKind) -> Extractor:
    repo = Repo(folder.name, "model", "local", folder)
    return kind.load_extractor(plan_extraction(repo, kind, "benchmark"), device="cpu")


def text_sides(texts: int, size: dict[str, int]) -> tuple[Features, Features]:
    """Our features and the bare loop's of texts, by a BERT of some size: the last layer's mean over tokens."""
    inputs = made_up_texts(texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder, size)
        extractor = _extractor(folder, TEXT)
        model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def bare() -> np.ndarray:
        encoded = tokenizer(inputs, truncation=True)["input_ids"]
        order, batches = np.argsort([-len(ids) for ids in encoded], kind="stable"), []
        with torch.inference_mode():
            for rows in np.split(order, range(BATCH, len(order), BATCH)):
                padded = tokenizer.pad({"input_ids": [encoded[row] for row in rows]}, return_tensors="pt")
                mask = padded["attention_mask"]
                hidden = model(input_ids=padded["input_ids"], attention_mask=mask).last_hidden_state
                batches.append((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return torch.cat(batches).numpy()[np.argsort(order)]

    return lambda: features_of(extractor, inputs), bare


def image_sides(images: int) -> tuple[Features, Features]:
    """Our features and the bare loop's of JPEG files, by a ResNet-50."""
    inputs = made_up_pictures(images)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        transformers.ResNetModel(transformers.ResNetConfig()).save_pretrained(folder)
        processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 224})
        processor.save_pretrained(folder)
        extractor = _extractor(folder, IMAGE)
        model = transformers.ResNetModel.from_pretrained(folder).eval()
    pixels = processor(images=[inputs[i] for i in range(images)], return_tensors="pt")["pixel_values"]

    def bare() -> np.ndarray:
        with torch.inference_mode():
            batches = [model(pixel_values=part).pooler_output.flatten(1) for part in pixels.split(IMAGES)]
        return torch.cat(batches).numpy()

    return lambda: features_of(extractor, inputs), bare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", default=list(TITLES), help=f"of {', '.join(TITLES)}; all by default")
    parser.add_argument("--texts", type=int, default=1_500)
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)


def run(options: argparse.Namespace) -> None:
    """Check that both sides agree, and print our rate over the bare loop's."""
    print("\n### Features against a bare forward loop\n\n| inputs | elapsed | CPU | inputs/s |\n|---|---|---|---|")
    sides = {
        "text": lambda: text_sides(options.texts, MINILM),
        "base": lambda: text_sides(options.texts // 10, BASE),
        "image": lambda: image_sides(options.images),
    }
    for what in options.what:
        ours, bare = sides[what]()
        count, expected = len(features := ours()), bare()
        np.testing.assert_allclose(features[:, : expected.shape[1]], expected, rtol=1e-4, atol=1e-4)
        seconds = interleave({"ours": ours, "bare": bare}, options.rounds)
        cells = [spread(ratios(seconds["bare"], seconds["ours"], clock), "×") for clock in ("wall", "cpu")]
        rate = count / statistics.median(one.wall for one in seconds["ours"])
        print(f"| {TITLES[what]} | {' | '.join(cells)} | {rate:.3g} |")
    print(f"\nrate / bare rate, {torch.get_num_threads()} threads, {options.rounds} rounds")
