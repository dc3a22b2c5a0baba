"""Texts in two languages: a column of both (`datasets.Translation`), or two columns named by their languages."""

from hf_emms.inputs import PROMPT
from hf_emms.tasks.heads import response_head
from hf_emms.tasks.metrics import TRANSLATION_BLEU
from hf_emms.tasks.task import WRITTEN_ESTIMATORS, Column, Task

# ISO 639-1, without "id" and "no", which name other columns, too.
_LANGUAGES = (
    *("af", "am", "ar", "az", "be", "bg", "bn", "bs", "ca", "cs", "cy", "da", "de", "el", "es", "et", "eu", "fa", "fi"),
    *("fr", "ga", "gl", "gu", "ha", "he", "hi", "hr", "hu", "hy", "is", "it", "ja", "ka", "kk", "km", "kn", "ko", "lo"),
    *("lt", "lv", "mk", "ml", "mn", "mr", "ms", "my", "nb", "ne", "nl", "pa", "pl", "ps", "pt", "ro", "ru", "si", "sk"),
    *("sl", "so", "sq", "sr", "sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "uz", "vi", "yo", "zh", "zu"),
)


def _columns(languages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for language in languages for name in (f"translation.{language}", language))


TRANSLATION = Task(
    id="translation",
    input=PROMPT,
    # From English where nothing else is said.
    inputs=(Column("source", ("source", "src", *_columns(("en", *_LANGUAGES))), ("string",), PROMPT),),
    label=Column("target", ("target", "tgt", *_columns((*_LANGUAGES, "en"))), ("string", "strings")),
    categorical=False,
    label_text=str.strip,
    head=response_head(TRANSLATION_BLEU),
    estimators=WRITTEN_ESTIMATORS,
    reading="--column source=COLUMN --column target=COLUMN turn the direction",
    source_tags=("text-generation",),
)
