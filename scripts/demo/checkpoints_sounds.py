"""Train the demo's sound checkpoints on spoken words, voices or synthetic sounds; one has random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import torch
from transformers import ASTFeatureExtractor, PreTrainedModel, Wav2Vec2FeatureExtractor

from scripts.demo import sounds
from scripts.demo.training import Checkpoint, new_model, train, transformer

# Disjoint from the words and voices of the demo's dataset, and without digits.
WORDS = (
    *("bed", "bird", "cat", "dog", "house", "tree", "water", "fire", "hand", "foot"),
    *("red", "green", "blue", "white", "black", "small", "big", "fast", "slow", "warm"),
    *("give", "take", "run", "walk", "sing", "look", "read", "draw", "open", "close"),
    *("mother", "father", "morning", "evening", "summer", "winter", "table", "window", "garden", "river"),
)
VOICES = sounds.voices(
    ("en-us", "en-gb", "en-gb-x-rp", "en-us-nyc"),
    (
        *("m2", "f2", "m4", "f4", "m6", "m8", "Andrea", "Diogo", "Gene", "Jacky"),
        *("Lee", "Marco", "Michael", "Mike", "Reed", "anika", "belinda", "david", "steph", "travis"),
    ),
)
FRAMES, BANDS, PATCH = 96, 64, 16  # 96 frames of 10 ms
SOUNDS_PER_KIND = 50
_MAX_SAMPLES = FRAMES * sounds.RATE // 100
_LOUDNESS = 2.0  # range of random shifts of the log power in training
_NOISE_FLOOR = (-14.0, -5.0)  # logarithm of the power of a band


def checkpoint(
    name: str, seed: int, family: str, source: str = "", steps: int = 0, width: int = 64, layers: int = 3
) -> Checkpoint:
    """Describe a sound checkpoint of a family, "ast" or "wav2vec2".

    It learns to distinguish words, voices or sounds: the `source`. Without one, it has random weights.
    """
    build = partial({"ast": _ast, "wav2vec2": _wav2vec2}[family], width, layers)
    fit = partial(_train, source=source) if source else None
    return Checkpoint(name, seed, build, fit, steps, readers=_extractor(family).save_pretrained)


def _extractor(family: str) -> ASTFeatureExtractor | Wav2Vec2FeatureExtractor:
    if family == "ast":
        return ASTFeatureExtractor(num_mel_bins=BANDS, max_length=FRAMES, sampling_rate=sounds.RATE)
    return Wav2Vec2FeatureExtractor(return_attention_mask=True, sampling_rate=sounds.RATE)


def _ast(width: int, layers: int) -> PreTrainedModel:
    strides = {"patch_size": PATCH, "frequency_stride": PATCH, "time_stride": PATCH}
    return new_model(
        "audio-spectrogram-transformer",
        transformer(width, layers, **strides, max_length=FRAMES, num_mel_bins=BANDS),
    )


def _wav2vec2(width: int, layers: int) -> PreTrainedModel:
    settings = transformer(
        width,
        layers,
        conv_dim=(24, 32, 48, 48),
        conv_kernel=(10, 8, 8, 4),
        conv_stride=(5, 8, 4, 2),
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        feat_extract_norm="layer",
        apply_spec_augment=False,
    )
    dropouts = ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "activation_dropout", "layerdrop")
    return new_model("wav2vec2", {**settings, **dict.fromkeys(dropouts, 0.0)})


@cache
def _clips(source: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Return training clips and their classes, int64 (n,)."""
    if source == "sounds":
        kinds = np.arange(len(sounds.KINDS)).repeat(SOUNDS_PER_KIND)
        return [sounds.synthetic(int(kind), seed) for seed, kind in enumerate(kinds)], kinds
    pairs = [(word, voice) for word in WORDS for voice in VOICES]
    clips = [sounds.spoken(word, voice)[:_MAX_SAMPLES] for word, voice in pairs]
    classes = [WORDS.index(word) if source == "words" else VOICES.index(voice) for word, voice in pairs]
    return clips, np.array(classes)


def _train(model: PreTrainedModel, steps: int, seed: int, source: str) -> None:
    clips, classes = _clips(source)
    labels = torch.from_numpy(classes)
    head = torch.nn.Linear(model.config.hidden_size, int(labels.max()) + 1)
    features = _pooled(model, clips, seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(head(features(rows)), labels[rows])

    train([model, head], loss_of, len(clips), steps=steps, rate=3e-3, seed=seed)


def _pooled(model: PreTrainedModel, clips: list[np.ndarray], seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that pools the states of spectrograms with random loudness and noise."""
    extractor = _extractor("ast")
    extractor.do_normalize = False
    spectrograms = extractor(clips, sampling_rate=sounds.RATE, return_tensors="pt")["input_values"].float()
    draw = torch.Generator().manual_seed(seed)

    def uniform(rows: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand((len(rows), 1, 1), generator=draw)

    def features(rows: torch.Tensor) -> torch.Tensor:
        heard = spectrograms[rows]
        heard = torch.where(heard == 0, heard, heard + uniform(rows, -_LOUDNESS, _LOUDNESS))  # 0 is padding
        heard = torch.logaddexp(heard, uniform(rows, *_NOISE_FLOOR))
        return model((heard - extractor.mean) / (2 * extractor.std)).pooler_output

    return features


CHECKPOINTS = (
    checkpoint("ast-words", 0, "ast", "words", 240),
    checkpoint("ast-sounds", 1, "ast", "sounds", 240),
    checkpoint("ast-random", 2, "ast"),
)
