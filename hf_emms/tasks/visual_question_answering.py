"""Pictures with a question each, and what people answered."""

from hf_emms.tasks.base import Role, Task
from hf_emms.tasks.roles import IMAGE
from hf_emms.tasks.text import clean_answer, clean_question

VISUAL_QUESTION_ANSWERING = Task(
    id="visual-question-answering",
    modality="image+text",
    inputs=(
        IMAGE,
        Role("question", ("question", "questions", "query", "texts.user"), ("string", "strings"), clean=clean_question),
    ),
    label=Role(
        "answer",
        # Of several annotators' answers and their majority, the answers say more.
        ("answers", "answers.answer", "answer", "multiple_choice_answer", "texts.assistant", "label"),
        ("string", "strings", "class", "integer"),
    ),
    # Answers repeat, but they are open: sampling each as often as the others would change what is asked.
    categorical=False,
    label_text=clean_answer,
    aliases=("vqa",),
    sources=("image-text-to-text",),
    group="image",
)
