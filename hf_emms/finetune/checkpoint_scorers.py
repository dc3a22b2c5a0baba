"""Measure what a checkpoint itself gives for a sample, for the estimators that need more than its features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hf_emms.cache import Cache
from hf_emms.features.feature_spec import FeatureInfo, FeatureSpec
from hf_emms.finetune.relevance_scorer import RelevanceScorer
from hf_emms.finetune.response_scorer import ResponseScorer
from hf_emms.finetune.transcriber import Transcriber
from hf_emms.options import RunOptions
from hf_emms.scoring.retrieval import SearchScores

if TYPE_CHECKING:
    from hf_emms.data import Sample


class CheckpointScorers:
    """A `CheckpointModel` that loads a language model, an ASR model or a reranker for the first measurement."""

    def __init__(self, plan: FeatureSpec, sample: Sample, options: RunOptions, seed: int, cache: Cache) -> None:
        self.groups = sample.groups
        self._responses = ResponseScorer(plan, sample, options, seed, cache)
        self._transcriber = Transcriber(plan, sample, options.device, cache)
        self._relevance = RelevanceScorer(plan, sample, options, cache)

    @property
    def notes(self) -> list[str]:
        return [*self._responses.notes, *self._relevance.notes]

    @property
    def cut_responses(self) -> float:
        return self._responses.cut_responses

    def bits(self, rows: np.ndarray, trained_on: np.ndarray | None = None) -> np.ndarray:
        return self._responses.bits(rows, trained_on)

    def word_errors(self, rows: np.ndarray) -> np.ndarray:
        return self._transcriber.word_errors(rows)

    def reranked(self) -> SearchScores:
        return self._relevance.reranked()

    def reranker_info(self) -> FeatureInfo:
        """Return the report about a checkpoint that orders documents, without features; raises as `reranked` does."""
        return self._relevance.info()
