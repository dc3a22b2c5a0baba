"""Texts and their classes, or several classes each."""

from hf_emms.heads import ClassHead
from hf_emms.inputs import TEXT
from hf_emms.tasks.task import CLASS_TYPES, TEXT_SOURCES, Column, Task, clean_class_name, join_sentences

TEXT_CLASSIFICATION = Task(
    id="text-classification",
    input=TEXT,
    inputs=(
        Column(
            "text",
            ("text", "sentence", "content", "gloss", "review", "document", "question", "tweet"),
            ("string", "strings"),
            TEXT,
            clean=join_sentences,
            is_list=True,
        ),
    ),
    label=Column(
        "label",
        (
            "label",
            "labels",
            "class",
            "classes",
            "category",
            "coarse_label",
            "fine_label",
            "sentiment",
            "emotion",
        ),
        CLASS_TYPES,
    ),
    categorical=True,
    label_text=clean_class_name,
    head=ClassHead("AutoModelForSequenceClassification"),
    aliases=(
        *("acceptability-classification", "hate-speech-detection", "intent-classification", "language-identification"),
        *("sentiment-analysis", "sentiment-classification", "topic-classification"),
    ),
    source_tags=TEXT_SOURCES,
)
