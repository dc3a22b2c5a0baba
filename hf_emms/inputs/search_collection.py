"""Queries and the documents that they search. Checkpoints embed both, with a prompt for each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.features.feature_spec import FeatureSpec, ReadCounts
from hf_emms.inputs.modality import TrainingReader
from hf_emms.inputs.sentence_pair import SENTENCE_PAIR, pair_training_reader
from hf_emms.inputs.text import (
    EMBEDDING_SETTINGS,
    TEXT,
    EmbeddedModality,
    TextFeatures,
    text_batches,
    text_reader,
    with_token_types,
)

if TYPE_CHECKING:
    from hf_emms.features.device import Batch
    from hf_emms.features.layers import LayerReader
    from hf_emms.features.load import LoadedModel
    from hf_emms.inputs.text import TextReader


@dataclass(frozen=True)
class SearchCollection(Sequence):
    """Queries, their corpus and relevance judgments. As a sequence, it contains the queries, then the documents.

    Attributes:
        queries: The Q distinct queries.
        documents: The M distinct documents of the corpus.
        judgments: int64 (J, 3), the number of a query, the number of a document, and the grade of its relevance. A
            grade of 0 is a judged document that is not relevant (a hard negative). A negative grade excludes the
            document from the search, because it is the query itself. Pairs are distinct; all other pairs have grade 0.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    judgments: np.ndarray

    def __len__(self) -> int:
        return len(self.queries) + len(self.documents)

    def __getitem__(self, index: Any) -> Any:
        """Return a text. For a slice, return the collection of its texts, without judgments."""
        queries = len(self.queries)
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            first = slice(max(start - queries, 0), max(stop - queries, 0))
            return SearchCollection(
                self.queries[start:stop], self.documents[first], np.empty((0, 3), self.judgments.dtype)
            )
        index = range(len(self))[index]
        return self.queries[index] if index < queries else self.documents[index - queries]


class SearchFeatures(TextFeatures):
    """The `FeatureReader` of a `SearchCollection`, with a prompt for queries and a prompt for documents."""

    def __init__(
        self, model: Any, reader: TextReader, layers: LayerReader, query_prompt: str, document_prompt: str
    ) -> None:
        super().__init__(model, reader, layers)
        self._prompts = query_prompt, document_prompt

    def batches(self, search: Any, batch_size: int | None) -> Iterator[Batch]:
        for part, start, prompt in zip(
            (search.queries, search.documents), (0, len(search.queries)), self._prompts, strict=True
        ):
            started = time.perf_counter()
            for positions, features in text_batches(self._reader, part, self._forward, batch_size, self.counts, prompt):
                yield positions + start, features
        seconds, limit = time.perf_counter() - started, self._reader.max_length
        self.counts.add(ReadCounts(documents=len(search.documents), document_seconds=seconds, limit=limit))

    def example(self) -> Sequence[Any]:
        return SearchCollection((), super().example(), np.empty((0, 3), np.int64))


class _Search(EmbeddedModality):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> SearchFeatures:
        from hf_emms.features.layers import make_layer_reader

        spec = loaded.spec
        reader = with_token_types(text_reader(spec, loaded.model, processors), loaded.model)
        # Similarity is only meaningful for the checkpoint's own embedding, not for hidden layers.
        states = make_layer_reader(loaded, layers, spreads=False)
        return SearchFeatures(loaded.model, reader, states, spec.query_prompt, spec.document_prompt)


class _RerankedSearch(_Search):
    """The search of checkpoints that read a query and a document together, without prompts and similarity."""

    def training_reader(self, spec: FeatureSpec, model: Any) -> TrainingReader:
        reader = pair_training_reader(spec, model, line_break=False)  # as in CrossEncoder
        for tokenizer in reader.processors:
            tokenizer.chat_template = None  # CrossEncoder would apply it to the saved model
        return reader


SEARCH = _Search(
    name="search",
    singular="text",
    plural="texts",
    is_collection=True,
    fallback_pooling=TEXT.fallback_pooling,
    fallback_summary=TEXT.fallback_summary,
    sentence_settings=(*EMBEDDING_SETTINGS, "embedder_parts", "query_prompt", "document_prompt", "similarity"),
    cpu_seconds=TEXT.cpu_seconds,
    text_bytes=TEXT.text_bytes,
)
RERANKED_SEARCH = _RerankedSearch(
    name="reranked-search",
    singular="query with a document",
    plural="queries with documents",
    is_collection=True,
    fallback_pooling=TEXT.fallback_pooling,
    fallback_summary=TEXT.fallback_summary,
    sentence_settings=(*EMBEDDING_SETTINGS, "reranker_parts"),
    cpu_seconds=SENTENCE_PAIR.cpu_seconds,
    text_bytes=SENTENCE_PAIR.text_bytes,
)
