"""Checkpoints that sentence-transformers loads and runs itself, because hf_emms does not read all of their modules."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hf_emms.errors import EmmsError, Note
from hf_emms.features.checkpoint_files import PICKLED_NAME, SAFETENSORS_NAME, Weights, fetch_weights
from hf_emms.features.device import Batch, is_out_of_memory
from hf_emms.features.embedding_settings import NO_TRANSFORMER
from hf_emms.features.extractor import Extractor, FeatureReader
from hf_emms.features.feature_spec import LOAD_FAILURES, FeatureSpec, ReadCounts, without_kernels
from hf_emms.features.layers import JoinedLayers
from hf_emms.features.load import check_loadable, load_with_report, read_weights
from hf_emms.hub import fetch
from hf_emms.texts import install_command

# The default of `SentenceTransformer.encode` and `CrossEncoder.predict`.
_BATCH = 32
# Tokenizers without a limit have a maximum length of 1e30.
_NO_LIMIT = 1_000_000


def load_sentence_model(spec: FeatureSpec, device: torch.device, name: str, **options: Any) -> tuple[Any, FeatureSpec]:
    """Load the checkpoint as a class of sentence-transformers from local files, without code from its repository.

    Args:
        spec: How it is read; `FeatureSpec.parts` are named in messages.
        device: The device to run on.
        name: "SentenceTransformer" or "CrossEncoder".
        options: Further arguments of the class.

    Returns:
        The model, and the spec with notes on how it was read.

    Raises:
        EmmsError: sentence-transformers is not installed, or the checkpoint cannot be loaded or lacks weights.
    """
    if find_spec("sentence_transformers") is None:
        problem = f"{spec.repo.id} needs sentence-transformers, which is not installed: it has {spec.parts}"
        raise EmmsError("package-missing", problem, install_command("retrieval"))
    import sentence_transformers

    has_transformer = spec.config["model_type"] != NO_TRANSFORMER
    weights = fetch_weights(spec.repo, subfolder=spec.subfolder) if has_transformer else Weights(spec.model_folder)
    fetch(spec.repo, [f"*/{PICKLED_NAME if weights.pickled else SAFETENSORS_NAME}"])
    loading = {"dtype": getattr(torch, spec.dtype), "use_safetensors": not weights.pickled, **without_kernels(spec)}

    def load(folder: Path) -> Any:
        return getattr(sentence_transformers, name)(
            str(spec.folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs=loading,
            **options,
        )

    if has_transformer:
        check_loadable(spec, weights)
    model, notes = read_weights(spec, weights, load, f"model with {spec.parts}")
    if has_transformer:
        _check_complete(spec, weights, model.transformers_model)
    text = f"computed by {name} of sentence-transformers, because it has {spec.parts}"
    return model, replace(spec, notes=(*spec.notes, *notes, Note("sentence-transformers", text)))


def _check_complete(spec: FeatureSpec, weights: Weights, model: Any) -> None:
    """Raise an `EmmsError` if the transformer lacks weights. sentence-transformers leaves them random.

    It drops the report of its load, so the model is loaded once more in the same way.
    """

    def load(folder: Path) -> Any:
        return load_with_report(spec, weights, type(model), folder, config=model.config)

    (_, report), _ = read_weights(spec, weights, load)
    lacking = {*report["missing_keys"], *(name for name, *_ in report["mismatched_keys"])}
    random = sorted(name for name in lacking if not name.startswith("pooler."))
    if random:
        problem = f"{spec.repo.id} cannot be used: it has no weights for {random[0]}"
        raise EmmsError("weights-missing", problem, "check that config.json and weights belong together")


class SentenceModelReader(FeatureReader):
    """The base class of readers whose features a model of sentence-transformers computes from its inputs."""

    forwards = ()

    def __init__(self, model: Any, layers: JoinedLayers) -> None:
        self.layers, self.counts, self._model = layers, ReadCounts(), model

    def run(
        self, inputs: Sequence[Any], lengths: Sequence[int], call: Callable[..., Tensor], batch_size: int | None
    ) -> Iterator[Batch]:
        """Yield the results of `call` for batches of inputs, the longest first, and count the inputs as documents."""
        started, size, start = time.perf_counter(), batch_size or _BATCH, 0
        order = np.argsort(-np.array(lengths, np.int64), kind="stable")
        while start < len(order):
            positions = order[start : start + size]
            try:
                features = call([inputs[i] for i in positions], batch_size=size, convert_to_tensor=True)
            except RuntimeError as error:
                if size == 1 or not is_out_of_memory(error):
                    raise
                size //= 2
                continue
            yield positions, features
            start += size
        length = getattr(self._model, "max_seq_length", None) or 0
        limit = length if length < _NO_LIMIT else 0
        seconds = time.perf_counter() - started
        self.counts.add(ReadCounts(documents=len(inputs), document_seconds=seconds, limit=limit))


# ---- embeddings ------------------------------------------------------------------------------------------------------


def load_embedder(spec: FeatureSpec, device: torch.device, layers: tuple[str, ...]) -> Extractor:
    """Load the checkpoint as a reader of texts, or of searches, whose features are those of `SentenceTransformer`.

    Raises:
        EmmsError: See `load_sentence_model`; or its modules do not compute one vector per text.
    """
    summary = f"its embedding by sentence-transformers ({spec.parts})"
    joined = JoinedLayers(layers, spec.repo.id, summary)
    model, spec = load_sentence_model(spec, device, "SentenceTransformer")
    try:
        model.encode("a")
    except LOAD_FAILURES as error:
        problem = f"{spec.repo.id} with {spec.parts} does not embed texts: {type(error).__name__}: {error}"
        raise EmmsError("unsupported-modules", problem, "remove the checkpoint from the list") from error
    return Extractor(spec, model, _EncodedTexts(model, joined, spec))


class _EncodedTexts(SentenceModelReader):
    """The reader of texts, and of searches, whose queries and documents have prompts and tasks of their own."""

    def __init__(self, model: Any, layers: JoinedLayers, spec: FeatureSpec) -> None:
        super().__init__(model, layers)
        self._spec = spec

    def example(self) -> Sequence[Any]:
        return ["a"]

    def batches(self, inputs: Any, batch_size: int | None) -> Iterator[Batch]:
        spec, model, start = self._spec, self._model, 0
        if hasattr(inputs, "queries"):
            parts = [
                (inputs.queries, partial(model.encode_query, prompt=spec.query_prompt)),
                (inputs.documents, partial(model.encode_document, prompt=spec.document_prompt)),
            ]
        else:
            parts = [(inputs, partial(model.encode, prompt=spec.prompt))]
        for texts, encode in parts:
            for positions, features in self.run(texts, list(map(len, texts)), encode, batch_size):
                yield positions + start, features.float()
            start += len(texts)
