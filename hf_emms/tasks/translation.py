"""Texts in two languages: a column of both (`datasets.Translation`), or two columns named by their languages."""

from collections.abc import Iterable, Mapping

from hf_emms.inputs import PROMPT
from hf_emms.inputs.kind import Instruction
from hf_emms.inputs.languages import LANGUAGES, language_name
from hf_emms.tasks.heads import response_head
from hf_emms.tasks.metrics import TRANSLATION_BLEU
from hf_emms.tasks.task import WRITTEN_ESTIMATORS, Column, Task

_OTHERS = [code for code in LANGUAGES if code != "en"]


def _columns(languages: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for language in languages for name in (f"translation.{language}", language))


def _instruction(columns: Mapping[str, str]) -> Instruction:
    codes = tuple(columns[role].rpartition(".")[2] for role in ("source", "target"))
    names = [language_name(code) for code in codes]
    if None in names:
        return Instruction("Translate:")
    return Instruction(f"Translate from {names[0]} to {names[1]}:", codes)


TRANSLATION = Task(
    id="translation",
    input=PROMPT,
    # From English where nothing else is said.
    inputs=(Column("source", ("source", "src", *_columns(("en", *_OTHERS))), ("string",), PROMPT),),
    label=Column("target", ("target", "tgt", *_columns((*_OTHERS, "en"))), ("string", "strings")),
    categorical=False,
    label_text=str.strip,
    head=response_head(TRANSLATION_BLEU),
    estimators=WRITTEN_ESTIMATORS,
    instruction=_instruction,
    reading="--column source=COLUMN --column target=COLUMN turn the direction",
    source_tags=("text-generation",),
)
