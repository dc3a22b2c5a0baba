"""Images and their classes, or several classes each."""

from hf_emms.heads import ClassHead
from hf_emms.inputs import IMAGE
from hf_emms.tasks.task import CLASS_TYPES, Column, Task, clean_class_name

IMAGE_CLASSIFICATION = Task(
    id="image-classification",
    input=IMAGE,
    inputs=(Column("image", ("image", "img", "picture", "photo", "pixel_values"), IMAGE.column_types, IMAGE),),
    label=Column(
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
        ),
        CLASS_TYPES,
    ),
    categorical=True,
    label_text=clean_class_name,
    head=ClassHead("AutoModelForImageClassification", epochs=10),
    source_tags=("image-feature-extraction",),
)
