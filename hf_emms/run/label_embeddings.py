"""Embed label texts (F-labels in the EMMS paper) with the same code as texts for features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_emms.cache import NO_CACHE, Cache, Key, cache_key
from hf_emms.errors import EmmsError, Text, checkpoint_errors, pluralize, setting_ref
from hf_emms.features.extractor import ExtractorPool, pool_or_own
from hf_emms.features.feature_spec import device_in_keys, plan_extraction
from hf_emms.hub import Repo, check_unchanged
from hf_emms.inputs import TEXT
from hf_emms.options import RunOptions
from hf_emms.options.registry import installed_versions, versions
from hf_emms.presets.demo import DEMO_PREFIX
from hf_emms.ranking.progress import LOADING, noted_while
from hf_emms.run.plan import RankingPlan
from hf_emms.run.worker import Emit, borrowed_worker, runs_in_worker
from hf_emms.scoring.labels import LabelTable

if TYPE_CHECKING:
    from hf_emms.features.extractor import Extractor

# Part of the key of every label table. Increase it if the same texts produce other embeddings.
LABELS_VERSION = 2


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
    """Return the label embeddings of texts by an encoder.

    They are the mean of the last layer's tokens without padding (EMMS), the projected text features (CLIP), or the
    embeddings that a sentence-transformers repository defines. A row depends on its text alone, not on its batch.

    `on_note` receives notes for the user, such as the number of truncated texts. In a pool, encoders stay loaded by
    their id, device and dtype. Without a pool, the encoder is loaded for this call.
    """
    if not texts:
        raise EmmsError("the dataset has no label texts to embed", "check that the label column is not empty")
    from hf_emms.features.device import gather_batches

    def load() -> Extractor:
        plan = plan_extraction(encoder, TEXT, "label embedding", dtype=dtype, trust_remote_code=trust_remote_code)
        return TEXT.load_extractor(plan, device=device, allow_pickle=allow_pickle, cache=cache)

    with pool_or_own(pool) as pool, pool.use(f"{encoder} {device} {dtype}", load) as extractor:
        extractor.reset_counts()
        embeddings = gather_batches(extractor.batches(texts), len(texts))
        for note in extractor.notes:
            on_note(f"{encoder.id}: {note}")
        return embeddings


def label_table(plan: RankingPlan, embeddings: Iterable[np.ndarray] | None = None) -> LabelTable:
    """Return the label embeddings of the sample's rows. Numbers are an additional label embedding.

    `embeddings` are the embeddings of the distinct label texts by each encoder. By default they are computed here.
    """
    sample = plan.sample
    if embeddings is None:
        embeddings = [embed_labels_with(encoder, plan) for encoder in plan.encoders]
    tables = [sample.label_embeddings(table) for table in embeddings]
    if sample.label_numbers is not None:
        tables.append(sample.label_numbers)
    if not tables:  # no estimator uses embeddings; moments need some labels
        tables.append(np.arange(len(sample.label_texts), dtype=np.float32)[:, None])
    texts = sample.label_texts if sample.soft_labels is None else ()
    return LabelTable(sample.codes, tuple(tables), label_names(plan), texts, sample.categorical)


def label_names(plan: RankingPlan) -> tuple[str, ...]:
    numbers = () if plan.sample.label_numbers is None else (plan.sample.numbers_name,)
    return (*(encoder.id for encoder in plan.encoders), *numbers)


def embed_labels_with(encoder: Repo, plan: RankingPlan, pool: ExtractorPool | None = None) -> np.ndarray:
    """Return an encoder's embeddings of the sample's U distinct label texts, float32 (U, D2), if possible from the
    cache.

    The encoder stays loaded in the pool. Without a pool, it is loaded for this call.
    """
    texts, options = plan.sample.label_texts, plan.options.running
    cache, progress = plan.session.cache, plan.session.progress
    key = labels_key(encoder, texts, options)
    stored = cache.get(key, lambda stored: _checked_table(stored["table"], len(texts)))
    if stored is not None:
        return stored
    if not runs_in_worker():
        with noted_while(progress, LOADING):
            import hf_emms.features.device  # noqa: F401 (torch)
    doing = f"embedding {pluralize(len(texts), 'label text')} with {encoder.id}"
    progress.noted(doing)
    try:
        with noted_while(progress, doing), checkpoint_errors():
            arguments = (encoder, texts, options, cache.root)
            if runs_in_worker():
                with borrowed_worker(options.stall_limit) as worker:
                    (table,) = worker.run(embed_job, *arguments, on_event=progress.noted)
            else:
                (table,) = embed_job(progress.noted, *arguments, pool=pool)
            check_unchanged(encoder)
    except EmmsError as error:
        raise _encoder_error(encoder.id, "cannot be used: " + error.problem) from error
    _check_embeddings(encoder.id, table)
    cache.put(key, {"table": table})
    return table


def embed_job(
    emit: Emit,
    encoder: Repo,
    texts: Sequence[str],
    options: RunOptions,
    root: Path | None,
    pool: ExtractorPool | None = None,
) -> Iterator[np.ndarray]:
    """Yield an encoder's embeddings of texts, and emit notes; a job for `Worker.run`."""
    yield embed_texts(
        encoder,
        texts,
        device=options.device,
        allow_pickle=options.allow_pickle,
        trust_remote_code=options.trust_remote_code,
        cache=Cache(root),
        on_note=emit,
        pool=pool,
    )


def labels_key(encoder: Repo, texts: Sequence[str], options: RunOptions) -> Key:
    """Return the cache key of an encoder's embeddings of label texts."""
    return cache_key(
        "labels",
        encoder.id,
        encoder.revision,
        options.in_keys(),
        versions=versions() | installed_versions("peft"),
        code=LABELS_VERSION,
        texts=hashlib.sha256("\0".join(texts).encode()).hexdigest(),
        device=device_in_keys(options),
    )


def _checked_table(table: np.ndarray, texts: int) -> np.ndarray:
    """Return label embeddings from the cache.

    Raises:
        ValueError: Their shape or dtype is wrong, or they are not finite.
    """
    if table.ndim != 2 or len(table) != texts or table.dtype != np.float32 or not np.isfinite(table).all():
        raise ValueError(f"dtype {table.dtype} and shape {table.shape} do not match {texts} label texts")
    return table


def _check_embeddings(encoder: str, table: np.ndarray) -> None:
    """Raise an `EmmsError` for label embeddings (U, D2) that cannot distinguish labels."""
    problem = None
    if not np.isfinite(table).all():
        problem = "returns NaN or infinite label embeddings; its weights may be damaged"
    elif len(table) > 1 and not np.ptp(table, axis=0).any():
        same = f"returns the same embedding for all {len(table)} label texts"
        problem = f"{same}: it may not know their language, or be damaged"
    if problem:
        raise _encoder_error(encoder, problem)


def _encoder_error(encoder: str, problem: str | Text) -> EmmsError:
    others = setting_ref("encoders", "base")
    if not encoder.startswith(DEMO_PREFIX):
        others += ", or " + setting_ref("encoders", "demo") + ", which ship with hf-emms"
    return EmmsError(f"the label encoder {encoder} " + problem, "choose another encoder: " + others)
