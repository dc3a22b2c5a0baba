"""Images and their captions."""

from hf_emms.heads import CaptionHead
from hf_emms.inputs import IMAGE
from hf_emms.tasks.task import IMAGE_COLUMN, Column, Task, clean_caption

IMAGE_TO_TEXT = Task(
    id="image-to-text",
    input=IMAGE,
    inputs=(IMAGE_COLUMN,),
    label=Column(
        "text",
        ("caption", "captions", "text", "sentences", "sentence", "alt_text", "answer", "description", "raw", "txt"),
        ("string", "strings"),
    ),
    categorical=False,
    label_text=clean_caption,
    head=CaptionHead(),
    label_noun="caption",
    aliases=("image-captioning",),
    source_tags=("image-feature-extraction",),
)
