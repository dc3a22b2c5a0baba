"""Measure a reranker as it is: where it puts the documents that answer the queries of a sample."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from hf_emms.cache import Cache
from hf_emms.errors import EmmsError, pluralize, setting_ref
from hf_emms.features.device import choose_device, gather_batches
from hf_emms.features.feature_spec import FeatureInfo, FeatureSpec
from hf_emms.features.load import loading, quiet_transformers
from hf_emms.finetune.recipe import head_of
from hf_emms.heads import LabeledSplit
from hf_emms.heads.judged_search import collection_of, judgements_of
from hf_emms.heads.relevance_model import load_reranker
from hf_emms.heads.reranking import candidate_pairs, candidates_of
from hf_emms.options import RunOptions
from hf_emms.scoring.reranking import drawn_queries, reranked_places
from hf_emms.scoring.retrieval import SearchScores

if TYPE_CHECKING:
    from hf_emms.data import Sample


class RelevanceScorer:
    """A reranker with the queries and documents of a sample; it is loaded for the first measurement."""

    def __init__(self, plan: FeatureSpec, sample: Sample, options: RunOptions, cache: Cache) -> None:
        self._plan, self._sample, self._options, self._cache = plan, sample, options, cache
        self._result: tuple[SearchScores, FeatureInfo] | EmmsError | None = None
        self.notes: list[str] = []

    def reranked(self) -> SearchScores:
        """Return the search of some queries, see `scoring.reranking.Reranker`.

        Raises:
            EmmsError: the checkpoint cannot be loaded, has no trained output for relevance, or gives no numbers.
        """
        return self._measured()[0]

    def info(self) -> FeatureInfo:
        """Return the report about the checkpoint and the pairs that it read, without a width of features."""
        return self._measured()[1]

    def _measured(self) -> tuple[SearchScores, FeatureInfo]:
        if self._result is None:
            try:
                self._result = self._measure()
            except EmmsError as error:
                self._result = error
        if isinstance(self._result, EmmsError):
            raise self._result
        return self._result

    def _measure(self) -> tuple[SearchScores, FeatureInfo]:
        split = head_of(self._sample.task).label(self._sample, several=False)
        split = split.take(drawn_queries(split.groups))
        candidates, documents = candidates_of(split), len(collection_of(split).documents)
        scores, info = self._scores(split, candidates)
        scores, judgements = scores.reshape(candidates.shape), judgements_of(split)
        search = SearchScores.placed(
            judgements, split.groups, documents, partial(reranked_places, candidates, scores, judgements)
        )
        share = np.isfinite(search.places).mean()
        self.notes.append(
            f"it orders the first {pluralize(candidates.shape[1], 'document')} by BM25 of each of "
            f"{pluralize(len(split), 'query', 'queries')}: {share:.0%} of the relevant documents are among them"
        )
        return search, info

    def _scores(self, split: LabeledSplit, candidates: np.ndarray) -> tuple[np.ndarray, FeatureInfo]:
        """Return the output for each query with each of its candidates, float32 (n · c,), and the report."""
        pairs = candidate_pairs(split, candidates)
        with quiet_transformers():
            with loading():
                reranker = load_reranker(self._plan, choose_device(self._options.device), self._cache)
            with closing(reranker):
                scores = gather_batches(reranker.batches(pairs, batch_size=self._options.batch_size), len(pairs))[:, 0]
        if not np.isfinite(scores).all():
            raise EmmsError(
                f"{self._plan.repo.id}: its output for a pair is no number",
                setting_ref("dtype", "float32") + "; if it runs in that already, its weights are damaged",
            )
        return scores, msgspec.structs.replace(reranker.info(), width=0)
