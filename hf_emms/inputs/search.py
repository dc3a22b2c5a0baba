"""Queries and the documents that are searched: checkpoints embed both, each with its own prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


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
