"""Train the demo's text checkpoints (distilled from MiniLM, masked-LM, random) and its three label encoders."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from transformers import BertForMaskedLM, PreTrainedModel

from scripts.demo import texts
from scripts.demo.scenes import compose
from scripts.demo.training import NO_DROPOUT, Checkpoint, gpt2, new_model, train, transformer

MASKED = 0.15  # share of tokens to guess in masked-LM training
MASK_ID = 4
TEMPERATURE = 0.07
PAIRS, CAPTIONS = 60_000, 10_000
WIDTH = 64  # of the label encoders

_COMMON = {"vocab_size": texts.VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 0}


def _bert(width: int, layers: int) -> PreTrainedModel:
    settings = transformer(width, layers, **_COMMON, **NO_DROPOUT)
    return new_model("bert", settings, add_pooling_layer=False)


def _albert(width: int, layers: int) -> PreTrainedModel:
    """Return an ALBERT: one block, used `layers` times, and embeddings 32 wide."""
    settings = transformer(width, layers, **_COMMON, **NO_DROPOUT, embedding_size=32)
    return new_model("albert", settings | {"intermediate_size": 3 * width}, add_pooling_layer=False)


def _electra() -> PreTrainedModel:
    return new_model("electra", transformer(64, 2, **_COMMON, **NO_DROPOUT, embedding_size=40))


def _distilbert() -> PreTrainedModel:
    shape = {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96}
    return new_model("distilbert", {**_COMMON, **shape, "dropout": 0.0, "attention_dropout": 0.0})


def _static() -> PreTrainedModel:
    """Return a table of token vectors: a BERT without layers."""
    shape = {"hidden_size": WIDTH, "num_hidden_layers": 0, "num_attention_heads": 1, "intermediate_size": 1}
    model = new_model("bert", {**_COMMON, **shape, "hidden_dropout_prob": 0.0}, add_pooling_layer=False)
    with torch.no_grad():
        model.embeddings.position_embeddings.weight.zero_()
    # a table that knew positions would not be static
    model.embeddings.position_embeddings.weight.requires_grad_(False)
    return model


def _gpt2() -> PreTrainedModel:
    tokens = {"vocab_size": texts.VOCABULARY, "bos_token_id": 2, "eos_token_id": 3}
    return new_model("gpt2", gpt2(WIDTH, 1, n_positions=64, **tokens))


def _pooled(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return texts.mean_pool(model(input_ids=ids, attention_mask=mask).last_hidden_state, mask)


def _distil(model: PreTrainedModel, steps: int, seed: int) -> None:
    """Train mean-pooled outputs to predict MiniLM's embeddings by a linear map."""
    tokens, mask = texts.encode(texts.teacher_texts())
    target = torch.from_numpy(texts.minilm())
    head = torch.nn.Linear(model.config.hidden_size, target.shape[1])

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        guess = head(_pooled(model, *texts.batch(tokens, mask, rows)))
        guess, wanted = torch.nn.functional.normalize(guess), target[rows]
        # besides the angle, which other text of the batch is near
        agree = (guess @ guess.T - wanted @ wanted.T).square().mean()
        return 1 - (guess * wanted).sum(1).mean() + 10 * agree

    train([model, head], loss_of, len(tokens), steps=steps, rate=3e-3, seed=seed)


def _masked(model: PreTrainedModel, steps: int, seed: int) -> None:
    tokens, mask = texts.encode(texts.training_glosses()[: texts.MASKED_GLOSSES])
    guesser = BertForMaskedLM(model.config)
    guesser.bert = model
    guesser.tie_weights()
    draw = torch.Generator().manual_seed(seed)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        ids, attended = texts.batch(tokens, mask, rows)
        hidden = (torch.rand(ids.shape, generator=draw) < MASKED) & attended.bool()
        labels = ids.masked_fill(~hidden, -100)
        return guesser(input_ids=ids.masked_fill(hidden, MASK_ID), attention_mask=attended, labels=labels).loss

    train([guesser], loss_of, len(tokens), steps=steps, rate=1e-3, seed=seed)


def _copy_minilm(model: PreTrainedModel, steps: int, seed: int) -> None:
    """Train the mean over tokens to be MiniLM's embedding, in coordinates of its principal components.

    No linear map is in between: texts that are far apart for the teacher must be far apart in the label embeddings,
    because a score explains their variance.
    """
    tokens, mask = texts.encode(texts.teacher_texts(), framed=False)
    embeddings = texts.minilm() - texts.minilm().mean(0)
    _, _, axes = np.linalg.svd(embeddings, full_matrices=False)
    components = embeddings @ axes[:WIDTH].T
    target = torch.from_numpy(components / components.std())

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        guess = _pooled(model, *texts.batch(tokens, mask, rows))
        angles = [torch.nn.functional.normalize(side) for side in (guess, target[rows])]
        agree = (angles[0] @ angles[0].T - angles[1] @ angles[1].T).square().mean()
        return (guess - target[rows]).square().mean() + 10 * agree

    train([model], loss_of, len(tokens), steps=steps, rate=3e-3, seed=seed)


def _contrast(model: PreTrainedModel, steps: int, seed: int) -> None:
    left, right = (texts.encode(side, framed=False) for side in _pairs(seed))

    def embed(side: tuple[torch.Tensor, torch.Tensor], rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(_pooled(model, *texts.batch(*side, rows)))

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        logits = embed(left, rows) @ embed(right, rows).T / TEMPERATURE
        match = torch.arange(len(rows))
        cross = torch.nn.functional.cross_entropy
        return (cross(logits, match) + cross(logits.T, match)) / 2

    train([model], loss_of, len(left[0]), steps=steps, rate=3e-3, seed=seed)


def _pairs(seed: int) -> tuple[list[str], list[str]]:
    """Return texts that belong together: words of a noun synset, and its gloss or its hypernym's words."""
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


_checkpoint = partial(Checkpoint, readers=texts.save_tokenizer)
_encoder = partial(Checkpoint, readers=partial(texts.save_tokenizer, framed=False), kind="encoders")
CHECKPOINTS = (
    _checkpoint("bert-distilled", 0, lambda: _bert(64, 2), _distil, 2_000),
    _checkpoint("albert-distilled", 1, lambda: _albert(96, 3), _distil, 900),
    _checkpoint("electra-distilled", 2, _electra, _distil, 500),
    _checkpoint("distilbert-distilled-short", 3, _distilbert, _distil, 120),
    _checkpoint("bert-masked-short", 4, lambda: _bert(40, 2), _masked, 300),
    _checkpoint("bert-random", 5, lambda: _bert(32, 1)),
    _encoder("encoder-minilm-static", 101, _static, _copy_minilm, 4_000),
    _encoder("encoder-minilm-albert", 102, lambda: _albert(WIDTH, 2), _copy_minilm, 1_200),
    _encoder("encoder-wordnet-gpt2", 103, _gpt2, _contrast, 2_000),
)
