"""Queries and the documents that are searched: checkpoints embed both, each with its own prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_emms.inputs.text import TEXT, TextFeatures, TokenizedKind, text_reader

if TYPE_CHECKING:
    from hf_emms.features.load import LoadedModel


@dataclass(frozen=True)
class SearchCollection(Sequence):
    """Queries, the corpus that they search, and judgements; as a sequence its texts, the queries first.

    Attributes:
        queries: the Q distinct texts of queries.
        documents: the M distinct texts of the corpus.
        judgements: int64, shape (J, 3): the number of a query, of a document, and the grade of its relevance, 0 for a
            document that was judged and is not relevant (a hard negative). A pair stands once; all other pairs have
            grade 0.
    """

    queries: Sequence[str]
    documents: Sequence[str]
    judgements: np.ndarray

    def __len__(self) -> int:
        return len(self.queries) + len(self.documents)

    def __getitem__(self, index: Any) -> Any:
        """Return a text; for a slice, the collection of its texts without judgements."""
        queries = len(self.queries)
        if isinstance(index, slice):
            start, stop, _ = index.indices(len(self))
            first = slice(max(start - queries, 0), max(stop - queries, 0))
            return SearchCollection(
                self.queries[start:stop], self.documents[first], np.empty((0, 3), self.judgements.dtype)
            )
        index = range(len(self))[index]
        return self.queries[index] if index < queries else self.documents[index - queries]


class _Search(TokenizedKind):
    def feature_reader(
        self, loaded: LoadedModel, processors: Any, layers: tuple[str, ...], *, spans: bool
    ) -> TextFeatures:
        from hf_emms.features.layers import plan_layers

        reader = text_reader(loaded.plan, loaded.model, processors)
        return TextFeatures(loaded.model, reader, plan_layers(loaded, layers))


SEARCH = _Search(
    name="search",
    singular="text",
    plural="texts",
    is_collection=True,
    fallback_pooling=TEXT.fallback_pooling,
    fallback_summary=TEXT.fallback_summary,
    sentence_settings=TEXT.sentence_settings,
    cpu_seconds=TEXT.cpu_seconds,
)
