"""Rerankers with modules, a chat template or a default prompt: scored by `CrossEncoder` of sentence-transformers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from hf_emms.errors import EmmsError, Note
from hf_emms.features.checkpoint_files import SAFETENSORS_NAME, fetch_weights
from hf_emms.features.device import Batch, is_out_of_memory
from hf_emms.features.extractor import Extractor, FeatureReader
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, ReadCounts, load_error
from hf_emms.features.layers import JoinedLayers
from hf_emms.features.load import check_size
from hf_emms.heads.modules import load_pretrained
from hf_emms.hub import fetch
from hf_emms.inputs.modality import Pairs
from hf_emms.texts import install_command

# The default of `CrossEncoder.predict`.
_BATCH = 32
# Tokenizers without a limit have a maximum length of 1e30.
_NO_LIMIT = 1_000_000


def load_cross_encoder(spec: FeatureSpec, device: torch.device, layers: JoinedLayers) -> Extractor:
    """Load the checkpoint as a reader of `Pairs` whose feature is the output of `CrossEncoder.predict`, (b, 1).

    It is loaded from local safetensors, without code from its repository.

    Raises:
        EmmsError: sentence-transformers is not installed, or the checkpoint cannot be loaded, lacks weights or has
            several outputs.
    """
    if find_spec("sentence_transformers") is None:
        problem = f"{spec.repo.id} needs sentence-transformers, which is not installed: it has {spec.reranker_parts}"
        raise EmmsError("package-missing", problem, install_command("retrieval"))
    from sentence_transformers import CrossEncoder

    weights = fetch_weights(spec.repo, subfolder=spec.subfolder)
    if weights.pickled:
        problem = f"{spec.repo.id} has {spec.reranker_parts}, and its weights are pickled"
        raise EmmsError(
            "pickled-weights", problem, "save it as safetensors: CrossEncoder(FOLDER).save_pretrained(NEW_FOLDER)"
        )
    fetch(spec.repo, [f"*/{SAFETENSORS_NAME}"])
    dtype = getattr(torch, spec.dtype)
    check_size(spec, weights)
    try:
        model: Any = CrossEncoder(
            str(spec.folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=False,
            activation_fn=torch.nn.Identity(),
            model_kwargs={"dtype": dtype, "use_safetensors": True},
        )
    except LOAD_FAILURES as error:
        raise load_error(spec, "modules", error) from error
    # CrossEncoder does not report missing weights, which are random.
    _, missing, mismatched = load_pretrained(spec, type(model.transformers_model), dtype, device_map="meta")
    random = sorted(name for name in missing | mismatched if not name.startswith("pooler."))
    if random:
        problem = f"{spec.repo.id} cannot rerank documents: it has no weights for {random[0]}"
        raise EmmsError("weights-missing", problem, "check that config.json and weights belong together")
    if model.num_labels != 1:
        problem = f"{spec.repo.id} cannot rerank documents: it has {model.num_labels} outputs instead of 1"
        raise EmmsError("several-outputs", problem, "choose another checkpoint")
    text = f"Scored by CrossEncoder of sentence-transformers, because it has {spec.reranker_parts}."
    spec = replace(spec, notes=(*spec.notes, Note("cross-encoder", text)))
    return Extractor(spec, model, _PredictedPairs(model, layers))


class _PredictedPairs(FeatureReader):
    """A reader of pairs whose feature is the output of `CrossEncoder.predict`."""

    forwards = ()

    def __init__(self, model: Any, layers: JoinedLayers) -> None:
        self.layers, self.counts, self._model = layers, ReadCounts(), model

    def example(self) -> Sequence[Any]:
        return Pairs(["a"], ["a"], np.zeros((1, 2), np.int64))

    def batches(self, inputs: Pairs, batch_size: int | None) -> Iterator[Batch]:
        started, size, start = time.perf_counter(), batch_size or _BATCH, 0
        pairs = [(inputs.firsts[first], inputs.seconds[second]) for first, second in inputs.parts.tolist()]
        order = np.argsort([-len(first) - len(second) for first, second in pairs])
        while start < len(order):
            positions = order[start : start + size]
            try:
                scores = self._model.predict([pairs[i] for i in positions], batch_size=size, convert_to_tensor=True)
            except RuntimeError as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                size //= 2
                continue
            yield positions, scores[:, None]
            start += size
        length = self._model.max_seq_length or 0
        limit = length if length < _NO_LIMIT else 0
        seconds = time.perf_counter() - started
        self.counts.add(ReadCounts(documents=len(pairs), document_seconds=seconds, limit=limit))
