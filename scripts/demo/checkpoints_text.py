"""Train the demo's text checkpoints: distilled from MiniLM for long or short, masked-LM, random."""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import (
    AlbertConfig,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    PreTrainedModel,
)

from scripts.demo import texts
from scripts.demo.training import NO_DROPOUT, Checkpoint, train

MASKED = 0.15  # share of tokens to guess in masked-LM training
MASK_ID = 4


_COMMON = {"vocab_size": texts.VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 0}


def bert(width: int, layers: int) -> PreTrainedModel:
    """A BERT without pooler."""
    shape = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 2 * width}
    config = BertConfig(**_COMMON, **NO_DROPOUT, **shape, num_attention_heads=4)
    return BertModel(config, add_pooling_layer=False)


def albert(width: int = 96, layers: int = 3) -> PreTrainedModel:
    """An ALBERT: one block used `layers` times, 32-wide embeddings."""
    shape = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 3 * width}
    config = AlbertConfig(**_COMMON, **NO_DROPOUT, **shape, embedding_size=32, num_attention_heads=4)
    return AlbertModel(config, add_pooling_layer=False)


def _electra() -> PreTrainedModel:
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "embedding_size": 40}
    return ElectraModel(ElectraConfig(**_COMMON, **NO_DROPOUT, **shape, num_attention_heads=4))


def _distilbert() -> PreTrainedModel:
    shape = {"dim": 48, "n_layers": 2, "n_heads": 4, "hidden_dim": 96}
    return DistilBertModel(DistilBertConfig(**_COMMON, **shape, dropout=0.0, attention_dropout=0.0))


def distil(model: PreTrainedModel, steps: int, seed: int) -> float:
    """Train mean-pooled outputs to hold MiniLM's embeddings (up to a linear map).

    Returns:
        Seconds of training.
    """
    tokens, mask = texts.encode(texts.teacher_texts())
    target = torch.from_numpy(texts.minilm())
    head = torch.nn.Linear(model.config.hidden_size, target.shape[1])

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        ids, attended = texts.batch(tokens, mask, rows)
        guess = head(texts.mean_pool(model(input_ids=ids, attention_mask=attended).last_hidden_state, attended))
        guess, wanted = torch.nn.functional.normalize(guess), target[rows]
        # besides the angle, which other text of the batch is near
        agree = (guess @ guess.T - wanted @ wanted.T).square().mean()
        return 1 - (guess * wanted).sum(1).mean() + 10 * agree

    return train([model, head], loss_of, len(tokens), steps=steps, rate=3e-3, seed=seed)


def _masked(model: PreTrainedModel, steps: int, seed: int) -> float:
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

    return train([guesser], loss_of, len(tokens), steps=steps, rate=1e-3, seed=seed)


_HOW = {
    "minilm": "Distilled from the sentence embeddings of all-MiniLM-L6-v2 (Apache-2.0) of WordNet glosses and words.",
    "masked": "Pretrained as a masked language model on WordNet glosses.",
}


def _checkpoint(
    name: str, seed: int, build: Callable[[], PreTrainedModel], goal: str = "", steps: int = 0
) -> Checkpoint:
    trained = {"how": _HOW[goal], "fit": distil if goal == "minilm" else _masked, "steps": steps} if goal else {}
    data = ("WordNet 3.0 glosses",) if goal else ()
    return Checkpoint(
        name, seed, build, texts.save_tokenizer, "feature-extraction", data=data, language="en", **trained
    )


CHECKPOINTS = (
    _checkpoint("bert-distilled", 0, lambda: bert(64, 2), "minilm", 2_000),
    _checkpoint("albert-distilled", 1, albert, "minilm", 900),
    _checkpoint("electra-distilled", 2, _electra, "minilm", 500),
    _checkpoint("distilbert-distilled-short", 3, _distilbert, "minilm", 120),
    _checkpoint("bert-masked-short", 4, lambda: bert(40, 2), "masked", 300),
    _checkpoint("bert-random", 5, lambda: bert(32, 1)),
)
