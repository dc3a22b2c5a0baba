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
    """Every text that the training scenes hold, once."""
    asked = [text for pairs in noto.asked().asked for pair in pairs for text in pair]
    phrases = [text for scene in noto.referred().phrases for expressions in scene for text in expressions]
    names = [form for thing in noto.shown() for form in (thing.one, thing.many)]
    return tuple(dict.fromkeys([*asked, *phrases, *names, *questions.KINDS, *questions.COUNTS]))


@cache
def word_pieces() -> PreTrainedTokenizerFast:
    """The shared vocabulary without the pieces that no text of the corpus needs; single letters stay."""
    return texts.word_pieces({piece: i for i, piece in enumerate(kept_pieces())}, longest=LENGTH)


@cache
def kept_pieces() -> tuple[str, ...]:
    """The pieces of `word_pieces` in the order of their ids."""
    whole = texts.tokenizer()
    used = {i for ids in whole(list(corpus()))["input_ids"] for i in ids}
    letters = {piece for piece in whole.get_vocab() if len(piece.removeprefix("##")) == 1}
    every = sorted(whole.get_vocab().items(), key=lambda entry: entry[1])
    return tuple(piece for piece, i in every if i in used or piece in letters or piece in texts.SPECIAL)


@cache
def byte_pairs() -> CLIPTokenizer:
    """A tokenizer of CLIP's kind; the end of a text has the highest id, where CLIP and OWL-ViT look for it."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    pieces.normalizer = normalizers.Lowercase()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # the trainer breaks ties by id, and numbers letters in the random order of a hash map unless they are given
    first = [*letters, *(letter + "</w>" for letter in letters)]
    trainer = trainers.BpeTrainer(
        vocab_size=BYTE_PAIRS, special_tokens=first, end_of_word_suffix="</w>", show_progress=False
    )
    pieces.train_from_iterator(corpus(), trainer)
    learned = sorted(pieces.get_vocab(), key=pieces.get_vocab().__getitem__)
    vocabulary = {piece: i for i, piece in enumerate([*learned, _START, _END])}
    merges = [tuple(merge) for merge in json.loads(pieces.to_str())["model"]["merges"]]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)
