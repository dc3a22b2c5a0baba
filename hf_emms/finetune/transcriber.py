"""Measure an ASR model as it is: the wrong words of its transcripts of a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hf_emms.cache import Cache
from hf_emms.errors import EmmsError, setting_ref
from hf_emms.features.device import choose_device, is_out_of_memory
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.features.load import loading, quiet_transformers
from hf_emms.heads.asr_model import load_asr_model
from hf_emms.heads.metrics import load_jiwer, word_errors

if TYPE_CHECKING:
    from hf_emms.data import Sample


class Transcriber:
    """An ASR model with the sounds and transcripts of a sample; it is loaded for the first measurement."""

    def __init__(self, plan: FeatureSpec, sample: Sample, device: str, cache: Cache) -> None:
        self._plan, self._sample, self._device, self._cache = plan, sample, device, cache
        self._results: dict[bytes, np.ndarray | EmmsError] = {}

    def word_errors(self, rows: np.ndarray) -> np.ndarray:
        """Return the wrong words of n rows, and the words of their first transcripts, float64 (n, 2).

        Raises:
            EmmsError: the checkpoint cannot be loaded, or does not transcribe.
        """
        key = rows.tobytes()
        if key not in self._results:
            try:
                self._results[key] = self._measure(rows)
            except EmmsError as error:
                self._results[key] = error
        result = self._results[key]
        if isinstance(result, EmmsError):
            raise result
        return result

    def _measure(self, rows: np.ndarray) -> np.ndarray:
        sample = self._sample
        references = [sample.texts_of(int(label))[0] for label in sample.codes[rows].tolist()]
        load_jiwer()  # without it no checkpoint is run
        try:
            with quiet_transformers():
                with loading():
                    asr = load_asr_model(self._plan, self._cache)
                asr.model.to(choose_device(self._device))
                texts = asr.transcribe([sample.inputs[number] for number in sample.input_of_row[rows].tolist()])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise EmmsError(
                f"memory ran out while {self._plan.repo.id} transcribed", setting_ref("device", "cpu")
            ) from error
        counts = [word_errors(text, reference) for text, reference in zip(texts, references, strict=True)]
        return np.array(counts, np.float64)
