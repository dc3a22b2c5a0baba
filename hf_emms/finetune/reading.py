"""How checkpoints read inputs in training, until kinds of input say so themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.features.device import Inputs
from hf_emms.features.extraction_plan import ExtractionPlan
from hf_emms.features.fusion import Fused, find_fusion
from hf_emms.features.images import CachedImages, ImageReader, read_image_processor
from hf_emms.features.pooling import find_pooling
from hf_emms.features.text import TextReader, read_tokenizer, text_reader
from hf_emms.features.text_pairs import find_states
from hf_emms.inputs import Pairs
from hf_emms.inputs.kind import BatchReader, InputKind, TrainingReader

# Tokens that a text is cut at: training takes memory with the square of them.
MAX_TOKENS = 512


def trained_features(kind: InputKind, base: Any, pooling: str) -> Callable[[Any, Inputs], Tensor]:
    if kind.name == "text+text":
        return find_states(pooling)
    if kind.name != "image+text":
        return find_pooling(pooling).features
    fusion = find_fusion(pooling)
    if isinstance(fusion, Fused):
        fusion.prepare(base)

    def features(model: Any, inputs: Inputs) -> Tensor:
        picture = fusion.picture(model, inputs["pixel_values"])
        texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        if isinstance(fusion, Fused):
            return fusion.fuse(model, {"picture": picture, **texts})
        return fusion.join(picture, fusion.text(model, texts))

    return features


def training_reader(kind: InputKind, plan: ExtractionPlan, model: Any, notes: list[str]) -> TrainingReader:
    images = read_image_processor(plan, torch.device("cpu")) if "image" in kind.name else None
    if images is not None and not images.fixed_size:
        notes.append("pictures are made square, which its image processor leaves at various sizes")
    if images is not None and kind.name == "image":
        return TrainingReader(
            lambda inputs, input_of_row: _read_images(images, inputs, input_of_row), (images.processor.original,)
        )
    fusion = find_fusion(plan.pooling) if images is not None else None
    texts = model_text_reader(plan, model, model.get_submodule(fusion.text_part) if fusion is not None else model)
    phrase = fusion.phrase if isinstance(fusion, Fused) else str
    if images is None:
        return TrainingReader(
            lambda inputs, input_of_row: _read_texts(texts, inputs, input_of_row, notes), (texts.tokenizer,)
        )

    def read(inputs: Sequence[Any], input_of_row: np.ndarray) -> BatchReader:
        assert isinstance(inputs, Pairs)
        parts = inputs.parts[input_of_row]
        pixels = _read_images(images, inputs.firsts, parts[:, 0])
        tokens = _read_texts(texts, inputs.seconds, parts[:, 1], notes, phrase)
        return lambda rows: {**pixels(rows), **tokens(rows)}

    return TrainingReader(read, (images.processor.original, texts.tokenizer))


def _read_images(reader: ImageReader, pictures: Sequence[Any], positions: np.ndarray) -> BatchReader:
    if not reader.fixed_size:
        side = round(reader.pixels**0.5)
        return lambda rows: {
            "pixel_values": reader.processor([pictures[i].resize((side, side)) for i in positions[rows]])
        }
    if isinstance(pictures, CachedImages):
        return lambda rows: {"pixel_values": pictures.read(reader.processor, positions[rows].tolist())}
    return lambda rows: {"pixel_values": reader.processor([pictures[i] for i in positions[rows]])}


def _read_texts(
    reader: TextReader,
    texts: Sequence[str],
    text_of_row: np.ndarray,
    notes: list[str],
    phrase: Callable[[str], str] = str,
) -> BatchReader:
    used, text_of_row = np.unique(text_of_row, return_inverse=True)
    tokens, cut = reader.tokenize([phrase(texts[i]) for i in used])
    if cut:
        notes.append(f"texts are cut at {reader.max_length:,} tokens")
    return lambda rows: reader.pad([tokens[text_of_row[row]] for row in rows])


def model_text_reader(plan: ExtractionPlan, model: Any, part: Any) -> TextReader:
    """How a checkpoint reads texts in training, with a token that fills up batches; `part` is what reads them."""
    tokenizer = copy(read_tokenizer(plan))
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    reader = limited(text_reader(plan, part, tokenizer))
    # By it a class that looks at a text's last token finds this.
    model.config.pad_token_id = reader.pad_id
    if getattr(model.config, "summary_type", None) == "last":
        reader = replace(reader, pads_left=True)
    if model.config.is_encoder_decoder and getattr(model.config, "decoder_start_token_id", None) is None:
        # transformers 5 moves it to the configuration of generation, where classifiers do not look.
        start = getattr(getattr(model, "generation_config", None), "decoder_start_token_id", None)
        model.config.decoder_start_token_id = reader.pad_id if start is None else start
    return reader


def limited(reader: TextReader, most: int = MAX_TOKENS) -> TextReader:
    """The reader with at most so many tokens a text."""
    return replace(reader, max_length=min(reader.max_length, most))
