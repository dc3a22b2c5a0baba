"""Label embeddings (F-labels): label texts through the same forward that makes features of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hf_emms.cache import NO_CACHE, Cache
from hf_emms.errors import EmmsError
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.features.extractor_pool import ExtractorPool, pool_or_own
from hf_emms.hub import Repo
from hf_emms.inputs import TEXT

if TYPE_CHECKING:
    from hf_emms.features.extractor import Extractor


def embed_texts(
    encoder: Repo,
    texts: Sequence[str],
    *,
    device: str = "auto",
    dtype: str = "auto",
    allow_pickle: bool = False,
    trust_remote_code: bool = False,
    cache: Cache = NO_CACHE,
    on_note: Callable[[str], None] = lambda note: None,
    pool: ExtractorPool | None = None,
) -> np.ndarray:
    """Embeds label texts with one encoder: the label embeddings (F-labels) of one encoder.

    The mean of the last layer's tokens without padding (EMMS), CLIP's projected text features, or what a
    sentence-transformers repository defines. A row depends on its text alone, not on its batch.

    Args:
        encoder: any text checkpoint: encoder, decoder, CLIP text tower, sentence-transformers.
        texts: U texts.
        device: as for `InputKind.load_extractor`.
        dtype: as for `plan_extraction`.
        allow_pickle: as for `InputKind.load_extractor`.
        trust_remote_code: as for `plan_extraction`.
        cache: as for `InputKind.load_extractor`.
        on_note: is called with what a user should know, e.g. how many texts were cut at the encoder's limit.
        pool: where encoders stay loaded, by their id, device and dtype; by default it is loaded for this call.

    Returns:
        Embeddings in the order of the texts, float32 (U, D2).

    Raises:
        EmmsError: no texts, or an encoder that cannot be loaded.
    """
    if not texts:
        raise EmmsError("there is no label text to embed", "the label column of the dataset is empty")
    from hf_emms.features.device import in_order

    def load() -> Extractor:
        plan = plan_extraction(encoder, TEXT, "label embedding", dtype=dtype, trust_remote_code=trust_remote_code)
        return TEXT.load_extractor(plan, device=device, allow_pickle=allow_pickle, cache=cache)

    with pool_or_own(pool) as pool, pool.use(f"{encoder} {device} {dtype}", load) as extractor:
        extractor.reset_counts()
        embeddings = in_order(extractor.batches(texts), len(texts))
        for note in extractor.notes:
            on_note(f"{encoder.id}: {note}")
        return embeddings
