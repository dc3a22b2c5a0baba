"""Label texts to label embeddings, through the same text forward that makes features."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.hub import Repo


def embed_texts(
    encoder: Repo,
    texts: Sequence[str],
    *,
    device: str = "auto",
    dtype: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
) -> np.ndarray:
    """Embeds label texts with one encoder: one F-label table.

    The mean of the last layer's tokens without padding (EMMS), CLIP's projected text features, or what a
    sentence-transformers layout says. A row depends on its text alone, not on the batch it was in.

    Args:
        encoder: any text checkpoint: encoder, decoder, CLIP text tower, sentence-transformers layout.
        texts: U texts; each is embedded as often as it is given.
        device: as for `load_extractor`.
        dtype: as for `load_extractor`.
        allow_pickle: as for `load_extractor`.
        trust_remote_code: as for `load_extractor`.
        on_note: told what a user should know, e.g. how many texts were cut at the encoder's limit.

    Returns:
        Embeddings in the order of the texts, float32 (U, D2).

    Raises:
        EmmsError: no texts, or an encoder that cannot be loaded.
    """
    if not texts:
        raise EmmsError("there is no label text to embed", "the label column of the data set is empty")
    from hf_emms.features.load import load_extractor

    extractor = load_extractor(
        encoder,
        "text",
        "label embedding",
        device=device,
        dtype=dtype,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    embeddings = np.empty((len(texts), extractor.width), dtype=np.float32)
    try:
        for positions, rows in extractor.batches(texts):
            embeddings[positions] = rows
    finally:
        extractor.close()
    for note in extractor.notes:
        on_note(f"{encoder.id}: {note}")
    return embeddings
