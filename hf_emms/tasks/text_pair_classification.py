"""Two texts and their relation: entailment, paraphrase, an answered question."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hf_emms.heads import ClassHead, Metric
from hf_emms.heads.metrics import ACCURACY, class_f1
from hf_emms.inputs import SENTENCE_PAIR, TEXT
from hf_emms.tasks.task import TEXT_SOURCES, Column, Task, clean_class_name

# If the rarer of two classes has a smaller share, accuracy says little about it.
_IMBALANCED = 0.4

# Names of the first and the second text, in order of preference.
TEXT_PAIRS = (
    ("premise", "hypothesis"),
    *(
        (f"{name}{first}", f"{name}{second}")
        for name in ("sentence", "text", "question")
        for first, second in (("1", "2"), ("_1", "_2"), ("_a", "_b"))
    ),
    *(("question", "sentence"), ("question", "passage"), ("query", "document"), ("query", "passage")),
    *(("claim", "evidence"), ("text", "text_pair"), ("question", "context"), ("context", "response")),
    *(("anchor", "positive"), ("query", "positive"), ("query", "text"), ("question", "answer")),
)
FIRST_TEXTS, SECOND_TEXTS = (tuple(dict.fromkeys(names)) for names in zip(*TEXT_PAIRS, strict=True))
PAIR_COLUMNS = (Column("text", FIRST_TEXTS, ("string",), TEXT), Column("text_pair", SECOND_TEXTS, ("string",), TEXT))


class PairHead(ClassHead):
    """A head that predicts the class of two texts."""

    def metrics(self, references: Sequence[Any]) -> tuple[Metric, ...]:
        """Return accuracy; for two classes, first the F1 of a rare class, such as duplicates."""
        counts = Counter(references)
        rare, times = min(counts.items(), key=lambda item: (item[1], item[0]))
        if len(counts) == 2 and times < _IMBALANCED * len(references):
            return (class_f1(rare), ACCURACY)
        return super().metrics(references)


TEXT_PAIR_CLASSIFICATION = Task(
    id="text-pair-classification",
    input=SENTENCE_PAIR,
    inputs=PAIR_COLUMNS,
    input_names=TEXT_PAIRS,
    label=Column(
        "label",
        (
            *("label", "labels", "gold_label", "class", "relation", "entailment_judgment"),
            *("is_duplicate", "similar", "paraphrase", "answer"),
        ),
        ("class", "bool", "string", "integer"),
    ),
    categorical=True,
    label_text=clean_class_name,
    head=PairHead("AutoModelForSequenceClassification"),
    aliases=(
        *("multi-input-text-classification", "natural-language-inference", "semantic-similarity-classification"),
        "nli",
    ),
    # Checkpoints for pairs carry the tag of those for single texts.
    hub_tags=("text-classification",),
    source_tags=TEXT_SOURCES,
)
