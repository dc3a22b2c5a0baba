"""Make the demo's three label encoders: a static table, a small transformer, and one that never met MiniLM."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, PreTrainedModel

from scripts.demo import checkpoints_text, texts
from scripts.demo.scenes import compose
from scripts.demo.training import GPT2_WITHOUT_DROPOUT, Checkpoint, train

TEMPERATURE = 0.07
PAIRS, CAPTIONS = 60_000, 10_000
WIDTH = 64

_DISTILLED = (
    "Distilled from the leading principal components of the sentence embeddings that all-MiniLM-L6-v2 (Apache-2.0) "
    "gives to WordNet glosses, words and made-up captions."
)


def _static() -> BertModel:
    """A table of token vectors: a BERT without layers."""
    config = BertConfig(
        vocab_size=texts.VOCABULARY,
        hidden_size=WIDTH,
        num_hidden_layers=0,
        num_attention_heads=1,
        intermediate_size=1,
        max_position_embeddings=64,
        hidden_dropout_prob=0.0,
        pad_token_id=0,
    )
    model = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
    # a table that knew positions would not be static
    model.embeddings.position_embeddings.weight.requires_grad_(False)
    return model


def _gpt2() -> GPT2Model:
    shape = {"n_positions": 64, "n_embd": WIDTH, "n_layer": 1, "n_head": 4, "n_inner": 128}
    tokens = {"vocab_size": texts.VOCABULARY, "bos_token_id": 2, "eos_token_id": 3}
    return GPT2Model(GPT2Config(**shape, **tokens, **GPT2_WITHOUT_DROPOUT))


def _pairs(seed: int) -> tuple[list[str], list[str]]:
    """Texts that belong together: words of a noun synset with its gloss or with its hypernym's words."""
    nouns = {synset.key: synset for synset in texts.training_synsets() if synset.key[0] == "n"}
    rng = np.random.default_rng(seed)
    left, right = [], []
    for synset in nouns.values():
        words = ", ".join(synset.words[:2])
        left.append(words)
        right.append(synset.gloss)
        parents = [nouns[key] for key in synset.hypernyms if key in nouns]
        if parents:
            left.append(words)
            right.append(", ".join(parents[0].words[:2]))
    chosen = rng.choice(len(left), PAIRS, replace=False)
    scenes = compose(texts.common_nouns(), CAPTIONS, seed)
    nouns_of = [", ".join(dict.fromkeys(thing.one for thing in scene.things)) for scene in scenes]
    return (
        [*(left[i] for i in chosen), *(scene.caption for scene in scenes)],
        [*(right[i] for i in chosen), *nouns_of],
    )


def _copy_minilm(model: PreTrainedModel, steps: int, seed: int) -> float:
    """Train the mean over tokens to lie where MiniLM's embedding lies among its principal components.

    There is no map in between: what is far apart for the teacher should be far apart as it is, because a score
    explains the variance of label embeddings as they come.
    """
    tokens, mask = texts.encode(texts.teacher_texts(), framed=False)
    embeddings = texts.minilm() - texts.minilm().mean(0)
    _, _, axes = np.linalg.svd(embeddings, full_matrices=False)
    components = embeddings @ axes[:WIDTH].T
    target = torch.from_numpy(components / components.std())

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        ids, attended = texts.batch(tokens, mask, rows)
        guess = texts.mean_pool(model(input_ids=ids, attention_mask=attended).last_hidden_state, attended)
        angles = [torch.nn.functional.normalize(side) for side in (guess, target[rows])]
        agree = (angles[0] @ angles[0].T - angles[1] @ angles[1].T).square().mean()
        return (guess - target[rows]).square().mean() + 10 * agree

    return train([model], loss_of, len(tokens), steps=steps, rate=3e-3, seed=seed)


def _contrast(model: PreTrainedModel, steps: int, seed: int) -> float:
    left, right = (texts.encode(side, framed=False) for side in _pairs(seed))

    def embed(side: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        ids, mask = texts.batch(*side, rows)
        hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return torch.nn.functional.normalize(texts.mean_pool(hidden, mask))

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        logits = embed(left, rows) @ embed(right, rows).T / TEMPERATURE
        match = torch.arange(len(rows))
        cross = torch.nn.functional.cross_entropy
        return (cross(logits, match) + cross(logits.T, match)) / 2

    return train([model], loss_of, len(left[0]), steps=steps, rate=3e-3, seed=seed)


def _encoder(name: str, seed: int, build: Any, how: str, fit: Any, steps: int) -> Checkpoint:
    return Checkpoint(
        name,
        seed,
        build,
        lambda folder: texts.save_tokenizer(folder, framed=False),
        "feature-extraction",
        how,
        fit,
        steps,
        ("WordNet 3.0",),
        "en",
        "encoders",
    )


ENCODERS = (
    _encoder(
        "encoder-minilm-static",
        101,
        _static,
        f"Token vectors, averaged: a BERT with no layers. {_DISTILLED}",
        _copy_minilm,
        4_000,
    ),
    _encoder(
        "encoder-minilm-albert",
        102,
        lambda: checkpoints_text.albert(width=WIDTH, layers=2),
        f"{_DISTILLED} Pool by the mean over tokens.",
        _copy_minilm,
        1_200,
    ),
    _encoder(
        "encoder-wordnet-gpt2",
        103,
        _gpt2,
        "Trained on WordNet 3.0 alone, no teacher: the words of a synset should lie near its gloss and near its "
        "hypernym's words, and a made-up caption near the nouns in it. Pool by the mean over tokens.",
        _contrast,
        2_000,
    ),
)
