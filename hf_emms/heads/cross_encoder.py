"""Rerankers with modules, a chat template or a default prompt: scored by `CrossEncoder` of sentence-transformers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from hf_emms.errors import EmmsError
from hf_emms.features.device import Batch
from hf_emms.features.extractor import Extractor
from hf_emms.features.feature_spec import FeatureSpec
from hf_emms.features.layers import JoinedLayers
from hf_emms.features.sentence_models import SentenceModelReader, load_sentence_model
from hf_emms.inputs.modality import Pairs


def load_cross_encoder(spec: FeatureSpec, device: torch.device, layers: JoinedLayers) -> Extractor:
    """Load the checkpoint as a reader of `Pairs` whose feature is the output of `CrossEncoder.predict`, (b, 1).

    Raises:
        EmmsError: See `load_sentence_model`; or the checkpoint has several outputs.
    """
    model, spec = load_sentence_model(spec, device, "CrossEncoder", activation_fn=torch.nn.Identity())
    if model.num_labels != 1:
        problem = f"{spec.repo.id} cannot rerank documents: it has {model.num_labels} outputs instead of 1"
        raise EmmsError("several-outputs", problem, "choose another checkpoint")
    return Extractor(spec, model, _PredictedPairs(model, layers))


class _PredictedPairs(SentenceModelReader):
    """The reader whose feature is the output of `CrossEncoder.predict`, which sorts pairs by their characters."""

    def example(self) -> Sequence[Pairs]:
        return Pairs(["a"], ["a"], np.zeros((1, 2), np.int64))

    def batches(self, inputs: Pairs, batch_size: int | None) -> Iterator[Batch]:
        pairs = [(inputs.firsts[first], inputs.seconds[second]) for first, second in inputs.parts.tolist()]
        lengths = [len(first) + len(second) for first, second in pairs]
        for positions, scores in self.run(pairs, lengths, self._model.predict, batch_size):
            yield positions, scores[:, None]
