"""Rerankers as they are: a checkpoint with a trained output for a query with a document."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from hf_emms.cache import NO_CACHE, Cache
from hf_emms.errors import EmmsError, setting_ref, setting_refs
from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.device import Batch, prepare_for_cpu
from hf_emms.features.extractor import Extractor
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, ReadCounts, load_error
from hf_emms.features.layers import JoinedLayers
from hf_emms.features.load import check_size
from hf_emms.heads.modules import class_with_head, from_pretrained, without_weights
from hf_emms.heads.reranking import RerankingHead
from hf_emms.inputs.sentence_pair import TOKEN_TYPES, JointReader, SegmentReader
from hf_emms.inputs.text import load_training_texts
from hf_emms.inputs.text_pair import text_pair_reader
from hf_emms.options import LAST

_SUMMARY = "its output for a query with a document, read together"


def load_reranker(plan: FeatureSpec, device: torch.device, cache: Cache = NO_CACHE) -> Extractor:
    """Return the checkpoint as a reader of `Pairs`, each a query with a document, whose feature is its output, (b, 1).

    Pairs are cut at as many tokens as `CrossEncoder` of sentence-transformers reads.

    Raises:
        EmmsError: it cannot be loaded, or has no trained output for relevance, or several.
    """
    loader = class_with_head(plan, RerankingHead.auto_class)
    if loader is None:
        raise _no_output(plan, "transformers has no classifier of texts for its family")
    if plan.base is not None:
        raise _no_output(plan, "it is an adapter, whose classifier is not read: model.merge_and_unload() joins both")
    weights = fetch_weights(plan.weights_repo, subfolder=plan.subfolder)
    try:
        check_size(plan, weights)
        model, report = from_pretrained(plan, loader, weights, getattr(torch, plan.dtype))
    except EmmsError:
        raise
    except LOAD_FAILURES as error:
        raise load_error(plan, "weights", error) from error
    untrained = without_weights(report)
    if untrained:
        prefix = f"{model.base_model_prefix}."
        missing = min(untrained, key=lambda name: (name.startswith(prefix), name))
        raise _no_output(plan, f"it has no weights for {missing}, the output that a reranker is trained to give")
    if model.config.num_labels != 1:
        raise _no_output(plan, f"its classifier has {model.config.num_labels} outputs, and that of a reranker has one")
    text = load_training_texts(plan, model, max_length=None)
    model = model.to(device).eval()
    if device.type == "cpu":
        prepare_for_cpu(model, channels_last=False)
    pair = text_pair_reader(model, text)
    if TOKEN_TYPES not in text.tokenizer.model_input_names:
        pair = replace(pair, types=None)  # CrossEncoder gives a model what its tokenizer lists
    reader = SegmentReader(pair)
    notes = [("pairs", note) for note in reader.notes]
    layers = JoinedLayers((LAST,), plan.repo.id, _SUMMARY)
    return Extractor(replace(plan, notes=(*plan.notes, *notes)), model, _RelevanceReader(model, reader, layers))


class _RelevanceReader(JointReader):
    """The reader whose feature is the output of a model for a pair; it counts documents, and tells how fast."""

    def __init__(self, model: Any, reader: SegmentReader, layers: JoinedLayers) -> None:
        super().__init__(lambda inputs: model(**inputs).logits.float(), model, reader, layers)

    def batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        started = time.perf_counter()
        yield from super().batches(inputs, batch_size)
        seconds, limit = time.perf_counter() - started, self._reader.pair.text.max_length
        self.counts.add(ReadCounts(documents=len(inputs), document_seconds=seconds, limit=limit))


def _no_output(plan: FeatureSpec, reason: str) -> EmmsError:
    hint = "fine-tuning gives it such an output: " + setting_refs(
        setting_ref("estimators", "emms"), setting_ref("confirm", 1)
    )
    return EmmsError(f"{plan.repo.id} orders no documents before fine-tuning: {reason}", hint)
