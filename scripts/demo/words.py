"""Small vocabularies for questions and expressions: word pieces as BERT's, byte pairs as CLIP's."""

from __future__ import annotations

import json
import string
from functools import cache

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

from scripts.demo import noto, questions, texts

BYTE_PAIRS = 560
LENGTH = 24  # tokens; the longest text of the corpus has 16
_START, _END = "<|startoftext|>", "<|endoftext|>"


@cache
def corpus() -> tuple[str, ...]:
    """Return every distinct text of the training scenes."""
    asked = [text for pairs in noto.asked().texts for pair in pairs for text in pair]
    phrases = [text for scene in noto.referred().texts for expressions in scene for text in expressions]
    names = [form for thing in noto.shown() for form in (thing.one, thing.many)]
    return tuple(dict.fromkeys([*asked, *phrases, *names, *questions.KINDS, *questions.COUNTS]))


@cache
def word_pieces() -> PreTrainedTokenizerFast:
    """Return the shared tokenizer without pieces that the corpus does not need; single letters stay."""
    return texts.word_pieces({piece: i for i, piece in enumerate(kept_pieces())}, longest=LENGTH)


@cache
def kept_pieces() -> tuple[str, ...]:
    """Return the pieces of `word_pieces` in the order of their ids."""
    whole = texts.tokenizer()
    used = {i for ids in whole(list(corpus()))["input_ids"] for i in ids}
    letters = {piece for piece in whole.get_vocab() if len(piece.removeprefix("##")) == 1}
    every = sorted(whole.get_vocab().items(), key=lambda entry: entry[1])
    return tuple(piece for piece, i in every if i in used or piece in letters or piece in texts.SPECIAL)


@cache
def byte_pairs() -> CLIPTokenizer:
    """Train a tokenizer like CLIP's; the end token has the highest id, because CLIP and OWL-ViT look for it."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    pieces.normalizer = normalizers.Lowercase()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # without these, the trainer numbers letters in the random order of a hash map, and breaks ties by number
    first = [*letters, *(letter + "</w>" for letter in letters)]
    trainer = trainers.BpeTrainer(
        vocab_size=BYTE_PAIRS, special_tokens=first, end_of_word_suffix="</w>", show_progress=False
    )
    pieces.train_from_iterator(corpus(), trainer)
    learned = sorted(pieces.get_vocab(), key=pieces.get_vocab().__getitem__)
    vocabulary = {piece: i for i, piece in enumerate([*learned, _START, _END])}
    merges = [tuple(merge) for merge in json.loads(pieces.to_str())["model"]["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)
