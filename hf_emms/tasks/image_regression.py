"""Images and a number each, such as an age or a price."""

from hf_emms.heads import NumberHead
from hf_emms.inputs import IMAGE
from hf_emms.tasks.task import IMAGE_COLUMN, Column, Task
from hf_emms.tasks.values import VALUES

IMAGE_REGRESSION = Task(
    id="image-regression",
    input=IMAGE,
    inputs=(IMAGE_COLUMN,),
    label=Column("label", ("score", "value", "rating", "stars", "label"), ("float", "integer")),
    categorical=False,
    label_text=str,
    head=NumberHead("AutoModelForImageClassification", epochs=10),
    # The Hub has no task of this name.
    hub_tags=("image-feature-extraction",),
    source_tags=("image-classification",),
    numbers=VALUES,
    label_form="numbers",
)
