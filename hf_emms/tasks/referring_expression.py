"""Pictures with an expression each that picks one thing out, and the box around it."""

from hf_emms.tasks.base import Role, Task
from hf_emms.tasks.boxes import BOXES
from hf_emms.tasks.roles import IMAGE
from hf_emms.tasks.text import clean_caption

REFERRING_EXPRESSION = Task(
    id="referring-expression",
    modality="image+text",
    inputs=(
        IMAGE,
        Role(
            "expression",
            ("expression", "expressions", "phrase", "sentence", "sentences", "caption", "text", "query", "answer"),
            ("string", "strings"),
        ),
    ),
    label=Role("box", ("box", "bbox", "bounding_box", "target_box"), ("floats", "integers")),
    categorical=False,
    label_text=clean_caption,
    aliases=("visual-grounding", "referring"),
    # The Hub has no task of this name; detectors that take a text are the nearest.
    sources=("zero-shot-object-detection",),
    group="image",
    numbers=BOXES,
    form="both",  # ranks better than either, see docs/tasks.md
)
