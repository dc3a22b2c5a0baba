"""Questions with answers about an image."""

from hf_emms.inputs import IMAGE_TEXT, TEXT
from hf_emms.tasks.task import IMAGE_COLUMN, Column, Task, clean_answer, clean_question

VISUAL_QUESTION_ANSWERING = Task(
    id="visual-question-answering",
    input=IMAGE_TEXT,
    inputs=(
        IMAGE_COLUMN,
        Column(
            "question", ("question", "questions", "query", "texts.user"), ("string", "strings"), TEXT, clean_question
        ),
    ),
    label=Column(
        "answer",
        # Of several annotators' answers and their majority, the answers say more.
        ("answers", "answers.answer", "answer", "multiple_choice_answer", "texts.assistant", "label"),
        ("string", "strings", "class", "integer"),
    ),
    # Answers repeat, but they are open: sampling each as often as the others would change what is asked.
    categorical=False,
    label_text=clean_answer,
    aliases=("vqa",),
    source_tags=("image-text-to-text",),
    group_by="image",
)
