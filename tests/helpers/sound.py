"""Encoded tones, and a tiny checkpoint of every family that reads sound."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import soundfile
import tokenizers

from tests.helpers.tiny_checkpoints import T, checkpoint, tiny

RATE = 16_000
SIZE = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
CONVOLUTIONS = {"conv_dim": (8, 8, 8), "conv_stride": (5, 4, 4), "conv_kernel": (10, 8, 4)}
POSITIONS = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
WAVES: dict[str, Any] = {"vocab_size": 20, "num_feat_extract_layers": 3, **SIZE, **CONVOLUTIONS, **POSITIONS}
LAYERS_NORMED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
CODES = {"num_codevectors_per_group": 4, "codevector_dim": 8, "proj_codevector_dim": 8}
WHISPER = {
    "vocab_size": 40, "num_mel_bins": 16, "d_model": 16, "encoder_layers": 3, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32,
    "max_source_positions": 100, "max_target_positions": 48, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
    "decoder_start_token_id": 1, "suppress_tokens": None, "begin_suppress_tokens": None,
}  # fmt: skip


def tone(pitch: float, seconds: float = 0.5, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Return a sine with some noise, float32 (T, channels)."""
    times = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(scale=0.05, size=(len(times), channels))
    return (0.4 * np.sin(2 * np.pi * pitch * times)[:, None] + noise).astype(np.float32)


def encoded(samples: np.ndarray, rate: int = RATE, format: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format, subtype=subtype)
    return buffer.getvalue()


def clap(vocab_size: int = 40, max_position_embeddings: int = 20) -> Any:
    return tiny(
        "ClapModel",
        text_config={"vocab_size": vocab_size, "max_position_embeddings": max_position_embeddings, **SIZE},
        audio_config={
            "num_mel_bins": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4], "window_size": 4,
            "patch_embeds_hidden_size": 8, "hidden_size": 16, "depths": [1, 1], "num_attention_heads": [1, 2],
            "num_hidden_layers": 2, "num_classes": 4, "enable_fusion": False,
        },
        projection_dim=12,
    )()  # fmt: skip


def extractor(kind: str, **settings: Any) -> Callable[[], Any]:
    """Return a function that makes a feature extractor of transformers."""
    return lambda: getattr(T, kind)(**settings)


_PLAIN = extractor("Wav2Vec2FeatureExtractor", return_attention_mask=False)
_MASKED = extractor("Wav2Vec2FeatureExtractor", return_attention_mask=True)
# Family → a tiny model, and the feature extractor of its checkpoints.
SOUND_FAMILIES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "wav2vec2": (tiny("Wav2Vec2Model", **WAVES), _PLAIN),
    "wav2vec2-layer-norm": (tiny("Wav2Vec2ForCTC", **LAYERS_NORMED, **WAVES), _MASKED),
    "wav2vec2-bert": (
        tiny(
            "Wav2Vec2BertModel", vocab_size=20, feature_projection_input_dim=32, conv_depthwise_kernel_size=3, **SIZE
        ),
        extractor("SeamlessM4TFeatureExtractor", feature_size=16, num_mel_bins=16),
    ),
    "wav2vec2-conformer": (tiny("Wav2Vec2ConformerModel", conv_depthwise_kernel_size=3, **WAVES), _MASKED),
    "hubert": (tiny("HubertModel", **WAVES), _PLAIN),
    "wavlm": (tiny("WavLMModel", **WAVES), _MASKED),
    "data2vec-audio": (tiny("Data2VecAudioModel", conv_pos_kernel_size=3, **WAVES), _MASKED),
    "unispeech": (tiny("UniSpeechModel", **CODES, **WAVES), _PLAIN),
    "unispeech-sat": (tiny("UniSpeechSatModel", **CODES, **WAVES), _MASKED),
    "sew": (tiny("SEWModel", squeeze_factor=2, **WAVES), _PLAIN),
    "sew-d": (tiny("SEWDModel", squeeze_factor=2, **WAVES), _PLAIN),
    "whisper": (
        tiny("WhisperForConditionalGeneration", **WHISPER),
        extractor("WhisperFeatureExtractor", feature_size=16, chunk_length=2),
    ),
    "moonshine": (
        tiny(
            "MoonshineForConditionalGeneration", vocab_size=40, hidden_size=16, intermediate_size=32,
            encoder_num_hidden_layers=3, decoder_num_hidden_layers=1, encoder_num_attention_heads=2,
            decoder_num_attention_heads=2,
        ),
        extractor("Wav2Vec2FeatureExtractor", do_normalize=False, return_attention_mask=True),
    ),
    "moonshine_streaming": (
        tiny(
            "MoonshineStreamingForConditionalGeneration", vocab_size=40, num_hidden_layers=1, hidden_size=16,
            intermediate_size=32, num_attention_heads=2, num_key_value_heads=2,
            encoder_config={**SIZE, "num_key_value_heads": 2, "sliding_windows": [[16, 4], [16, 4], [16, 0]]},
        ),
        extractor("Wav2Vec2FeatureExtractor", do_normalize=False, return_attention_mask=True),
    ),
    "parakeet_ctc": (
        tiny(
            "ParakeetForCTC", vocab_size=40, pad_token_id=39,
            encoder_config={**SIZE, "num_mel_bins": 16, "subsampling_conv_channels": 8},
        ),
        extractor("ParakeetFeatureExtractor", feature_size=16),
    ),
    "speecht5": (
        tiny(
            "SpeechT5ForSpeechToText", vocab_size=20, hidden_size=16, encoder_layers=3, encoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=32,
            max_speech_positions=400, max_text_positions=20, **CONVOLUTIONS, **POSITIONS,
        ),
        extractor("SpeechT5FeatureExtractor", return_attention_mask=True),
    ),
    "audio-spectrogram-transformer": (
        tiny("ASTForAudioClassification", max_length=128, num_mel_bins=16, patch_size=8, **SIZE),
        extractor("ASTFeatureExtractor", max_length=128, num_mel_bins=16),
    ),
    "clap": (
        clap,
        extractor(
            "ClapFeatureExtractor", feature_size=16, sampling_rate=RATE, hop_length=160, max_length_s=2,
            truncation="rand_trunc",
        ),
    ),
}  # fmt: skip


def sound_checkpoint(root: Path, name: str) -> Path:
    """Return the folder of a tiny checkpoint of `SOUND_FAMILIES`, created once in `root`."""
    return checkpoint(root / f"sound-{name}", *SOUND_FAMILIES[name])


# Checkpoints with a head that transcribes, and their vocabularies.
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_STARTS = ["<pad>", "<|startoftranscript|>", "<|endoftext|>", "\u0120", *_LETTERS]
_LANGUAGES, _TASKS = {"<|de|>": 30, "<|en|>": 31}, {"transcribe": 32, "translate": 33}
ASR_MODELS = {
    "wav2vec2-layer-norm": ["<pad>", "<unk>", "|", *_LETTERS[:17]],
    "hubert": ["<pad>", "<unk>", "|", *_LETTERS[:17]],
    "parakeet_ctc": [" ", *_LETTERS, *"0123456789.", "<unk>", "<pad>"],
    "whisper": [*_STARTS, *"012345678", "<|notimestamps|>"],
    "whisper-multilingual": [*_STARTS, *_LANGUAGES, *(f"<|{task}|>" for task in _TASKS), *"01234", "<|notimestamps|>"],
}


def asr_model(root: Path, name: str) -> Path:
    """Return the folder of a tiny checkpoint that transcribes letters. The multilingual one writes short texts."""
    make, reader = SOUND_FAMILIES[name.removesuffix("-multilingual")]
    numbers = {mark: number for number, mark in enumerate(ASR_MODELS[name])}
    if not name.startswith("whisper"):
        make = tiny("HubertForCTC", **WAVES) if name == "hubert" else make
        tokenizer = _parakeet_tokenizer if name.startswith("parakeet") else _ctc_tokenizer
        return checkpoint(root / f"asr-{name}", make, reader, lambda: tokenizer(numbers))
    ids: dict[str, Any] = {"decoder_start_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    ids |= {"no_timestamps_token_id": 39, "return_timestamps": False}
    if name == "whisper-multilingual":
        ids |= {"is_multilingual": True, "lang_to_id": _LANGUAGES, "task_to_id": _TASKS}
        make = tiny("WhisperForConditionalGeneration", **{**WHISPER, "max_target_positions": 20})
    marks = [mark for mark in numbers if mark.startswith("<|") and mark != "<|endoftext|>"]
    tokenizer = partial(T.WhisperTokenizer, numbers, [], pad_token="<pad>", additional_special_tokens=marks)
    return checkpoint(root / f"asr-{name}", make, reader, tokenizer, lambda: T.GenerationConfig(**ids))


def _ctc_tokenizer(numbers: dict[str, int]) -> Any:
    with TemporaryDirectory() as folder:
        vocabulary = Path(folder, "letters.json")
        vocabulary.write_text(json.dumps(numbers))
        return T.Wav2Vec2CTCTokenizer(str(vocabulary))


def _parakeet_tokenizer(numbers: dict[str, int]) -> Any:
    letters = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="<unk>"))
    letters.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    letters.decoder = tokenizers.decoders.Fuse()
    return T.ParakeetTokenizer(tokenizer_object=letters, pad_token="<pad>", unk_token="<unk>")
