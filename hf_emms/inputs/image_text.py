"""Images with texts, such as a picture and a question about it."""

from hf_emms.inputs.image import IMAGE
from hf_emms.inputs.kind import InputKind
from hf_emms.inputs.text import TEXT

IMAGE_TEXT = InputKind(
    name="image+text",
    singular="picture with a text",
    plural="images with texts",
    parts=(IMAGE, TEXT),
    fallback_pooling="two_towers",
    fallback_summary="its image features and its text features, and the similarity of patches if the model gives it",
    cpu_seconds=9e-9,
    chunk_rows=IMAGE.chunk_rows,
    buffer_rows=IMAGE.buffer_rows,
)
