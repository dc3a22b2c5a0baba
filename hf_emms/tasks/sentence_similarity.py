"""Two texts and how similar, or relevant to each other, they are: a number."""

from collections.abc import Sequence
from typing import Any

from hf_emms.heads import Metric, NumberHead, SimilarityHead
from hf_emms.heads.metrics import R2, SPEARMAN
from hf_emms.inputs import SENTENCE_PAIR
from hf_emms.tasks.task import Column, Task, clean_caption
from hf_emms.tasks.text_pair_classification import PAIR_COLUMNS, TEXT_PAIRS
from hf_emms.tasks.values import VALUES


def _metrics(references: Sequence[Any]) -> tuple[Metric, ...]:
    return (SPEARMAN, R2)


SENTENCE_SIMILARITY = Task(
    id="sentence-similarity",
    input=SENTENCE_PAIR,
    inputs=PAIR_COLUMNS,
    input_names=TEXT_PAIRS,
    label=Column(
        "label",
        (
            "score",
            "similarity_score",
            "similarity",
            "relatedness_score",
            "relevance",
            "rating",
            "label",
            "labels.label",
        ),
        ("float", "integer"),
    ),
    categorical=False,
    label_text=clean_caption,
    # Benchmarks of similarity compare orders.
    head=SimilarityHead(NumberHead("AutoModelForSequenceClassification", metrics=_metrics)),
    aliases=("semantic-similarity-scoring", "sts"),
    source_tags=("text-classification", "fill-mask", "feature-extraction"),
    numbers=VALUES,
    label_form="numbers",
)
