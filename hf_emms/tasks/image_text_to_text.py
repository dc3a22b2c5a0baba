"""Conversations about images: a checkpoint writes the last answer."""

from hf_emms.heads import ResponseHead
from hf_emms.inputs import IMAGE_CHAT, PROMPT
from hf_emms.inputs.image_chat import IMAGES, check_places, mark_images
from hf_emms.inputs.prompt import response_in
from hf_emms.tasks.task import IMAGE_COLUMN, Column, Task
from hf_emms.tasks.writing import CONVERSATIONS, WRITING_ESTIMATORS

IMAGE_TEXT_TO_TEXT = Task(
    id="image-text-to-text",
    input=IMAGE_CHAT,
    inputs=(
        Column("images", IMAGE_COLUMN.candidates, IMAGE_COLUMN.types, IMAGES, is_list=True),
        Column(
            "prompt",
            (*CONVERSATIONS, "prompt", "question", "questions", "query", "instruction", "texts.user"),
            ("messages", "string", "strings"),
            PROMPT,
            clean=mark_images,
        ),
    ),
    label=Column(
        "response",
        (*CONVERSATIONS, "completion", "response", "answer", "answers", "output", "texts.assistant"),
        ("messages", "string", "strings"),
        clean=response_in,
    ),
    categorical=False,
    label_text=str.strip,
    head=ResponseHead(),
    aliases=("visual-instruction", "vision-chat"),
    estimators=WRITING_ESTIMATORS,
    check=check_places,
    # Questions about images with short answers are visual question answering, unless the user names this task.
    signs=tuple((image, chat) for image in IMAGE_COLUMN.candidates for chat in CONVERSATIONS),
)
