"""Train the demo's language models: on definitions for long or short, on captions, and one of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers import PreTrainedModel as Model

from scripts.demo import texts
from scripts.demo.scenes import compose
from scripts.demo.training import GPT2_WITHOUT_DROPOUT, Checkpoint, train

VOCABULARY = 512
PADDING, END = "<|padding|>", "<|endoftext|>"
LONGEST = 256  # tokens that a checkpoint has positions for
LENGTH = 48  # tokens of a training text
TEXTS = 20_000
SEED = 500


@dataclass(frozen=True)
class Corpus:
    """Texts that a checkpoint is trained on.

    Attributes:
        texts: reads them.
        how: what a checkpoint has learnt from them, as its card says it.
        origin: where they come from.
    """

    texts: Callable[[], Sequence[str]]
    how: str
    origin: str = "WordNet 3.0"


@cache
def glosses() -> Sequence[str]:
    """Entries of a dictionary."""
    seen = set(texts.training_glosses())
    entries = [f"{synset.words[0]}: {synset.gloss}" for synset in texts.training_synsets() if synset.gloss in seen]
    return [entries[i] for i in np.random.default_rng(SEED).permutation(len(entries))[:TEXTS]]


def captions() -> Sequence[str]:
    """What made-up scenes show."""
    return [scene.caption for scene in compose(texts.common_nouns(), TEXTS, SEED)]


GLOSSES = Corpus(glosses, "Trained to write entries of a dictionary, WordNet's.")
CAPTIONS = Corpus(captions, "Trained to write captions of made-up scenes of WordNet's nouns.")
_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}


def llama(width: int = 64, layers: int = 2) -> Model:
    """A Llama whose output embeddings are its input embeddings."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=LONGEST,
            tie_word_embeddings=True,
            **_TOKENS,
        )
    )


def gpt2(width: int = 64, layers: int = 2) -> Model:
    """A GPT-2 without dropout."""
    shape = {"n_embd": width, "n_layer": layers, "n_inner": 2 * width, "n_head": 4, "n_positions": LONGEST}
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, **shape, **GPT2_WITHOUT_DROPOUT, **_TOKENS))


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of GPT-2's kind, whose pieces are those of a dictionary; it writes any text without loss."""
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    # the trainer breaks ties by id, and numbers bytes in the random order of a hash map unless they are given
    first = [PADDING, END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=first, show_progress=False)
    pieces.train_from_iterator(glosses(), trainer)
    content = json.loads(pieces.to_str())
    # bytes are no special tokens, which decoding would leave out
    content["added_tokens"] = content["added_tokens"][:2]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        pad_token=PADDING,
        eos_token=END,
        model_max_length=LONGEST,
    )


def checkpoint(
    name: str, seed: int, build: Callable[[], Model] = llama, corpus: Corpus | None = None, steps: int = 0
) -> Checkpoint:
    """Describe a language model that learns a corpus; without one its weights are random."""
    trained: dict[str, Any] = {}
    if corpus:
        trained = {"how": corpus.how, "fit": partial(fit, corpus=corpus), "steps": steps, "data": (corpus.origin,)}
    return Checkpoint(name, SEED + seed, build, _save_tokenizer, "text-generation", language="en", **trained)


def _save_tokenizer(folder: Path) -> None:
    texts.write_tokenizer(tokenizer(), folder)


def fit(model: Model, steps: int, seed: int, corpus: Corpus, rate: float = 3e-3) -> float:
    """Train a model to write the texts of a corpus; returns the seconds."""
    words = tokenizer()
    rows = words([text + END for text in corpus.texts()], truncation=True, max_length=LENGTH, padding="max_length")
    tokens, mask = torch.tensor(rows["input_ids"]), torch.tensor(rows["attention_mask"])

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        ids, attended = texts.batch(tokens, mask, rows)
        return model(input_ids=ids, attention_mask=attended, labels=ids.masked_fill(attended == 0, -100)).loss

    return train([model], loss_of, len(tokens), steps=steps, rate=rate, seed=seed)


CHECKPOINTS = (
    checkpoint("llama-glosses", 0, llama, GLOSSES, 800),
    checkpoint("llama-glosses-short", 1, lambda: llama(48), GLOSSES, 80),
    checkpoint("gpt2-captions", 2, gpt2, CAPTIONS, 400),
    checkpoint("gpt2-random", 3, lambda: gpt2(32, 1)),
)
