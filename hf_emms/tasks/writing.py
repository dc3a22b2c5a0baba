"""Texts that a checkpoint writes: responses to prompts, summaries and translations."""

from collections.abc import Mapping

from hf_emms.heads import ResponseHead
from hf_emms.heads.metrics import ROUGE_L, TRANSLATION_BLEU
from hf_emms.inputs import PROMPT
from hf_emms.inputs.languages import LANGUAGES, language_code, language_name, short_code
from hf_emms.inputs.modality import Instruction
from hf_emms.inputs.prompt import response_in
from hf_emms.tasks.task import Column, Task, join_sentences

# Estimators for checkpoints that generate the label, see docs/rank-language-models.md.
WRITING_ESTIMATORS = ("short_run", "zero_shot")

# Columns of conversations; the last answer is the response.
CONVERSATIONS = ("messages", "conversations", "conversation", "dialog")

TEXT_GENERATION = Task(
    id="text-generation",
    input=PROMPT,
    inputs=(
        Column(
            "prompt",
            (
                *CONVERSATIONS,
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
            *CONVERSATIONS,
            *("completion", "response", "output", "answer", "solution", "human_reference"),
        ),
        ("messages", "string", "strings"),
        clean=response_in,
    ),
    categorical=False,
    label_text=str.strip,
    head=ResponseHead(),
    estimators=WRITING_ESTIMATORS,
    aliases=(
        *("conversational", "dialogue-generation", "dialogue-modeling", "language-modeling", "text2text-generation"),
    ),
)


def _summarize(columns: Mapping[str, str]) -> Instruction:
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
    estimators=WRITING_ESTIMATORS,
    instruction=_summarize,
    source_tags=("text-generation",),
)


# Translations are a column of both languages (`datasets.Translation`), or two columns that are named by languages.

_OTHERS = [code for code in LANGUAGES if code != "en"]


def _spelling(column: str) -> str:
    code = language_code(column)
    return column.lower() if code is None else short_code(code)


def _translate(columns: Mapping[str, str]) -> Instruction:
    source, target = (language_code(columns[role]) for role in ("source", "target"))
    if source is None or target is None:
        return Instruction("Translate:")
    return Instruction(f"Translate from {language_name(source)} to {language_name(target)}:", (source, target))


TRANSLATION = Task(
    id="translation",
    input=PROMPT,
    # From English, or in the order of the codes, by default.
    inputs=(Column("source", ("source", "src", "en", *_OTHERS), ("string",), PROMPT, spelling=_spelling),),
    label=Column("target", ("target", "tgt", *_OTHERS, "en"), ("string", "strings"), spelling=_spelling),
    categorical=False,
    label_text=str.strip,
    head=ResponseHead(TRANSLATION_BLEU),
    estimators=WRITING_ESTIMATORS,
    instruction=_translate,
    source_tags=("text-generation",),
)
