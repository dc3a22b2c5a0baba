"""Pictures and what people wrote about them."""

from hf_emms.tasks.task import IMAGE, Role, Task, clean_caption

IMAGE_TO_TEXT = Task(
    id="image-to-text",
    modality="image",
    inputs=(IMAGE,),
    label=Role(
        "text",
        ("caption", "captions", "text", "sentences", "sentence", "alt_text", "answer", "description", "raw"),
        ("string", "strings"),
    ),
    categorical=False,
    label_text=clean_caption,
    aliases=("captioning", "image-captioning"),
    sources=("image-feature-extraction",),
)
