"""Texts and their summaries."""

from collections.abc import Mapping

from hf_emms.heads import ResponseHead
from hf_emms.heads.metrics import ROUGE_L
from hf_emms.inputs import PROMPT
from hf_emms.inputs.modality import Instruction
from hf_emms.tasks.task import WRITTEN_ESTIMATORS, Column, Task, join_sentences


def _instruction(columns: Mapping[str, str]) -> Instruction:
    return Instruction("Summarize:")


SUMMARIZATION = Task(
    id="summarization",
    input=PROMPT,
    inputs=(
        Column(
            "document",
            ("document", "article", "dialogue", "source", "text", "content", "report", "body"),
            ("string", "strings"),
            PROMPT,
            clean=join_sentences,
            is_list=True,
        ),
    ),
    label=Column("summary", ("summary", "highlights", "abstract", "target", "tldr"), ("string", "strings")),
    categorical=False,
    label_text=str.strip,
    head=ResponseHead(ROUGE_L),
    aliases=("news-articles-summarization", "news-articles-headline-generation"),
    estimators=WRITTEN_ESTIMATORS,
    instruction=_instruction,
    source_tags=("text-generation",),
)
