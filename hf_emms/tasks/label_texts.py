"""How one raw label becomes the text that encoders embed."""

import re
import unicodedata

_WORDNET_PREFIX = re.compile(r"^n\d{8}[-_ ]+(?=\D)")
_CAMEL_HUMP = re.compile(r"(?<=[a-z]{2})(?=[A-Z][a-z])")  # two small letters: "McDonald" and "iPhone" stay whole
_SPACES = re.compile(r"\s+")
_BREVITY = re.compile(r"\b(answer|response|brief|short|concise|succinct|terse)", re.IGNORECASE)
_MOST_WORDS_OF_A_HINT = 14
_DATASET_NUMBER = re.compile(r"^\d{3}\.(?=[A-Za-z])")


def clean_class_name(name: str) -> str:
    """Turns a class name as datasets write it into words.

    Underscores become spaces, camel humps are split, and the numbers that some datasets put in front
    (``n02085620-``, ``001.``) go. Hyphens and case stay, because words have them too: "T-shirt", "BMW".

    Args:
        name: the raw name, e.g. "apple_pie", "n02085620-Chihuahua" or "AnnualCrop".

    Returns:
        The words, separated by single spaces ("apple pie", "Chihuahua", "Annual Crop"); the name itself,
        stripped, when nothing else would be left.
    """
    text = unicodedata.normalize("NFC", str(name)).strip()
    words = _DATASET_NUMBER.sub("", _WORDNET_PREFIX.sub("", text))
    words = _CAMEL_HUMP.sub(" ", words)
    words = _SPACES.sub(" ", words.replace("_", " ")).strip()
    return words or text


def clean_caption(caption: str) -> str:
    """Lower-cases a caption and collapses its white space, as the paper does (arXiv 2308.06262)."""
    return _SPACES.sub(" ", unicodedata.normalize("NFC", str(caption))).strip().lower()


def clean_answer(answer: str) -> str:
    """Lower-cases an answer, collapses its white space and drops its full stop; "U.S." keeps its own."""
    text = clean_caption(answer)
    return text[:-1].rstrip() if text.count(".") == 1 and len(text) > 1 and text.endswith(".") else text


def clean_question(question: str) -> str:
    """Takes a line such as "Answer briefly." off a question, as instruction sets such as the_cauldron append it.

    Only a second and last line goes, and only one that asks for a short answer: choices and hints stay.
    """
    text = question.strip()
    lines = text.split("\n")
    hint = lines[-1].strip()
    is_hint = hint.endswith(".") and len(hint.split()) <= _MOST_WORDS_OF_A_HINT and _BREVITY.search(hint)
    return lines[0].strip() if len(lines) == 2 and is_hint else text
