"""Training texts (without the glosses of the demo), the shared WordPiece vocabulary, and MiniLM's embeddings."""

from __future__ import annotations

import json
import string
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from scripts.demo import data, sources
from scripts.demo.scenes import Thing, compose

VOCABULARY = 3_000
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
LONGEST = 64  # maximum length of text checkpoints in tokens
LENGTH = 40  # training length in tokens; a gloss of the demo has at most 160 characters
TEACHER_GLOSSES, TEACHER_NAMES, TEACHER_CAPTIONS = 16_000, 2_000, 4_000
MASKED_GLOSSES = 20_000  # number of glosses for masked-LM training
NAME_WEIGHT = 400  # repetitions of label words in the vocabulary's corpus, so that label texts have few pieces
SEED = 22


@cache
def training_synsets() -> tuple[sources.Synset, ...]:
    """Return WordNet without the synsets and glosses of the demo."""
    held_out = {synset.gloss for synset in data.target_synsets()}
    return tuple(s for s in sources.wordnet() if s.gloss not in held_out and not data.UNWANTED.search(s.gloss))


@cache
def training_glosses() -> tuple[str, ...]:
    """Return the unique glosses of training_synsets in random order."""
    unique = list(dict.fromkeys(synset.gloss for synset in training_synsets() if len(synset.gloss) >= 15))
    return tuple(unique[i] for i in np.random.default_rng(SEED).permutation(len(unique)))


@cache
def teacher_texts() -> tuple[str, ...]:
    """Return the texts for distillation: glosses, and short texts like labels (words, names, captions)."""
    nouns = list(dict.fromkeys(s.words[0] for s in training_synsets() if s.key[0] == "n"))
    names = [nouns[i] for i in np.random.default_rng(SEED + 1).choice(len(nouns), TEACHER_NAMES, replace=False)]
    captions = [scene.caption for scene in compose(common_nouns(), TEACHER_CAPTIONS, SEED + 2)]
    return (*training_glosses()[:TEACHER_GLOSSES], *_whole_words(), *names, *captions)


def common_nouns() -> list[Thing]:
    """Return nouns that are one piece of the vocabulary, for made-up captions."""
    nouns = {synset.words[0] for synset in training_synsets() if synset.key[0] == "n"}
    return [Thing(word, word, word + "s") for word in _whole_words() if word in nouns]


def _whole_words() -> list[str]:
    return sorted(piece for piece in tokenizer().get_vocab() if piece.isalpha() and len(piece) > 2)


@cache
def tokenizer(framed: bool = True) -> PreTrainedTokenizerFast:
    """Return the lower-casing WordPiece tokenizer of the shared vocabulary, by default with [CLS] and [SEP].

    With these, the mean over tokens depends on a text's length.
    """
    return word_pieces(_vocabulary(), framed)


def word_pieces(vocabulary: dict[str, int], framed: bool = True, longest: int = LONGEST) -> PreTrainedTokenizerFast:
    """Make a lower-casing WordPiece tokenizer of a vocabulary, piece → id, SPECIAL among them."""
    pieces = _pipeline(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.decoder = decoders.WordPiece()
    if framed:
        pieces.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", pieces.token_to_id("[CLS]")), ("[SEP]", pieces.token_to_id("[SEP]"))],
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=longest,
    )


def _pipeline(model: models.WordPiece) -> Tokenizer:
    pieces = Tokenizer(model)
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return pieces


@cache
def _vocabulary() -> dict[str, int]:
    """Learn piece → id from glosses and label words, with the same result in every run."""
    pieces = _pipeline(models.WordPiece(unk_token="[UNK]"))
    labels = [*data.FASHION_CLASSES, *data.GLOSS_CLASSES.values()]
    labels += [form for thing in data.things() for form in (thing.one, thing.many)]
    corpus = [*training_glosses(), *labels * NAME_WEIGHT]
    letters = sorted(
        set().union(*(pieces.normalizer.normalize_str(text) for text in set(corpus))) - {" ", *string.punctuation}
    )
    # without these, the trainer numbers inner letters in the random order of a hash map, and breaks ties by number
    first = [*SPECIAL, *(f"##{letter}" for letter in letters)]
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=first, show_progress=False)
    pieces.train_from_iterator(corpus, trainer)
    return pieces.get_vocab()


def save_tokenizer(folder: Path, framed: bool = True) -> None:
    """Write the files of the shared tokenizer."""
    write_tokenizer(tokenizer(framed), folder)


def write_tokenizer(words: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write tokenizer.json without white space, a third of its size, and tokenizer_config.json."""
    words.save_pretrained(folder)
    path = folder / "tokenizer.json"
    # truncation and padding of the last training batch would become the default
    content = json.loads(path.read_text(encoding="utf-8")) | {"truncation": None, "padding": None}
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def encode(texts: tuple[str, ...] | list[str], framed: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and attention mask, int64 (N, LENGTH) each."""
    return encoded(tokenizer(framed), list(texts), LENGTH)


def encoded(words: PreTrainedTokenizerFast, texts: list[str], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids and attention mask of any tokenizer, int64 (N, length) each."""
    rows = words(texts, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
    return rows["input_ids"], rows["attention_mask"]


def batch(tokens: torch.Tensor, mask: torch.Tensor, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of some texts, padded to the longest of them."""
    longest = int(mask[rows].sum(1).max())
    return tokens[rows, :longest], mask[rows, :longest]


def mean_pool(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average over tokens, without padding: (B, T, D), (B, T) → (B, D)."""
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


@cache
def minilm() -> np.ndarray:
    """Return MiniLM's sentence embeddings of teacher_texts, float32 (N, 384), unit length; computed once."""
    stored = sources.BUILD / "minilm.npy"
    if not stored.exists():
        np.save(stored, embed_with_minilm(list(teacher_texts())))
    return np.load(stored)


def embed_with_minilm(texts: list[str]) -> np.ndarray:
    """Return MiniLM's sentence embeddings, float32 (N, 384), unit length."""
    words = AutoTokenizer.from_pretrained(sources.MINILM)
    model = AutoModel.from_pretrained(sources.MINILM).eval()
    result = np.empty((len(texts), model.config.hidden_size), np.float32)
    order = np.argsort([len(text) for text in texts], kind="stable")
    with torch.inference_mode():
        for start in range(0, len(texts), 128):
            rows = order[start : start + 128]
            batch = words([texts[i] for i in rows], padding=True, truncation=True, max_length=64, return_tensors="pt")
            pooled = mean_pool(model(**batch).last_hidden_state, batch["attention_mask"])
            result[rows] = torch.nn.functional.normalize(pooled).numpy()
    return result
