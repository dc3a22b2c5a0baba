"""Images or texts with their classes, one or several."""

from hf_emms.tasks.task import Role, Task, clean_class_name

# Column types that hold classes, one or several.
_CLASS_TYPES = ("class", "string", "integer", "classes", "strings", "integers")

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
        _CLASS_TYPES,
    ),
    categorical=True,
    label_text=clean_class_name,
    sources=("image-feature-extraction",),
)


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
            "classes",
            "category",
            "coarse_label",
            "fine_label",
            "sentiment",
            "emotion",
            "target",
        ),
        _CLASS_TYPES,
    ),
    categorical=True,
    label_text=clean_class_name,
    aliases=("sentence-classification",),
    sources=("fill-mask", "feature-extraction", "sentence-similarity"),
)
