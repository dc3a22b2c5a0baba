"""Prompts and the responses to them: instruction tuning, chats, worked answers, texts about tables."""

from hf_emms.heads import ResponseHead
from hf_emms.inputs import PROMPT
from hf_emms.inputs.prompt import response_in
from hf_emms.tasks.task import WRITTEN_ESTIMATORS, Column, Task

# Columns of conversations; the last answer is the response.
_CONVERSATIONS = ("messages", "conversations", "conversation", "dialog")

TEXT_GENERATION = Task(
    id="text-generation",
    input=PROMPT,
    inputs=(
        Column(
            "prompt",
            (
                *_CONVERSATIONS,
                *("instruction,input", "instruction,context", "instruction"),
                *("prompt", "question", "problem", "query", "input", "meaning_representation", "context"),
            ),
            ("messages", "string"),
            PROMPT,
        ),
    ),
    label=Column(
        "response",
        (
            *_CONVERSATIONS,
            *("completion", "response", "output", "answer", "solution", "human_reference"),
        ),
        ("messages", "string", "strings"),
        clean=response_in,
    ),
    categorical=False,
    label_text=str.strip,
    head=ResponseHead(),
    estimators=WRITTEN_ESTIMATORS,
    aliases=(
        *("conversational", "dialogue-generation", "dialogue-modeling", "language-modeling", "text2text-generation"),
    ),
)
