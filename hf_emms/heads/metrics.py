"""Metrics of predictions, as the benchmarks of each task define them. Heavy libraries are imported on use."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.texts import install_command


@dataclass(frozen=True)
class Metric:
    """A named score of n predictions and n references. Higher is better, and 1 is best."""

    name: str
    compute: Callable[[Sequence[Any], Sequence[Any]], float]


# The VQA accuracy of an answer is 1 if three of ten annotators gave it.
AGREEING = 3 / 10
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORD = re.compile(r"\w+")

# Scripts without spaces between words: Thai to Lao, Myanmar, Khmer, Chinese and Japanese. Every character is a word.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_UNSPACED_LETTER = re.compile(f"([{UNSPACED}])")
_APOSTROPHES = re.compile("(?<=\\w)['’](?=\\w)")

Box = tuple[float, float, float, float]
"""Center x and y, width and height, as fractions of the image."""


# ---- classes: a name per row, or a tuple of names --------------------------------------------------------------------


def accuracy(predictions: Sequence[Any], references: Sequence[Any]) -> float:
    """Return the share of correct rows. If rows have several classes, all of them must be correct."""
    from sklearn.metrics import accuracy_score  # type: ignore[import-untyped]

    predicted, right = _comparable(predictions, references)
    return float(accuracy_score(right, predicted))


def macro_f1(predictions: Sequence[Any], references: Sequence[Any]) -> float:
    """Return the mean F1 of the classes that occur among predictions or references."""
    return _f1(predictions, references, "macro")


def micro_f1(predictions: Sequence[Any], references: Sequence[Any]) -> float:
    """Return the F1 over all classes of all rows."""
    return _f1(predictions, references, "micro")


def class_f1(name: str) -> Metric:
    """Return the metric "F1 of one class"."""

    def compute(predictions: Sequence[Any], references: Sequence[Any]) -> float:
        from sklearn.metrics import f1_score

        is_class = [reference == name for reference in references]
        return float(f1_score(is_class, [prediction == name for prediction in predictions], zero_division=0))

    return Metric(f"F1 of {name}", compute)


def _f1(predictions: Sequence[Any], references: Sequence[Any], average: str) -> float:
    from sklearn.metrics import f1_score

    predicted, right = _comparable(predictions, references)
    return float(f1_score(right, predicted, average=average)) if predicted.size else 0.0


def _comparable(predictions: Sequence[Any], references: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Convert predictions and references to arrays that scikit-learn can compare."""
    if not have_several(references):
        return np.array(predictions), np.array(references)
    from sklearn.preprocessing import MultiLabelBinarizer  # type: ignore[import-untyped]

    binarizer = MultiLabelBinarizer().fit([*predictions, *references])
    return binarizer.transform(predictions), binarizer.transform(references)


def have_several(references: Sequence[Any]) -> bool:
    """Return whether rows have several classes, as tuples."""
    return isinstance(references[0], tuple)


# ---- values ----------------------------------------------------------------------------------------------------------


def r2(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Return the coefficient of determination, or 0 for a single row."""
    from sklearn.metrics import r2_score

    return float(r2_score(references, predictions)) if len(references) > 1 else 0.0


def spearman(predictions: Sequence[float], references: Sequence[float]) -> float:
    """Return the rank correlation, or 0 if all predictions or all references are equal."""
    from scipy.stats import spearmanr

    if len(set(predictions)) == 1 or len(set(references)) == 1:
        return 0.0
    return float(spearmanr(predictions, references).statistic)


# ---- searches --------------------------------------------------------------------------------------------------------


class SearchResult(NamedTuple):
    """The scores of a query, see `scoring.retrieval`."""

    ndcg: float
    reciprocal_rank: float
    recall: float


def _mean_of(field: str) -> Callable[[Sequence[SearchResult], Sequence[Any]], float]:
    return lambda results, references: float(np.mean([getattr(result, field) for result in results]))


# ---- answers ---------------------------------------------------------------------------------------------------------


def vqa_accuracy(predictions: Sequence[str], references: Sequence[Any]) -> float:
    """Return the mean accuracy of answers. An answer of 3 of 10 annotators has an accuracy of 1.

    With one annotator, this is the share of correct answers. Source: VQA (arXiv 1505.00468), without its average over
    subsets of nine annotators.
    """
    weights = [dict(answers).get(answer, 0.0) for answer, answers in zip(predictions, references, strict=True)]
    return float(np.mean([min(1.0, weight / AGREEING) for weight in weights]))


def exact_match(predictions: Sequence[str], references: Sequence[Any]) -> float:
    """Return the share of answers with the same words as a correct answer, as in SQuAD (arXiv 1806.03822)."""
    return _best_of_answers(lambda first, second: float(first == second), predictions, references)


def word_f1(predictions: Sequence[str], references: Sequence[Any]) -> float:
    """Return the mean of SQuAD's word F1 with the best correct answer."""
    return _best_of_answers(_f1_of_words, predictions, references)


def _best_of_answers(
    score: Callable[[list[str], list[str]], float], predictions: Sequence[str], references: Sequence[Any]
) -> float:
    """Return the mean score with the best correct answer. Without one, the correct answer is empty."""
    scores = []
    for prediction, answers in zip(predictions, references, strict=True):
        right = [words for answer in answers if (words := _plain_words(answer.text))] or [[]]
        scores.append(max(score(_plain_words(prediction), words) for words in right))
    return float(np.mean(scores))


def _plain_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation and articles."""
    letters = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return _ARTICLES.sub(" ", letters).split()


def _f1_of_words(answer: list[str], right: list[str]) -> float:
    first, second = Counter(answer), Counter(right)
    common = (first & second).total()
    return 2 * common / (first.total() + second.total()) if common else float(first == second)


# ---- tags of words: a sequence of tags per text, and references with `tags` ------------------------------------------


# Prefixes for the beginning, inside and end of an entity, and for a single word, as in BIO, BIOES and BILOU.
_TAG = re.compile(r"([BIESLU])(?:[-_](.+))?")
_BIOES = str.maketrans("LU", "ES")


def has_prefix(tag: str) -> bool:
    return _TAG.fullmatch(tag) is not None


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into its prefix (B, I, E or S) and the entity's type.

    O has neither. A tag without a prefix is a type, whose neighboring words are one entity.
    """
    match = _TAG.fullmatch(tag)
    if match is None:
        return ("", "") if tag == "O" else ("I", tag)
    return match[1].translate(_BIOES), match[2] or ""


def entities(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Return the first word, end (exclusive) and type of each entity of a text, as CoNLL's script and seqeval do.

    An entity also begins after a tag outside of entities, a tag of another type, or the end of an entity.
    """
    spans, current = set(), ""
    begin: int | None = None  # of the entity that is open
    for word, tag in enumerate([*tags, "O"]):
        prefix, type = split_tag(tag)
        continues = begin is not None and prefix in ("I", "E") and type == current
        if begin is not None and not continues:
            spans.add((begin, word, current))
            begin = None
        if prefix and not continues:
            begin, current = word, type
        if begin is not None and prefix in ("E", "S"):
            spans.add((begin, word + 1, current))
            begin = None
    return spans


def entity_f1(predictions: Sequence[Sequence[str]], references: Sequence[Any]) -> float:
    """Return the F1 of the entities of all texts. Both ends and the type of an entity must be correct."""
    total = both = 0
    for tags, reference in zip(predictions, references, strict=True):
        predicted, right = entities(tags), entities(reference.tags)
        total += len(predicted) + len(right)
        both += len(predicted & right)
    return 2 * both / total if both else 0.0


def word_accuracy(predictions: Sequence[Sequence[str]], references: Sequence[Any]) -> float:
    """Return the share of words with the correct tag."""
    right = [
        tag == other
        for tags, reference in zip(predictions, references, strict=True)
        for tag, other in zip(tags, reference.tags, strict=True)
    ]
    return float(np.mean(right))


# ---- boxes -----------------------------------------------------------------------------------------------------------


def iou(predictions: Sequence[Box], references: Sequence[Box]) -> float:
    """Return the mean intersection over union."""
    return float(_ious(predictions, references).mean())


def accuracy_at_half(predictions: Sequence[Box], references: Sequence[Box]) -> float:
    """Return the share of boxes with an intersection over union above 0.5, as in RefCOCO."""
    return float((_ious(predictions, references) > 0.5).mean())


def _ious(predictions: Sequence[Box], references: Sequence[Box]) -> np.ndarray:
    """Return the intersection over union of each row, float64 (n,)."""
    import torch
    from torchvision.ops import box_convert, box_iou

    first, second = (
        box_convert(torch.tensor(boxes, dtype=torch.float64), "cxcywh", "xyxy") for boxes in (predictions, references)
    )
    rows: torch.Tensor = torch.vmap(lambda a, b: box_iou(a[None], b[None])[0, 0])(first, second)
    return rows.numpy()


# ---- captions: several texts per reference, each with a weight -------------------------------------------------------


def tokenize_caption(caption: str) -> list[str]:
    """Return the words and the punctuation of a caption, in lower case."""
    return re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", caption.lower())


def bleu(predictions: Sequence[str], references: Sequence[Any]) -> float:
    """Return corpus BLEU-4 (sacrebleu) over words and punctuation in lower case."""
    from sacrebleu.metrics import BLEU

    rights = [[" ".join(tokenize_caption(text)) for text, _ in captions] for captions in references]
    return _corpus_score(BLEU(tokenize="none"), [" ".join(tokenize_caption(answer)) for answer in predictions], rights)


def _corpus_score(metric: Any, texts: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Return the score of a sacrebleu metric, from 0 to 1. Rows may have different numbers of references."""
    return float(metric.corpus_score(texts, [list(column) for column in zip_longest(*references)]).score) / 100


# ---- preferences: the share of a row's pairs whose chosen response is preferred --------------------------------------


def preference_accuracy(predictions: Sequence[float], references: Sequence[Any]) -> float:
    """Return the share of pairs whose chosen response is preferred."""
    return float(np.mean(predictions))


# ---- responses, with references as for captions ----------------------------------------------------------------------


@dataclass(frozen=True)
class WrittenResponse:
    """The bits and bytes of a row's responses, and the text that a checkpoint wrote, or None if it wrote none."""

    bits: float
    n_bytes: float
    text: str | None = None


def byte_likelihood(predictions: Sequence[WrittenResponse], references: Sequence[Any]) -> float:
    """Return the geometric mean of the probabilities of the responses' bytes: 2 to the minus bits per byte."""
    return float(2 ** -(sum(p.bits for p in predictions) / max(1.0, sum(p.n_bytes for p in predictions))))


def _written_rows(predictions: Sequence[WrittenResponse], references: Sequence[Any]) -> list[tuple[str, list[str]]]:
    """Return the texts that a checkpoint wrote, including empty ones, with their references."""
    return [
        (prediction.text, [text for text, _ in texts])
        for prediction, texts in zip(predictions, references, strict=True)
        if prediction.text is not None
    ]


def chrf(predictions: Sequence[WrittenResponse], references: Sequence[Any]) -> float:
    """Return chrF2 (sacrebleu) of the written texts, or 0 without any."""
    from sacrebleu.metrics import CHRF

    rows = _written_rows(predictions, references)
    return _corpus_score(CHRF(), *zip(*rows, strict=True)) if rows else 0.0


def translation_bleu(predictions: Sequence[WrittenResponse], references: Sequence[Any]) -> float:
    """Return corpus BLEU-4 of the written texts with sacrebleu's defaults: case-sensitive, 13a tokenization."""
    from sacrebleu.metrics import BLEU

    rows = _written_rows(predictions, references)
    return _corpus_score(BLEU(force=True), *zip(*rows, strict=True)) if rows else 0.0


def rouge_l(predictions: Sequence[WrittenResponse], references: Sequence[Any]) -> float:
    """Return ROUGE-L of the written texts: the F1 of the longest common subsequence with the best reference.

    It equals rouge-score without stemming, but accepts words of any script.
    """
    scores = []
    for written, texts in _written_rows(predictions, references):
        words, *others = (_WORD.findall(text.lower()) for text in (written, *texts))
        common = [(_longest_common(words, other), len(words) + len(other)) for other in others]
        scores.append(max(2 * length / total if total else 0.0 for length, total in common))
    return float(np.mean(scores)) if scores else 0.0


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    lengths = [0] * (len(second) + 1)
    for word in first:
        diagonal = 0
        for i, other in enumerate(second, 1):
            above = lengths[i]
            lengths[i] = diagonal + 1 if word == other else max(above, lengths[i - 1])
            diagonal = above
    return lengths[-1]


# ---- transcripts: texts, with references as for captions -------------------------------------------------------------


def spoken_words(text: str) -> list[str]:
    """Return the words of a text for comparing transcripts: in lower case, without punctuation and symbols.

    Apostrophes within words are removed, and other marks separate words. Numbers do not change.
    """
    plain = _APOSTROPHES.sub("", unicodedata.normalize("NFKC", text).casefold())
    letters = "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in plain)
    return _UNSPACED_LETTER.sub(r" \1 ", letters).split()


def word_errors(text: str, reference: str) -> tuple[int, int]:
    """Return the number of wrong, missing and additional words of a transcript, and the words of its reference."""
    words = spoken_words(reference)
    return _distance(load_jiwer().process_words, text, words), len(words)


def character_errors(text: str, reference: str) -> tuple[int, int]:
    """Return the same counts of characters, including a space between words."""
    words = spoken_words(reference)
    return _distance(load_jiwer().process_characters, text, words), len(" ".join(words))


def _distance(process: Callable[[str, str], Any], text: str, words: Sequence[str]) -> int:
    result = process(" ".join(words), " ".join(spoken_words(text)))
    return int(result.substitutions + result.deletions + result.insertions)


def word_accuracy_of_texts(predictions: Sequence[str], references: Sequence[Any]) -> float:
    """Return 1 minus the word error rate of all rows, each compared with its first transcript."""
    return _share_right(word_errors, predictions, references)


def character_accuracy(predictions: Sequence[str], references: Sequence[Any]) -> float:
    """Return 1 minus the character error rate of all rows, each compared with its first transcript."""
    return _share_right(character_errors, predictions, references)


def _share_right(
    errors: Callable[[str, str], tuple[int, int]], predictions: Sequence[str], references: Sequence[Any]
) -> float:
    counts = [errors(text, texts[0][0]) for text, texts in zip(predictions, references, strict=True)]
    return 1 - sum(wrong for wrong, _ in counts) / max(1, sum(size for _, size in counts))


def load_jiwer() -> ModuleType:
    """Import jiwer, which compares words, or raise an `EmmsError` with the command that installs it."""
    try:
        import jiwer
    except ImportError as error:
        raise EmmsError(
            "package-missing", "comparing words requires jiwer, which is not installed", install_command("audio")
        ) from error
    return jiwer


ACCURACY = Metric("accuracy", accuracy)
MACRO_F1 = Metric("macro F1", macro_f1)
MICRO_F1 = Metric("micro F1", micro_f1)
SEARCH_METRICS = tuple(
    Metric(name, _mean_of(field))
    for name, field in (("nDCG@10", "ndcg"), ("MRR@10", "reciprocal_rank"), ("recall@100", "recall"))
)
R2 = Metric("R²", r2)
SPEARMAN = Metric("Spearman", spearman)
VQA_ACCURACY = Metric("VQA accuracy", vqa_accuracy)
WORD_F1 = Metric("F1", word_f1)
EXACT_MATCH = Metric("exact match", exact_match)
ENTITY_F1 = Metric("entity F1", entity_f1)
WORD_ACCURACY = Metric("accuracy", word_accuracy)
IOU = Metric("IoU", iou)
ACCURACY_AT_HALF = Metric("accuracy at 0.5", accuracy_at_half)
BLEU_4 = Metric("BLEU", bleu)
PREFERENCE_ACCURACY = Metric("preference accuracy", preference_accuracy)
BYTE_LIKELIHOOD = Metric("byte likelihood", byte_likelihood)
CHRF = Metric("chrF", chrf)
TRANSLATION_BLEU = Metric("BLEU", translation_bleu)
ROUGE_L = Metric("ROUGE-L", rouge_l)
WORDS_RIGHT = Metric("1 - WER", word_accuracy_of_texts)
CHARACTERS_RIGHT = Metric("1 - CER", character_accuracy)
