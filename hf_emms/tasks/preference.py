"""Preferences: which of two responses to a prompt is better, as TRL's `DPOTrainer` reads them."""

import json
from collections.abc import Sequence
from typing import Any

from hf_emms.heads import PreferenceHead
from hf_emms.inputs import PROMPT, TEXT, UnusableError
from hf_emms.inputs.prompt import messages_of
from hf_emms.tasks.task import Column, Task

_TYPES = ("messages", "string")


def _conversation(cell: Any) -> str:
    """Return a text, or messages, as JSON: [[role, text], …]. A text has no role."""
    return json.dumps(messages_of(cell) if isinstance(cell, list) else [["", cell]], ensure_ascii=False)


def _separated(contents: tuple[Any, ...], labels: Sequence[str]) -> tuple[tuple[Any, ...], list[str]]:
    """Return a prompt with its chosen response, and the rejected responses, without the prompt at their start."""
    chosen, rejected = json.loads(contents[1]), [json.loads(label) for label in labels]
    prompt = contents[0]
    if len(chosen) > 1:
        if any(other[:-1] != chosen[:-1] for other in rejected):
            raise UnusableError("the chosen and the rejected conversation differ before their last message")
        prompt = PROMPT.read([{"role": role, "content": text} for role, text in chosen], "prompt")
    if any(conversation[-1][0] not in ("", "assistant") for conversation in (chosen, *rejected)):
        raise UnusableError("a response is not from the assistant")
    texts = [conversation[-1][1] for conversation in (chosen, *rejected)]
    if chosen[0][0] == "" and json.loads(prompt)[-1][1] == texts[0]:  # a text that starts with its prompt
        start = _shared_start(texts)
        prompt, texts = PROMPT.read(texts[0][:start], "prompt"), [text[start:] for text in texts]
    texts = [text.strip() for text in texts]
    if not all(texts):
        raise UnusableError("a response is empty")
    if texts[0] in texts[1:]:
        raise UnusableError("the chosen and the rejected response are equal")
    return (prompt, texts[0]), texts[1:]


def _shared_start(texts: Sequence[str]) -> int:
    """Return the length of the prompt at the start of all texts, by the rule of TRL's `extract_prompt`."""
    if len(set(texts)) == 1:
        raise UnusableError("the chosen and the rejected response are equal")
    first, last = min(texts), max(texts)
    different = (number for number, letters in enumerate(zip(first, last, strict=False)) if letters[0] != letters[1])
    length = next(different, len(first))
    return length - (first[length - 1 : length] == " ")


PREFERENCE = Task(
    id="preference",
    input=PROMPT,
    inputs=(
        Column("prompt", ("prompt", "question", "instruction", "query", "input", "chosen"), _TYPES, PROMPT),
        Column("chosen", ("chosen",), _TYPES, TEXT, clean=_conversation, shares=True),
    ),
    label=Column("rejected", ("rejected",), _TYPES, clean=_conversation),
    categorical=False,
    label_text=str.strip,
    group_by="prompt",
    arrange=_separated,
    signs=(("chosen", "rejected"),),
    head=PreferenceHead(),
    estimators=("preference_accuracy", "preference_total", "preference_run"),
    hub_tags=("text-generation",),
    aliases=("preferences", "dpo"),
)
