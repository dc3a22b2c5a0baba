"""The head of rerankers: a checkpoint reads a query and a document together, and predicts the document's relevance."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.extractor import Extractor
from hf_emms.features.feature_spec import FeatureSpec, ReadCounts, without_kernels
from hf_emms.heads.head import FeatureHead, FeatureNetwork
from hf_emms.heads.judged_search import JudgedSearch, collection_of, judgments_of, relevant_of, search_results
from hf_emms.heads.metrics import SearchResult
from hf_emms.heads.row import RowNetwork, RowOutputs
from hf_emms.heads.split import BatchedRows, ConstantBaseline, LabeledSplit
from hf_emms.inputs import Modality, Pairs
from hf_emms.inputs.text import TOKEN_TYPES, load_training_texts
from hf_emms.inputs.text_pair import JointReader, TextPairReader, text_pair_reader
from hf_emms.options import LAST
from hf_emms.scoring.bm25 import first_documents
from hf_emms.scoring.reranking import CANDIDATES, reranked_places
from hf_emms.texts import setting_ref, setting_refs

if TYPE_CHECKING:
    import torch

    from hf_emms.features.device import Batch
    from hf_emms.features.layers import JoinedLayers

# Training pairs with documents that are not relevant, per relevant document.
_NEGATIVES = 4


class RerankingHead(JudgedSearch, FeatureHead):
    """A head that reorders the first 100 documents by BM25, by an output for a query with a document.

    Rerankers keep their own output.
    """

    auto_class = "AutoModelForSequenceClassification"
    is_measured_first = True
    library = "sentence-transformers"
    epochs = 2

    def why_not(self, spec: FeatureSpec) -> str | None:
        if not spec.reranker_parts:
            return None
        return f"it has {spec.reranker_parts}: fine-tune it with CrossEncoderTrainer of sentence-transformers"

    def count_rows(self, split: LabeledSplit) -> int:
        """Return the number of training pairs of a query and a document."""
        relevant, documents = np.bincount(relevant_of(split)[:, 0]), len(collection_of(split).documents)
        return int(np.minimum((1 + _NEGATIVES) * relevant, documents).sum())

    def count_inputs(self, split: LabeledSplit) -> int:
        return len(split) * min(CANDIDATES, len(collection_of(split).documents))

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        """Keep the order of BM25."""
        candidates = candidates_of(split)
        order = np.tile(-np.arange(candidates.shape[1]), (len(candidates), 1))
        return ConstantBaseline("the order of BM25", _reranked(split, candidates, order))

    def arguments(self, references: Sequence[Any]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def network(
        self, spec: FeatureSpec, modality: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        if not has_head:
            raise EmmsError(
                "no-head",
                f"{spec.repo.id} cannot become a reranker: transformers has no text classifier for its family",
                "choose another checkpoint",
            )
        return _RerankingNetwork(spec, modality, model, _relevance())

    def loading_code(self, place: str) -> str:
        return (
            f"from sentence_transformers import CrossEncoder\n\nmodel = CrossEncoder({place!r})\n"
            "model.rank(query, [document, ...])"
        )


def _relevance() -> RowOutputs:
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    return RowOutputs(
        1,
        labels=lambda values: torch.tensor(values, dtype=torch.float32),
        loss=lambda outputs, labels: binary_cross_entropy_with_logits(outputs.flatten(), labels),
        predictions=lambda outputs: outputs.flatten().tolist(),
    )


class _RerankingNetwork(RowNetwork):
    """A network trained with the cross-entropy of relevant documents (1) and of other documents that BM25 finds (0)."""

    def rows(self, split: LabeledSplit, labeled: bool) -> BatchedRows:
        if labeled:
            rows, documents, grades = self.cached_for_split("pairs", split, _training_pairs).T
            pairs = _pairs(split, rows, documents)
            labels = {"labels": self._outputs.labels((grades > 0).tolist())}
        else:
            pairs = candidate_pairs(split, self.cached_for_split("candidates", split, candidates_of))
            labels = {}

        # Each batch is tokenized on its own, because all pairs would not fit into memory.
        def read(numbers: np.ndarray) -> Any:
            return self.read(self._reader, pairs, numbers)(np.arange(len(numbers)))

        return BatchedRows(read, labels, len(pairs))

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[SearchResult]:
        candidates = self.cached_for_split("candidates", split, candidates_of)
        return _reranked(split, candidates, outputs.reshape(candidates.shape))

    def opened(self, folder: Path, split: LabeledSplit, device: torch.device) -> Callable[[np.ndarray], np.ndarray]:
        import torch
        from sentence_transformers import CrossEncoder

        model = CrossEncoder(
            str(folder),
            device=str(device),
            activation_fn=torch.nn.Identity(),
            model_kwargs=without_kernels(self._spec),
        )
        pairs = candidate_pairs(split, self.cached_for_split("candidates", split, candidates_of))
        return lambda numbers: model.predict([pairs[number] for number in numbers])[:, None]

    def loss(self, outputs: Any, split: LabeledSplit) -> None:
        return None


def candidates_of(split: LabeledSplit) -> np.ndarray:
    """Return the first documents by BM25 for each of n queries, int64 (n, 100) or fewer."""
    collection = collection_of(split)
    queries = [collection.queries[query] for query in split.input_of_row.tolist()]
    return first_documents(queries, collection.documents, judgments_of(split))


def candidate_pairs(split: LabeledSplit, candidates: np.ndarray) -> Pairs:
    """Return each query with each of its candidates, (n, c), in their order."""
    return _pairs(split, np.repeat(np.arange(len(candidates)), candidates.shape[1]), candidates.ravel())


def _pairs(split: LabeledSplit, rows: np.ndarray, documents: np.ndarray) -> Pairs:
    collection = collection_of(split)
    parts = np.column_stack([split.input_of_row[rows], documents])
    return Pairs(collection.queries, collection.documents, parts)


def _reranked(split: LabeledSplit, candidates: np.ndarray, scores: np.ndarray) -> list[SearchResult]:
    """Return the result of each query if its candidates are ordered by scores, (n, c)."""
    relevant = relevant_of(split)
    ranks = reranked_places(candidates, scores, judgments_of(split), relevant)
    return search_results(relevant, ranks, len(split))


def _training_pairs(split: LabeledSplit) -> np.ndarray:
    """Return row, document and grade, int64 (P, 3), of relevant documents, and of other documents for each of them.

    Documents that are judged not relevant come first, then the first documents by BM25 that are not judged.
    """
    pairs = []
    for row, (judged, first) in enumerate(zip(split.references, candidates_of(split).tolist(), strict=True)):
        relevant = [(row, document, grade) for document, grade in judged if grade > 0]
        known_documents = {document for document, _ in judged}
        others = [document for document, grade in judged if grade == 0]
        others += [document for document in first if document not in known_documents]
        pairs += [*relevant, *((row, document, 0) for document in others[: _NEGATIVES * len(relevant)])]
    return np.array(pairs)


# ---- rerankers without fine-tuning -----------------------------------------------------------------------------------


def load_reranker(spec: FeatureSpec, device: torch.device) -> Extractor:
    """Load the checkpoint as a reader of `Pairs` of a query and a document, whose feature is its output, (b, 1).

    Pairs are truncated to the length that `CrossEncoder` of sentence-transformers reads.

    Raises:
        EmmsError: It cannot be loaded, or has no trained output for relevance, or several.
    """
    import torch

    from hf_emms.features.device import prepare_for_cpu
    from hf_emms.features.layers import JoinedLayers
    from hf_emms.heads.modules import class_with_head, load_pretrained

    layers = JoinedLayers((LAST,), spec.repo.id, "its output for a query with a document, read together")
    if spec.reranker_parts:
        from hf_emms.heads.cross_encoder import load_cross_encoder

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
    return EmmsError("no-trained-output", f"{spec.repo.id} cannot rerank documents before fine-tuning: {reason}", hint)
