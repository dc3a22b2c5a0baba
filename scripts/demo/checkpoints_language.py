"""Train the demo's language models on definitions or captions; one has random weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from scripts.demo import texts
from scripts.demo.scenes import compose
from scripts.demo.training import Checkpoint, Fit, gpt2, new_model, train, transformer

VOCABULARY = 512
PADDING, END = "<|padding|>", "<|endoftext|>"
LONGEST = 256  # maximum length in tokens
LENGTH = 48  # tokens of a training text
TEXTS = 20_000
SEED = 500


@cache
def glosses() -> Sequence[str]:
    """Return entries of a dictionary."""
    seen = set(texts.training_glosses())
    entries = [f"{synset.words[0]}: {synset.gloss}" for synset in texts.training_synsets() if synset.gloss in seen]
    return [entries[i] for i in np.random.default_rng(SEED).permutation(len(entries))[:TEXTS]]


def captions() -> Sequence[str]:
    """Return captions of made-up scenes."""
    return [scene.caption for scene in compose(texts.common_nouns(), TEXTS, SEED)]


_TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}


def llama(width: int = 64, layers: int = 2) -> PreTrainedModel:
    """Return a Llama whose output embeddings are its input embeddings."""
    sizes = {"vocab_size": VOCABULARY, "max_position_embeddings": LONGEST, "tie_word_embeddings": True}
    return new_model("llama", transformer(width, layers, **sizes, **_TOKENS), AutoModelForCausalLM)


def _gpt2(width: int, layers: int) -> PreTrainedModel:
    settings = gpt2(width, layers, vocab_size=VOCABULARY, n_positions=LONGEST, **_TOKENS)
    return new_model("gpt2", settings, AutoModelForCausalLM)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on a dictionary; it encodes every text without loss."""
    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    # without these, the trainer numbers bytes in the random order of a hash map, and breaks ties by number
    first = [PADDING, END, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=first, show_progress=False)
    pieces.train_from_iterator(glosses(), trainer)
    content = json.loads(pieces.to_str())
    # bytes are not special tokens, which decoding would omit
    content["added_tokens"] = content["added_tokens"][:2]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(content)),
        pad_token=PADDING,
        eos_token=END,
        model_max_length=LONGEST,
    )


def checkpoint(
    name: str, seed: int, build: Callable[[], PreTrainedModel] = llama, fit: Fit | None = None, steps: int = 0
) -> Checkpoint:
    """Describe a language model."""
    return Checkpoint(name, SEED + seed, build, fit, steps, readers=lambda to: texts.write_tokenizer(tokenizer(), to))


def fit(model: PreTrainedModel, steps: int, seed: int, corpus: Callable[[], Sequence[str]]) -> None:
    """Train on the texts of a corpus."""
    words = tokenizer()
    rows = words([text + END for text in corpus()], truncation=True, max_length=LENGTH, padding="max_length")
    tokens, mask = torch.tensor(rows["input_ids"]), torch.tensor(rows["attention_mask"])

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        ids, attended = texts.batch(tokens, mask, rows)
        return model(input_ids=ids, attention_mask=attended, labels=ids.masked_fill(attended == 0, -100)).loss

    train([model], loss_of, len(tokens), steps=steps, rate=3e-3, seed=seed)


GLOSSES, CAPTIONS = partial(fit, corpus=glosses), partial(fit, corpus=captions)
CHECKPOINTS = (
    checkpoint("llama-glosses", 0, llama, GLOSSES, 800),
    checkpoint("llama-glosses-short", 1, lambda: llama(48), GLOSSES, 80),
    checkpoint("gpt2-captions", 2, lambda: _gpt2(64, 2), CAPTIONS, 400),
    checkpoint("gpt2-random", 3, lambda: _gpt2(32, 1)),
)
