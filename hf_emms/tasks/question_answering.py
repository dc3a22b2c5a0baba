"""Questions with answers about a text that contains them."""

from hf_emms.inputs import TEXT, TEXT_PAIR
from hf_emms.tasks.metrics import EXACT_MATCH, WORD_F1
from hf_emms.tasks.task import Column, Head, Task, clean_answer

QUESTION_ANSWERING = Task(
    id="question-answering",
    input=TEXT_PAIR,
    inputs=(
        Column("question", ("question", "questions", "query"), ("string", "strings"), TEXT),
        Column("context", ("context", "passage", "paragraph", "document", "text"), ("string",), TEXT),
    ),
    label=Column(
        "answer",
        ("answers", "answers.text", "answer", "answer_text", "answers.answer"),
        ("string", "strings"),
    ),
    categorical=False,
    label_text=clean_answer,
    head=Head("span", "AutoModelForQuestionAnswering", lambda references: (WORD_F1, EXACT_MATCH)),
    aliases=("extractive-question-answering", "text-qa", "qa"),
    source_tags=("fill-mask", "feature-extraction"),
    group_by="context",
    no_label_text="no answer",
    answer_span_input="context",
)
