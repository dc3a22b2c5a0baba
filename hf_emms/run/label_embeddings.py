"""Embed label texts (F-labels in the EMMS paper) with the same code as texts for features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial

import numpy as np

from hf_emms.cache import Key, cache_key
from hf_emms.errors import EmmsError, checkpoint_errors
from hf_emms.features.feature_spec import device_in_keys, make_feature_spec
from hf_emms.formatting import pluralize
from hf_emms.hub import Repo, check_unchanged
from hf_emms.inputs import TEXT
from hf_emms.options import RunOptions
from hf_emms.options.registry import versions
from hf_emms.presets.demo import DEMO_PREFIX
from hf_emms.ranking.progress import noted_while
from hf_emms.run.plan import RankingPlan
from hf_emms.run.worker import Emit, run_in_worker
from hf_emms.scoring.labels import LabelTable
from hf_emms.texts import setting_ref

# Part of the key of all label embeddings. Increase it if the same texts produce other ones.
LABELS_VERSION = 3


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
    """Return the label embeddings of texts by an encoder.

    They are the mean of the last layer's tokens without padding (EMMS), the projected text features (CLIP), or the
    embeddings that a sentence-transformers repository defines. A row depends on its text alone, not on its batch.

    `on_note` receives notes for the user, such as the number of truncated texts.
    """
    if not texts:
        raise EmmsError(
            "no-labels", "the dataset has no label texts to embed", "check that the label column is not empty"
        )
    from hf_emms.features.device import gather_batches

    spec = make_feature_spec(
        encoder,
        TEXT,
        "label embedding",
        dtype=dtype,
        allow_pickle=allow_pickle,
        trust_remote_code=trust_remote_code,
    )
    with closing(TEXT.load_extractor(spec, device=device)) as extractor:
        embeddings = gather_batches(extractor.batches(texts), len(texts))
        for note in extractor.notes:
            on_note(f"{encoder.id}: {note}")
        return embeddings


def label_table(plan: RankingPlan) -> LabelTable:
    """Return the label embeddings of the sample's rows. Numbers are an additional label embedding."""
    sample = plan.sample
    tables = [sample.label_embeddings(_embedded(encoder, plan)) for encoder in plan.encoders]
    if sample.label_numbers is not None:
        tables.append(sample.label_numbers)
    if not tables:  # no estimator uses embeddings; moments need some labels
        tables.append(np.arange(len(sample.label_texts), dtype=np.float32)[:, None])
    texts = sample.label_texts if sample.soft_labels is None else ()
    return LabelTable(sample.codes, tuple(tables), label_names(plan), texts, sample.categorical)


def label_names(plan: RankingPlan) -> tuple[str, ...]:
    numbers = () if plan.sample.label_numbers is None else (plan.sample.numbers_name,)
    return (*(encoder.id for encoder in plan.encoders), *numbers)


def _embedded(encoder: Repo, plan: RankingPlan) -> np.ndarray:
    """Return an encoder's embeddings of the sample's U distinct label texts, float32 (U, D2)."""
    texts, running, session = plan.sample.label_texts, plan.options.running, plan.session
    key = labels_key(encoder, texts, running)
    stored = session.cache.get(key, partial(_checked_embeddings, texts=len(texts)))
    if stored is not None:
        return stored
    doing = f"embedding {pluralize(len(texts), 'label text')} with {encoder.id}"
    session.progress.noted(doing)
    job = run_in_worker(running.stall_limit, embed_job, encoder, texts, running, on_event=session.progress.noted)
    try:
        with noted_while(session.progress, doing), checkpoint_errors():
            (embeddings,) = job
            check_unchanged(encoder)
    except EmmsError as error:
        raise _encoder_error(encoder.id, f"cannot be used: {error.message}") from error
    _check_embeddings(encoder.id, embeddings)
    session.cache.put(key, {"embeddings": embeddings})
    return embeddings


def embed_job(emit: Emit, encoder: Repo, texts: Sequence[str], options: RunOptions) -> Iterator[np.ndarray]:
    """Yield an encoder's embeddings of texts, and emit its notes; a job for the worker."""
    yield embed_texts(
        encoder,
        texts,
        device=options.device,
        allow_pickle=options.allow_pickle,
        trust_remote_code=options.trust_remote_code,
        on_note=emit,
    )


def labels_key(encoder: Repo, texts: Sequence[str], options: RunOptions) -> Key:
    """Return the cache key of an encoder's embeddings of label texts."""
    return cache_key(
        "labels",
        encoder.id,
        encoder.revision,
        options.in_keys(),
        versions=versions(),
        code=LABELS_VERSION,
        texts=hashlib.sha256("\0".join(texts).encode()).hexdigest(),
        device=device_in_keys(options),
    )


def _checked_embeddings(stored: Mapping[str, np.ndarray], texts: int) -> np.ndarray:
    """Return label embeddings from an entry of the cache.

    Raises:
        ValueError: Their shape or dtype is wrong, or they are not finite.
    """
    embeddings = stored["embeddings"]
    fits = embeddings.ndim == 2 and len(embeddings) == texts and embeddings.dtype == np.float32
    if not fits or not np.isfinite(embeddings).all():
        raise ValueError(f"dtype {embeddings.dtype} and shape {embeddings.shape} do not match {texts} label texts")
    return embeddings


def _check_embeddings(encoder: str, embeddings: np.ndarray) -> None:
    """Raise an `EmmsError` for label embeddings (U, D2) that cannot distinguish labels."""
    problem = None
    if not np.isfinite(embeddings).all():
        problem = "returns NaN or infinite label embeddings; its weights may be damaged"
    elif len(embeddings) > 1 and not np.ptp(embeddings, axis=0).any():
        same = f"returns the same embedding for all {len(embeddings)} label texts"
        problem = f"{same}: it may not know their language, or be damaged"
    if problem:
        raise _encoder_error(encoder, problem)


def _encoder_error(encoder: str, problem: str) -> EmmsError:
    others = setting_ref("encoders", "base")
    if not encoder.startswith(DEMO_PREFIX):
        others += ", or " + setting_ref("encoders", "demo") + ", which ship with hf-emms"
    return EmmsError("encoder-failed", f"the label encoder {encoder} {problem}", "choose another encoder: " + others)
