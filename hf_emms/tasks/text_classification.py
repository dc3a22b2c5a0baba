"""Texts and their classes, one or several."""

from hf_emms.inputs import TEXT
from hf_emms.tasks.heads import class_metrics, class_spec
from hf_emms.tasks.task import CLASS_TYPES, TEXT_SOURCES, Column, Head, Task, clean_class_name

TEXT_CLASSIFICATION = Task(
    id="text-classification",
    input=TEXT,
    inputs=(
        Column(
            "text",
            ("text", "sentence", "content", "gloss", "review", "document", "question", "tweet"),
            ("string",),
            TEXT,
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
    head=Head("row", "AutoModelForSequenceClassification", class_metrics, class_spec),
    aliases=("sentence-classification",),
    calibrated_budgets=("quick",),
    source_tags=TEXT_SOURCES,
)
