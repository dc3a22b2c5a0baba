"""Texts and one class each."""

from hf_emms.tasks.base import Role, Task
from hf_emms.tasks.text import clean_class_name

TEXT_CLASSIFICATION = Task(
    id="text-classification",
    modality="text",
    inputs=(
        Role(
            "text",
            ("text", "sentence", "content", "gloss", "review", "document", "question", "tweet"),
            ("string",),
        ),
    ),
    label=Role(
        "label",
        (
            "label",
            "labels",
            "class",
            "category",
            "coarse_label",
            "fine_label",
            "sentiment",
            "emotion",
            "target",
        ),
        ("class", "string", "integer"),
    ),
    categorical=True,
    label_text=clean_class_name,
    aliases=("sentence-classification",),
    sources=("fill-mask", "feature-extraction", "sentence-similarity"),
)
