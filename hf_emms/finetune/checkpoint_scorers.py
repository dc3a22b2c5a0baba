"""Measure a checkpoint's own predictions, for estimators that need more than features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec
import numpy as np

from hf_emms.errors import EmmsError, Note
from hf_emms.features.device import choose_device, gather_batches, is_out_of_memory
from hf_emms.features.feature_spec import FeatureInfo, FeatureSpec
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.preference_scorer import PreferenceScorer
from hf_emms.finetune.recipe import head_of
from hf_emms.formatting import pluralize
from hf_emms.heads import LabeledSplit
from hf_emms.heads.judged_search import collection_of, judgments_of
from hf_emms.heads.metrics import load_jiwer, word_errors
from hf_emms.heads.reranking import candidate_pairs, candidates_of, load_reranker
from hf_emms.heads.transcript import load_asr_model
from hf_emms.options import RunOptions
from hf_emms.scoring.reranking import drawn_queries, reranked_places
from hf_emms.scoring.retrieval import SearchScores
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    from hf_emms.data import Sample

T = TypeVar("T")
NumberedRows = tuple[np.ndarray, np.ndarray]


class CheckpointScorers:
    """A `CheckpointModel` of any kind, which is loaded on first use.

    `on_inputs` is called after each batch: with the number of inputs of a reranker, and with 0 for other models.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        sample: Sample,
        options: RunOptions,
        seed: int,
        on_inputs: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.groups, self._on_inputs = sample.groups, on_inputs
        self._spec, self._sample, self._options = spec, sample, options
        self._responses = PreferenceScorer(spec, sample, options, seed, partial(on_inputs, 0))
        self._results: dict[tuple[object, ...], object] = {}
        self._notes: list[Note] = []

    @property
    def notes(self) -> list[Note]:
        return [*self._responses.notes, *self._notes]

    @property
    def truncated_responses(self) -> float:
        return self._responses.truncated_responses

    def bits(self, rows: np.ndarray, trained_on: np.ndarray | None = None) -> np.ndarray:
        key = rows.tobytes(), None if trained_on is None else trained_on.tobytes()
        return self._once(key, partial(self._responses.bits, rows, trained_on))

    def preferences(self, rows: np.ndarray) -> np.ndarray:
        return self._once(("preferences", rows.tobytes()), partial(self._responses.preferences, rows))

    def implicit_rewards(self, rows: np.ndarray, trained_on: np.ndarray) -> np.ndarray:
        key = "rewards", rows.tobytes(), trained_on.tobytes()
        return self._once(key, partial(self._responses.implicit_rewards, rows, trained_on))

    def word_errors(self, rows: np.ndarray) -> np.ndarray:
        return self._once((rows.tobytes(),), partial(self._word_errors, rows))

    def reranked(self) -> SearchScores:
        return self._once((), self._search)[0]

    def reranker_info(self) -> FeatureInfo:
        """Return the report about a reranker and the pairs that it read."""
        return self._once((), self._search)[1]

    def _once(self, key: tuple[object, ...], measure: Callable[[], T]) -> T:
        """Return the result of a measurement, and cache it. A repeated call also raises the same error.

        Raises:
            EmmsError: The checkpoint cannot be loaded, cannot do this, has no finite result, or memory runs out.
        """
        if key not in self._results:
            try:
                self._results[key] = measure()
            except EmmsError as error:
                self._results[key] = error
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._results[key] = EmmsError(
                    "out-of-memory",
                    f"memory ran out while {self._spec.repo.id} ran with its head",
                    "choose a device with more memory, or " + setting_ref("estimators", "emms_knn"),
                )
        result = self._results[key]
        if isinstance(result, EmmsError):
            raise result
        return result  # type: ignore[return-value]

    # ---- transcripts -------------------------------------------------------------------------------------------------

    def _word_errors(self, rows: np.ndarray) -> np.ndarray:
        """Return the wrong words of n rows, and the words of their first transcripts, float64 (n, 2)."""
        sample = self._sample
        references = [sample.texts_of(int(label))[0] for label in sample.codes[rows].tolist()]
        load_jiwer()  # raises before the checkpoint runs
        with quiet_transformers():
            asr = load_asr_model(self._spec)
            asr.model.to(choose_device(self._options.device))
            sounds = [sample.inputs[number] for number in sample.input_of_row[rows].tolist()]
            texts = asr.transcribe(sounds, partial(self._on_inputs, 0))
        counts = [word_errors(text, reference) for text, reference in zip(texts, references, strict=True)]
        return np.array(counts, np.float64)

    # ---- rerankers ---------------------------------------------------------------------------------------------------

    def _search(self) -> tuple[SearchScores, FeatureInfo]:
        split = head_of(self._sample.task).label(self._sample, several=False)
        split = split.take(drawn_queries(split.groups))
        candidates, documents = candidates_of(split), len(collection_of(split).documents)
        scores, info = self._relevance(split, candidates)
        scores, judgments = scores.reshape(candidates.shape), judgments_of(split)
        search = SearchScores.placed(
            judgments, split.groups, documents, partial(reranked_places, candidates, scores, judgments)
        )
        share = np.isfinite(search.places).mean()
        self._notes.append(
            Note(
                "reranked-candidates",
                f"reranks the first {pluralize(candidates.shape[1], 'document')} of BM25 for each of "
                f"{pluralize(len(split), 'query', 'queries')}: {share:.0%} of the relevant documents are among them",
            )
        )
        return search, info

    def _relevance(self, split: LabeledSplit, candidates: np.ndarray) -> tuple[np.ndarray, FeatureInfo]:
        """Return the output for each query with each of its candidates, float32 (n · c,), and the report."""
        pairs = candidate_pairs(split, candidates)
        with quiet_transformers():
            reranker = load_reranker(self._spec, choose_device(self._options.device))
            with closing(reranker):
                batches = self._reporting(reranker.batches(pairs, batch_size=self._options.batch_size), len(pairs))
                scores = gather_batches(batches, len(pairs))[:, 0]
        if not np.isfinite(scores).all():
            raise EmmsError(
                "not-finite",
                f"{self._spec.repo.id}: its output for a pair is not finite",
                setting_ref("dtype", "float32") + "; if that is set already, its weights are damaged",
            )
        return scores, msgspec.structs.replace(reranker.info(), width=0)

    def _reporting(self, batches: Iterator[NumberedRows], count: int) -> Iterator[NumberedRows]:
        """Yield the batches of `count` pairs, and report the share of pairs that is done as inputs of the sample."""
        inputs, pairs_done, reported = len(self._sample.inputs), 0, 0
        for positions, scores in batches:
            yield positions, scores
            pairs_done += len(positions)
            self._on_inputs(pairs_done * inputs // count - reported)
            reported = pairs_done * inputs // count
