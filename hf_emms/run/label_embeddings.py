"""Embed label texts (F-labels in the EMMS paper) with the same code as texts for features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hf_emms.cache import Key, cache_key, digest_of
from hf_emms.errors import EmmsError, Text, checkpoint_errors, pluralize, setting_ref
from hf_emms.features.extractor import ExtractorPool, pool_or_own
from hf_emms.features.feature_spec import device_in_keys, plan_extraction
from hf_emms.hub import Repo, check_unchanged
from hf_emms.inputs import TEXT
from hf_emms.options import RunOptions
from hf_emms.options.registry import versions
from hf_emms.presets.demo import DEMO_PREFIX
from hf_emms.ranking.progress import LOADING, noted_while
from hf_emms.run.plan import RankingPlan
from hf_emms.run.worker import Emit, WorkerError, borrowed_worker, runs_in_worker
from hf_emms.scoring.labels import LabelTable

if TYPE_CHECKING:
    from hf_emms.features.extractor import Extractor

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
        return TEXT.load_extractor(plan, device=device, allow_pickle=allow_pickle)

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
        embeddings = _embeddings(plan)
    tables = [sample.label_embeddings(of_texts) for of_texts in embeddings]
    if sample.label_numbers is not None:
        tables.append(sample.label_numbers)
    if not tables:  # no estimator uses embeddings; moments need some labels
        tables.append(np.arange(len(sample.label_texts), dtype=np.float32)[:, None])
    texts = sample.label_texts if sample.soft_labels is None else ()
    return LabelTable(sample.codes, tuple(tables), label_names(plan), texts, sample.categorical)


def label_names(plan: RankingPlan) -> tuple[str, ...]:
    numbers = () if plan.sample.label_numbers is None else (plan.sample.numbers_name,)
    return (*(encoder.id for encoder in plan.encoders), *numbers)


def _embeddings(plan: RankingPlan) -> Iterator[np.ndarray]:
    for encoder in plan.encoders:
        for result in embed_labels_with(encoder, [plan]):
            if isinstance(result, EmmsError):
                raise result
            yield result


def embed_labels_with(encoder: Repo, plans: Sequence[RankingPlan]) -> Iterator[np.ndarray | EmmsError]:
    """Yield an encoder's embeddings of each sample's U distinct label texts, float32 (U, D2), or an error for it.

    The encoder is loaded once for all samples, and only if the cache lacks the embeddings of one.
    """
    embedded: dict[str, np.ndarray | EmmsError] = {}
    missing: dict[str, RankingPlan] = {}
    digests = []
    for plan in plans:
        texts = plan.sample.label_texts
        key = labels_key(encoder, texts, plan.options.running)
        digests.append(digest_of(key))
        if digests[-1] not in embedded and digests[-1] not in missing:
            stored = plan.session.cache.get(key, partial(_checked_embeddings, texts=len(texts)))
            if stored is None:
                missing[digests[-1]] = plan
            else:
                embedded[digests[-1]] = stored
    with closing(_computed(encoder, list(missing.values()))) as results:
        for digest in digests:
            if digest not in embedded:
                try:
                    embedded[digest] = _embed(encoder, missing[digest], results)
                except EmmsError as error:
                    embedded[digest] = error
            yield embedded[digest]


def _embed(encoder: Repo, plan: RankingPlan, results: Iterator[np.ndarray | EmmsError]) -> np.ndarray:
    """Return the next result, the plan's embeddings, and store it in the cache."""
    texts, progress = plan.sample.label_texts, plan.session.progress
    doing = f"embedding {pluralize(len(texts), 'label text')} with {encoder.id}"
    progress.noted(doing)
    try:
        with noted_while(progress, doing), checkpoint_errors():
            result = next(results)
            if isinstance(result, EmmsError):
                raise result
            check_unchanged(encoder)
    except EmmsError as error:
        raise _encoder_error(encoder.id, "cannot be used: " + error.problem) from error
    _check_embeddings(encoder.id, result)
    plan.session.cache.put(labels_key(encoder, texts, plan.options.running), {"embeddings": result})
    return result


def _computed(encoder: Repo, plans: Sequence[RankingPlan]) -> Generator[np.ndarray | EmmsError, None, None]:
    """Yield the embeddings of each plan's label texts, or an error. If the worker ends, one plan has an error."""
    requests = [(place, plan.sample.label_texts, plan.options.running) for place, plan in enumerate(plans)]

    def receive(event: tuple[int, str]) -> None:
        place, note = event
        plans[place].session.progress.noted(note)

    if not runs_in_worker():
        for plan in plans[:1]:
            with noted_while(plan.session.progress, LOADING):
                import hf_emms.features.device  # noqa: F401 (torch)
        yield from embed_job(receive, encoder, requests)
        return
    done = 0
    while done < len(plans):
        try:
            with borrowed_worker(plans[done].options.stall_limit) as worker:
                for result in worker.run(embed_job, encoder, requests[done:], on_event=receive):
                    done += 1
                    yield result
        except WorkerError as error:
            done += 1
            yield error


def embed_job(
    emit: Emit, encoder: Repo, requests: Sequence[tuple[int, Sequence[str], RunOptions]]
) -> Iterator[np.ndarray | EmmsError]:
    """Yield an encoder's embeddings for each request, or an error; a job for `Worker.run`.

    A request is its place, which is emitted with each note, the texts and the options.
    """
    with closing(ExtractorPool()) as pool:
        for place, texts, options in requests:
            result: np.ndarray | EmmsError
            try:
                with checkpoint_errors():
                    result = embed_texts(
                        encoder,
                        texts,
                        device=options.device,
                        allow_pickle=options.allow_pickle,
                        trust_remote_code=options.trust_remote_code,
                        on_note=lambda note, place=place: emit((place, note)),  # type: ignore[misc]
                        pool=pool,
                    )
            except EmmsError as error:
                result = error
            yield result


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


def _encoder_error(encoder: str, problem: str | Text) -> EmmsError:
    others = setting_ref("encoders", "base")
    if not encoder.startswith(DEMO_PREFIX):
        others += ", or " + setting_ref("encoders", "demo") + ", which ship with hf-emms"
    return EmmsError(f"the label encoder {encoder} " + problem, "choose another encoder: " + others)
