"""Modalities: how checkpoints read a kind of input. Each has a file, and other code iterates over `MODALITIES`."""

from hf_emms.inputs.audio import AUDIO
from hf_emms.inputs.encoded import EncodedInputs
from hf_emms.inputs.image import IMAGE, Images
from hf_emms.inputs.image_chat import IMAGE_CHAT
from hf_emms.inputs.image_text import IMAGE_TEXT
from hf_emms.inputs.modality import Modality, Pairs, Spans, UnusableError, as_bytes, hash64
from hf_emms.inputs.prompt import PROMPT
from hf_emms.inputs.search_collection import RERANKED_SEARCH, SEARCH, SearchCollection
from hf_emms.inputs.sentence_pair import SENTENCE_PAIR
from hf_emms.inputs.text import TEXT
from hf_emms.inputs.text_pair import TEXT_PAIR
from hf_emms.inputs.words import WORDS

__all__ = [
    "AUDIO",
    "IMAGE",
    "IMAGE_CHAT",
    "IMAGE_TEXT",
    "MODALITIES",
    "PROMPT",
    "RERANKED_SEARCH",
    "SEARCH",
    "SENTENCE_PAIR",
    "TEXT",
    "TEXT_PAIR",
    "WORDS",
    "EncodedInputs",
    "Images",
    "Modality",
    "Pairs",
    "SearchCollection",
    "Spans",
    "UnusableError",
    "as_bytes",
    "hash64",
]

MODALITIES: dict[str, Modality] = {
    modality.name: modality
    for modality in (
        *(IMAGE, TEXT, IMAGE_TEXT, TEXT_PAIR, SENTENCE_PAIR, WORDS, SEARCH, RERANKED_SEARCH, PROMPT, AUDIO),
        IMAGE_CHAT,
    )
}
