"""Questions on a text, and the answers that stand in it."""

from hf_emms.tasks.base import Role, Task
from hf_emms.tasks.text import clean_answer

QUESTION_ANSWERING = Task(
    id="question-answering",
    modality="text+text",
    inputs=(
        Role("question", ("question", "questions", "query"), ("string", "strings")),
        Role("context", ("context", "passage", "paragraph", "document", "text"), ("string",)),
    ),
    label=Role(
        "answer",
        ("answers", "answers.text", "answer", "answer_text", "answers.answer"),
        ("string", "strings"),
    ),
    categorical=False,
    label_text=clean_answer,
    aliases=("extractive-question-answering", "text-qa", "qa"),
    sources=("fill-mask", "feature-extraction"),
    group="context",
    empty="no answer",
    spans_of="context",
)
