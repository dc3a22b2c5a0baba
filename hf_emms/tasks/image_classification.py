"""Pictures and their classes, one or several."""

from hf_emms.tasks.base import Role, Task
from hf_emms.tasks.text import clean_class_name

IMAGE_CLASSIFICATION = Task(
    id="image-classification",
    modality="image",
    inputs=(Role("image", ("image", "img", "picture", "photo", "pixel_values"), ("image", "images")),),
    label=Role(
        "label",
        (
            "label",
            "labels",
            "class",
            "classes",
            "class_name",
            "category",
            "fine_label",
            "coarse_label",
            "variant",
            "target",
        ),
        ("class", "string", "integer", "classes", "strings", "integers"),
    ),
    categorical=True,
    label_text=clean_class_name,
    sources=("image-feature-extraction",),
)
