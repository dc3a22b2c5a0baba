"""Names of languages in datasets and in the tokenizers of multilingual checkpoints."""

from __future__ import annotations

import re
from typing import Any

# ISO 639-1 code, code of NLLB, name. "id" and "no" are missing, because other columns have these names too.
_TABLE = """
af afr Afrikaans, am amh Amharic, ar arb Arabic, az azj Azerbaijani, be bel Belarusian, bg bul Bulgarian,
bn ben Bengali, bs bos Bosnian, ca cat Catalan, cs ces Czech, cy cym Welsh, da dan Danish, de deu German,
el ell Greek, en eng English, es spa Spanish, et est Estonian, eu eus Basque, fa pes Persian, fi fin Finnish,
fr fra French, ga gle Irish, gl glg Galician, gu guj Gujarati, ha hau Hausa, he heb Hebrew, hi hin Hindi,
hr hrv Croatian, hu hun Hungarian, hy hye Armenian, is isl Icelandic, it ita Italian, ja jpn Japanese,
ka kat Georgian, kk kaz Kazakh, km khm Khmer, kn kan Kannada, ko kor Korean, lo lao Lao, lt lit Lithuanian,
lv lvs Latvian, mk mkd Macedonian, ml mal Malayalam, mn khk Mongolian, mr mar Marathi, ms zsm Malay,
my mya Burmese, nb nob Norwegian, ne npi Nepali, nl nld Dutch, pa pan Punjabi, pl pol Polish, ps pbt Pashto,
pt por Portuguese, ro ron Romanian, ru rus Russian, si sin Sinhala, sk slk Slovak, sl slv Slovenian, so som Somali,
sq als Albanian, sr srp Serbian, sv swe Swedish, sw swh Swahili, ta tam Tamil, te tel Telugu, th tha Thai,
tl tgl Tagalog, tr tur Turkish, uk ukr Ukrainian, ur urd Urdu, uz uzn Uzbek, vi vie Vietnamese, yo yor Yoruba,
zh zho Chinese, zu zul Zulu
"""
# ISO 639-1 code → name, and code of NLLB.
LANGUAGES = {code: (name, nllb) for code, nllb, name in map(str.split, _TABLE.split(","))}
_BY_NLLB = {nllb: code for code, (_, nllb) in LANGUAGES.items()}
_BY_NAME = {name.lower(): code for code, (name, _) in LANGUAGES.items()}
# "de", "de-AT", "de_DE", "deu_Latn".
_CODE = re.compile(r"[A-Za-z]{2}([-_][A-Z][A-Za-z]{1,3})?|[a-z]{3}_[A-Z][a-z]{3}")
# "__en__" (M2M-100), "en_XX" (mBART), "eng_Latn" (NLLB).
_TOKEN = re.compile(r"(__)?([a-z]{2,3})(?(1)__|_[A-Za-z]{2,4})")


def language_code(column: str) -> str | None:
    """Return the language code in the name of a column or of a field of `translation`, or None.

    Examples: "de-AT" for "translation.de-AT", "deu_Latn" for "sentence_deu_Latn", "de" for "German".
    """
    name = column.removeprefix("translation.").removeprefix("sentence_")
    code = _BY_NAME.get(name.lower(), name)
    return code if _CODE.fullmatch(code) and short_code(code) in LANGUAGES else None


def language_name(code: str) -> str:
    """Return the English name of a language: "German" for "de", "de-AT" or "deu_Latn"."""
    return LANGUAGES[short_code(code)][0]


def set_languages(tokenizer: Any, source: str, target: str) -> bool:
    """Set a tokenizer's source and target language. Return False if it lacks one of them."""
    codes = [_code_of(tokenizer, language) for language in (source, target)]
    if not hasattr(tokenizer, "src_lang") or None in codes:
        return False
    tokenizer.src_lang, tokenizer.tgt_lang = codes
    # Saved with the tokenizer.
    tokenizer.init_kwargs.update(src_lang=codes[0], tgt_lang=codes[1])
    return True


def _code_of(tokenizer: Any, language: str) -> str | None:
    """Return a tokenizer's code of a language or None, in its first script unless the language names a script."""
    names = {language, short_code(language), LANGUAGES.get(short_code(language), ("", ""))[1]}
    # M2M-100's tokenizer lists its language tokens separately.
    special = (*tokenizer.all_special_tokens, *getattr(tokenizer, "lang_code_to_token", {}).values())
    tokens = [match for token in special if (match := _TOKEN.fullmatch(token))]
    matching = [match[2] if match[1] else match[0] for match in tokens if match[0] == language or match[2] in names]
    return language if language in matching else next(iter(matching), None)


def short_code(code: str) -> str:
    """Convert a language code to ISO 639-1. Return codes without an equivalent unchanged."""
    language = re.split("[-_]", code)[0].lower()
    return _BY_NLLB.get(language, language)
