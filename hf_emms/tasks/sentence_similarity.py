"""Two texts and how similar, or relevant to each other, they are: a number."""

from hf_emms.heads import SimilarityHead
from hf_emms.inputs import SENTENCE_PAIR
from hf_emms.tasks.regression import VALUES, number_in
from hf_emms.tasks.task import Column, Task, clean_caption
from hf_emms.tasks.text_pair_classification import PAIR_COLUMNS, TEXT_PAIRS

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
        clean=number_in,
        converted=("string",),
    ),
    categorical=False,
    label_text=clean_caption,
    head=SimilarityHead(),
    aliases=("semantic-similarity-scoring", "sts"),
    source_tags=("text-classification", "fill-mask", "feature-extraction"),
    numbers=VALUES,
    label_form="numbers",
)
