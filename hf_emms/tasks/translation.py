"""Texts in two languages: a column of both (`datasets.Translation`), or two columns named by their languages."""

from collections.abc import Mapping

from hf_emms.heads import ResponseHead
from hf_emms.heads.metrics import TRANSLATION_BLEU
from hf_emms.inputs import PROMPT
from hf_emms.inputs.languages import LANGUAGES, language_code, language_name, short_code
from hf_emms.inputs.modality import Instruction
from hf_emms.tasks.task import WRITTEN_ESTIMATORS, Column, Task

_OTHERS = [code for code in LANGUAGES if code != "en"]


def _spelling(column: str) -> str:
    code = language_code(column)
    return column.lower() if code is None else short_code(code)


def _instruction(columns: Mapping[str, str]) -> Instruction:
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
    estimators=WRITTEN_ESTIMATORS,
    instruction=_instruction,
    source_tags=("text-generation",),
)
