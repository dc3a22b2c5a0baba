"""The head of rerankers: a checkpoint reads a query and a document together, and says whether it answers the query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.heads.baseline import ConstantBaseline
from hf_emms.heads.head import FeatureHead, FeatureNetwork
from hf_emms.heads.judged_search import JudgedSearch, collection_of, judgements_of, relevant_of, search_results
from hf_emms.heads.metrics import SearchResult
from hf_emms.heads.row import RowNetwork, RowOutputs
from hf_emms.heads.split import LabeledRows, LabeledSplit
from hf_emms.inputs import SENTENCE_PAIR, Modality, Pairs
from hf_emms.scoring.bm25 import first_documents
from hf_emms.scoring.reranking import CANDIDATES, reranked_places

# The documents that each relevant document is told from in training.
_NEGATIVES = 4


class RerankingHead(JudgedSearch, FeatureHead):
    """A head that orders the first 100 documents by BM25 anew, by an output for a query with a document.

    A checkpoint that has such an output, as rerankers have, keeps it.
    """

    auto_class = "AutoModelForSequenceClassification"
    is_measured_first = True
    library = "sentence-transformers"
    epochs = 2

    def count_rows(self, split: LabeledSplit) -> int:
        """Return how many pairs of a query and a document are trained on."""
        relevant, documents = np.bincount(relevant_of(split)[:, 0]), len(collection_of(split).documents)
        return int(np.minimum((1 + _NEGATIVES) * relevant, documents).sum())

    def count_inputs(self, split: LabeledSplit) -> int:
        return len(split) * min(CANDIDATES, len(collection_of(split).documents))

    def baseline(self, train: LabeledSplit, split: LabeledSplit) -> ConstantBaseline:
        """Return where the documents are that BM25 finds, before they are ordered anew."""
        candidates, relevant = candidates_of(split), relevant_of(split)
        order = np.tile(-np.arange(candidates.shape[1]), (len(candidates), 1))
        places = reranked_places(candidates, order, judgements_of(split), relevant)
        return ConstantBaseline("the order of BM25", search_results(relevant, places, len(split)))

    def arguments(self, references: Sequence[Any]) -> dict[str, Any]:
        return {"num_labels": 1, "problem_type": "regression"}

    def network(
        self, plan: FeatureSpec, kind: Modality, model: Any, references: Sequence[Any], *, has_head: bool
    ) -> FeatureNetwork:
        if not has_head:
            raise EmmsError(
                f"{plan.repo.id} cannot become a reranker: transformers has no classifier of texts for its family",
                "choose another checkpoint",
            )
        return _RerankingNetwork(plan, SENTENCE_PAIR, model, _relevance())

    def opening(self, place: str) -> str:
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
    """A network that is trained by binary cross-entropy on relevant documents, and on others that BM25 finds."""

    def rows(self, split: LabeledSplit, labelled: bool) -> LabeledRows:
        if labelled:
            rows, documents, grades = self.once("pairs", split, _training_pairs).T
            labels = {"labels": self._outputs.labels((grades > 0).tolist())}
        else:
            rows, documents = _candidate_rows(self.once("candidates", split, candidates_of))
            labels = {}
        pairs = _pairs(split, rows, documents)
        # Token by token they would not fit into memory together.
        return LabeledRows(lambda numbers: self._read(pairs, numbers), labels, len(pairs))

    def predictions(self, outputs: Any, split: LabeledSplit) -> list[SearchResult]:
        candidates = self.once("candidates", split, candidates_of)
        scores, relevant = outputs.reshape(candidates.shape), relevant_of(split)
        places = reranked_places(candidates, scores, judgements_of(split), relevant)
        return search_results(relevant, places, len(split))

    def loss(self, outputs: Any, split: LabeledSplit) -> None:
        return None

    def _read(self, pairs: Pairs, numbers: np.ndarray) -> Any:
        return self.read(self._reader, pairs, numbers)(np.arange(len(numbers)))


def candidates_of(split: LabeledSplit) -> np.ndarray:
    """Return the first documents for each of n queries by BM25, int64 (n, 100); fewer where there are not as many."""
    collection = collection_of(split)
    queries = [collection.queries[query] for query in split.input_of_row.tolist()]
    return first_documents(queries, collection.documents, judgements_of(split))


def candidate_pairs(split: LabeledSplit, candidates: np.ndarray) -> Pairs:
    """Return each query with each of its candidates, (n, c), in their order."""
    return _pairs(split, *_candidate_rows(candidates))


def _candidate_rows(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(len(candidates)), candidates.shape[1]), candidates.ravel()


def _pairs(split: LabeledSplit, rows: np.ndarray, documents: np.ndarray) -> Pairs:
    collection = collection_of(split)
    parts = np.column_stack([split.input_of_row[rows], documents])
    return Pairs(collection.queries, collection.documents, parts)


def _training_pairs(split: LabeledSplit) -> np.ndarray:
    """Return row, document and grade, int64 (P, 3): those that are relevant, and others for each.

    The others are those that were judged not to be relevant, then the first by BM25 that were not judged.
    """
    pairs = []
    for row, (judged, first) in enumerate(zip(split.references, candidates_of(split).tolist(), strict=True)):
        relevant = [(row, document, grade) for document, grade in judged if grade > 0]
        known_documents = {document for document, _ in judged}
        others = [document for document, grade in judged if grade == 0]
        others += [document for document in first if document not in known_documents]
        pairs += [*relevant, *((row, document, 0) for document in others[: _NEGATIVES * len(relevant)])]
    return np.array(pairs)
