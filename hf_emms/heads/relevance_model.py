"""Rerankers without fine-tuning: checkpoints with a trained output for a query with a document."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from hf_emms.errors import EmmsError, setting_ref, setting_refs
from hf_emms.features.device import Batch, prepare_for_cpu
from hf_emms.features.extractor import Extractor
from hf_emms.features.feature_spec import FeatureSpec, ReadCounts
from hf_emms.features.layers import JoinedLayers
from hf_emms.heads.cross_encoder import load_cross_encoder
from hf_emms.heads.modules import class_with_head, load_pretrained
from hf_emms.heads.reranking import RerankingHead
from hf_emms.inputs.sentence_pair import JointReader
from hf_emms.inputs.text import load_training_texts
from hf_emms.inputs.text_pair import TOKEN_TYPES, TextPairReader, text_pair_reader
from hf_emms.options import LAST

_SUMMARY = "its output for a query with a document, read together"


def load_reranker(spec: FeatureSpec, device: torch.device) -> Extractor:
    """Load the checkpoint as a reader of `Pairs` of a query and a document, whose feature is its output, (b, 1).

    Pairs are truncated to the length that `CrossEncoder` of sentence-transformers reads.

    Raises:
        EmmsError: It cannot be loaded, or has no trained output for relevance, or several.
    """
    layers = JoinedLayers((LAST,), spec.repo.id, _SUMMARY)
    if spec.reranker_parts:
        return load_cross_encoder(spec, device, layers)
    loader = class_with_head(spec, RerankingHead.auto_class)
    if loader is None:
        raise _no_output(spec, "transformers has no text classifier for its family")
    model, missing, mismatched = load_pretrained(spec, loader, getattr(torch, spec.dtype))
    if missing or mismatched:
        prefix = f"{model.base_model_prefix}."
        name = min(missing | mismatched, key=lambda name: (name.startswith(prefix), name))
        raise _no_output(spec, f"it has no weights for {name}, which computes the output")
    if model.config.num_labels != 1:
        raise _no_output(spec, f"its classifier has {model.config.num_labels} outputs instead of 1")
    text = load_training_texts(spec, model, max_length=None)
    model = model.to(device).eval()
    if device.type == "cpu":
        prepare_for_cpu(model, channels_last=False)
    reader = text_pair_reader(model, text, line_break=False)
    if TOKEN_TYPES not in text.tokenizer.model_input_names:
        reader = replace(reader, types=None)  # as in CrossEncoder
    return Extractor(spec, model, _RelevanceReader(model, reader, layers))


class _RelevanceReader(JointReader):
    """The reader whose feature is the output of a model for a pair. It counts documents and measures their speed."""

    def __init__(self, model: Any, reader: TextPairReader, layers: JoinedLayers) -> None:
        super().__init__(lambda inputs: model(**inputs).logits.float(), model, reader, layers)

    def batches(self, inputs: Sequence[Any], batch_size: int | None) -> Iterator[Batch]:
        started = time.perf_counter()
        yield from super().batches(inputs, batch_size)
        seconds, limit = time.perf_counter() - started, self._reader.text.max_length
        self.counts.add(ReadCounts(documents=len(inputs), document_seconds=seconds, limit=limit))


def _no_output(spec: FeatureSpec, reason: str) -> EmmsError:
    hint = "fine-tune it for this output: " + setting_refs(setting_ref("estimators", "emms"), setting_ref("confirm", 1))
    return EmmsError(f"{spec.repo.id} cannot rerank documents before fine-tuning: {reason}", hint)
