"""Questions with answers: about a text that contains them, or about an image."""

from hf_emms.tasks.task import IMAGE, Role, Task, clean_answer, clean_question

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
