"""How good answers are: the scores of each task, as its benchmarks define them, and their standard error."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from hf_emms.finetune.splits import Span
from hf_emms.scoring.arrays import assign_folds

Score = Callable[[Sequence[Any], Sequence[Any]], float]
"""n answers and n right ones to a score, 1 (of CIDEr 10) at best."""

Box = tuple[float, float, float, float]
"""Centre x and y, width and height, as parts of the picture."""

# An answer is right in full if three of ten annotators gave it.
AGREEING = 3 / 10
_LONGEST_NGRAM, _LENGTH_SIGMA = 4, 6.0
# Parts of the test rows, each left out once for the standard error.
_JACKKNIFE = 20


def words_of(caption: str) -> list[str]:
    """The words and the punctuation of a caption, in small letters."""
    return re.findall(r"\w+(?:['’-]\w+)*|[^\w\s]", caption.lower())


def accuracy(answers: Sequence[Any], right: Sequence[Any]) -> float:
    """Share of right answers; of several classes a row, of rows where all are right."""
    return float(np.mean([_as_set(a) == _as_set(b) for a, b in zip(answers, right, strict=True)]))


def macro_f1(answers: Sequence[Any], right: Sequence[Any]) -> float:
    """Mean of the F1 of each class that occurs among answers or right ones."""
    return float(np.mean(_f1_of_classes(answers, right)))


def micro_f1(answers: Sequence[Any], right: Sequence[Any]) -> float:
    """F1 over all classes of all rows together."""
    pairs = [(_as_set(a), _as_set(b)) for a, b in zip(answers, right, strict=True)]
    total = sum(len(a) + len(b) for a, b in pairs)
    return 2 * sum(len(a & b) for a, b in pairs) / total if total else 0.0


def r2(answers: Sequence[float], right: Sequence[float]) -> float:
    """Coefficient of determination."""
    wanted, found = np.array(right, dtype=np.float64), np.array(answers, dtype=np.float64)
    total = max(float(np.square(wanted - wanted.mean()).sum()), np.finfo(np.float64).tiny)
    return 1 - float(np.square(wanted - found).sum()) / total


def spearman(answers: Sequence[float], right: Sequence[float]) -> float:
    """Correlation of ranks; 0 where all answers are equal."""
    from scipy.stats import spearmanr

    if len(set(answers)) == 1 or len(set(right)) == 1:
        return 0.0
    return float(spearmanr(answers, right).statistic)


def vqa_accuracy(answers: Sequence[str], right: Sequence[Any]) -> float:
    """How many of three annotators out of ten gave each answer, at most all; of one annotator, the share of right ones.

    Source: VQA (arXiv 1505.00468), without its average over subsets of nine annotators.
    """
    weights = [dict(known).get(answer, 0.0) for answer, known in zip(answers, right, strict=True)]
    return float(np.mean([min(1.0, weight / AGREEING) for weight in weights]))


def exact_match(answers: Sequence[str], right: Sequence[Span]) -> float:
    """Share of answers with the words of the right one, as SQuAD compares them (arXiv 1606.05250)."""
    return float(np.mean([_plain(a) == _plain(b.text) for a, b in zip(answers, right, strict=True)]))


def word_f1(answers: Sequence[str], right: Sequence[Span]) -> float:
    """SQuAD's F1 of words, mean over rows."""
    return float(np.mean([_f1_of_words(a, b.text) for a, b in zip(answers, right, strict=True)]))


def iou(answers: Sequence[Box], right: Sequence[Box]) -> float:
    """Mean intersection over union of boxes (cx, cy, w, h)."""
    return float(np.mean(_ious(answers, right)))


def accuracy_at_half(answers: Sequence[Box], right: Sequence[Box]) -> float:
    """Share of boxes whose intersection over union is above 0.5, as RefCOCO counts them."""
    return float(np.mean(_ious(answers, right) > 0.5))


def bleu(answers: Sequence[str], right: Sequence[Any]) -> float:
    """Corpus BLEU-4 (sacrebleu) over words and punctuation in small letters."""
    from sacrebleu.metrics import BLEU

    most = max(len(captions) for captions in right)
    plain = [[" ".join(words_of(text)) for text, _ in captions] for captions in right]
    references: list[Any] = [
        [captions[place] if place < len(captions) else None for captions in plain] for place in range(most)
    ]
    found = BLEU(tokenize="none").corpus_score([" ".join(words_of(answer)) for answer in answers], references)
    return float(found.score) / 100


def cider(answers: Sequence[str], right: Sequence[Any]) -> float:
    """CIDEr-D (arXiv 1411.5726): tf-idf cosine of n-grams up to 4, with counts clipped and lengths compared; 0 to 10.

    Document frequencies are those of the right captions, without stemming.
    """
    references = [[_ngrams(text) for text, _ in captions] for captions in right]
    documents = Counter(gram for captions in references for gram in set().union(*captions))
    most = math.log(max(len(references), 2))

    def weighted(counts: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
        return {gram: count * (most - math.log(max(1, documents[gram]))) for gram, count in counts.items()}

    scores = []
    for answer, captions in zip(answers, references, strict=True):
        grams = _ngrams(answer)
        found, length = weighted(grams), _length(grams)
        values = [_cosine(found, weighted(one), length - _length(one)) for one in captions]
        scores.append(10 * float(np.mean(values)))
    return float(np.mean(scores))


_CLASS: dict[str, Score] = {"accuracy": accuracy, "macro F1": macro_f1}
_CLASSES: dict[str, Score] = {"micro F1": micro_f1, "macro F1": macro_f1, "accuracy": accuracy}
_VALUE: dict[str, Score] = {"R²": r2, "Spearman": spearman}
_OF_TASK: dict[str, dict[str, Score]] = {
    "question-answering": {"F1": word_f1, "exact match": exact_match},
    "visual-question-answering": {"VQA accuracy": vqa_accuracy},
    "referring-expression": {"IoU": iou, "accuracy at 0.5": accuracy_at_half},
    "image-to-text": {"BLEU": bleu, "CIDEr": cider},
}


def scores_for(task_id: str, right: Sequence[Any]) -> Mapping[str, Score]:
    """Name → score, that by which candidates are compared first.

    Args:
        task_id: the Hub's task id.
        right: right answers, see `Part.answers`.
    """
    if task_id in _OF_TASK:
        return _OF_TASK[task_id]
    if isinstance(right[0], float):
        return _VALUE
    return _CLASS if isinstance(right[0], str) else _CLASSES


def measured(scores: Mapping[str, Score], answers: Sequence[Any], right: Sequence[Any]) -> dict[str, float]:
    """Name → value of every score."""
    return {name: score(answers, right) for name, score in scores.items()}


def standard_error(score: Score, answers: Sequence[Any], right: Sequence[Any], groups: np.ndarray) -> float:
    """The delete-a-part jackknife over twenty parts of the rows, whose groups stay together.

    Args:
        score: whose error.
        answers: of n rows.
        right: the right ones.
        groups: uint64, shape (n,).
    """
    part_of = assign_folds(groups, min(_JACKKNIFE, len(np.unique(groups))), 0)
    values = []
    for part in np.unique(part_of):
        left = np.flatnonzero(part_of != part).tolist()
        if left:
            values.append(score([answers[row] for row in left], [right[row] for row in left]))
    count = len(values)
    return float(np.sqrt((count - 1) * np.var(values))) if count > 1 else 0.0


def _f1_of_classes(answers: Sequence[Any], right: Sequence[Any]) -> list[float]:
    found, wanted = [_as_set(one) for one in answers], [_as_set(one) for one in right]
    values = []
    for name in sorted(set().union(*found, *wanted)):
        a, b = np.array([name in one for one in found]), np.array([name in one for one in wanted])
        values.append(2 * float((a & b).sum()) / float(a.sum() + b.sum()))
    return values or [0.0]


def _plain(text: str) -> list[str]:
    """Words without case, punctuation and articles, as SQuAD compares them."""
    letters = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return [word for word in letters.split() if word not in ("a", "an", "the")]


def _f1_of_words(answer: str, right: str) -> float:
    found, wanted = Counter(_plain(answer)), Counter(_plain(right))
    common = (found & wanted).total()
    return 2 * common / (found.total() + wanted.total()) if common else float(found == wanted)


def _ious(answers: Sequence[Box], right: Sequence[Box]) -> np.ndarray:
    """Of each row, float64 (n,)."""
    first, second = np.array(answers, np.float64), np.array(right, np.float64)
    lower = np.maximum(first[:, :2] - first[:, 2:] / 2, second[:, :2] - second[:, 2:] / 2)
    upper = np.minimum(first[:, :2] + first[:, 2:] / 2, second[:, :2] + second[:, 2:] / 2)
    common = np.prod(np.maximum(upper - lower, 0), axis=1)
    ratio: np.ndarray = common / (np.prod(first[:, 2:], axis=1) + np.prod(second[:, 2:], axis=1) - common)
    return ratio


def _ngrams(caption: str) -> Counter[tuple[str, ...]]:
    words = words_of(caption)
    return Counter(
        tuple(words[start : start + size])
        for size in range(1, _LONGEST_NGRAM + 1)
        for start in range(len(words) - size + 1)
    )


def _length(grams: Counter[tuple[str, ...]]) -> int:
    return sum(count for gram, count in grams.items() if len(gram) == 1)


def _cosine(found: dict[Any, float], wanted: dict[Any, float], longer: int) -> float:
    """Mean over the sizes of n-grams of the cosine with clipped counts, times a Gaussian of the lengths' difference."""
    total = 0.0
    for size in range(1, _LONGEST_NGRAM + 1):
        a = {gram: value for gram, value in found.items() if len(gram) == size}
        b = {gram: value for gram, value in wanted.items() if len(gram) == size}
        norms = math.hypot(*a.values()) * math.hypot(*b.values())
        if norms:
            total += sum(min(value, b[gram]) * b[gram] for gram, value in a.items() if gram in b) / norms
    return total / _LONGEST_NGRAM * math.exp(-(longer**2) / (2 * _LENGTH_SIGMA**2))


def _as_set(answer: Any) -> set[Any]:
    return set(answer) if isinstance(answer, tuple) else {answer}
