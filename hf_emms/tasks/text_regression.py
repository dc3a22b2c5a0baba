"""Texts and a number each."""

from hf_emms.heads import NumberHead
from hf_emms.inputs import TEXT
from hf_emms.tasks.task import Column, Task, clean_caption, join_sentences
from hf_emms.tasks.values import VALUES

REGRESSION = Task(
    id="text-regression",
    input=TEXT,
    inputs=(
        Column(
            "text",
            ("text", "sentence", "content", "gloss", "review", "document", "essay"),
            ("string", "strings"),
            TEXT,
            clean=join_sentences,
            is_list=True,
        ),
    ),
    label=Column(
        "label",
        ("score", "value", "rating", "stars", "label"),
        ("float", "integer"),
    ),
    categorical=False,
    label_text=clean_caption,
    head=NumberHead("AutoModelForSequenceClassification"),
    aliases=("sentiment-scoring", "text-scoring"),
    source_tags=("text-classification", "fill-mask", "feature-extraction", "sentence-similarity"),
    numbers=VALUES,
    label_form="numbers",
)
