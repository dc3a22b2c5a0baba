"""Measure which responses a language model prefers, before and after a short run of DPO."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hf_emms.errors import Note
from hf_emms.features.load import quiet_transformers
from hf_emms.finetune.load_finetuned import predict_rows
from hf_emms.finetune.recipe import head_of
from hf_emms.finetune.response_scorer import ResponseScorer, one_of_each
from hf_emms.heads.preference import PreferenceNetwork
from hf_emms.heads.split import LabeledSplit
from hf_emms.scoring.generative import preferred

# Pairs between two signs of life.
_STEP = 16


class PreferenceScorer(ResponseScorer):
    """A language model with the pairs of a sample; it is loaded on first use."""

    def preferences(self, rows: np.ndarray) -> np.ndarray:
        """Return the differences of the log-likelihoods of n pairs, per byte and in total, float64 (n, 2).

        Raises:
            EmmsError: The checkpoint cannot be loaded, or a likelihood is not finite.
        """
        with quiet_transformers():
            self._load()
            assert self._reader is not None
            network, split = PreferenceNetwork(self._model, self._reader), self._split(rows)
            outputs = self._outputs(network, split)
            self._truncated[rows.tobytes()] = network.truncated(split)
            baseline = head_of(self._sample.task).baseline(split, split)
            if baseline is not None:
                text = f"{baseline.name} is the chosen one in {np.mean(baseline.predictions):.1%} of the held-out pairs"
                self._notes.append(Note("longer-chosen", text))
            return np.column_stack([network.per_byte(outputs, split), outputs[:, 0] - outputs[:, 1]])

    def implicit_rewards(self, rows: np.ndarray, trained_on: np.ndarray) -> np.ndarray:
        """Return the differences of the rewards of n pairs after each of c epochs on other pairs, float64 (c, n).

        Raises:
            EmmsError: The checkpoint cannot be loaded or trained, or a likelihood is not finite.
        """
        with quiet_transformers():
            self._load()
            assert self._reader is not None
            network = PreferenceNetwork(self._model, self._reader)
            split, train = self._split(rows), self._split(trained_on)
            curve: list[np.ndarray] = []
            self._train_network(
                network,
                network.rows(train, True),
                lambda: curve.append(network.rewards(self._outputs(network, split), split)),
                head_of(self._sample.task).rate_factor,
            )
            shares = " ".join(f"{100 * preferred(margins).mean():.1f}" for margins in curve)
            self._notes.append(Note("learning-curve", f"accuracy of its reward after each epoch in %: {shares}"))
            return np.stack(curve)

    def _split(self, rows: np.ndarray) -> LabeledSplit:
        """Return rows with one rejected response each, so that a short run costs the same for any number of them."""
        split = head_of(self._sample.task).label(self._sample, several=False).take(rows)
        chosen = one_of_each(split.references, split.groups)
        return replace(split, references=tuple((text,) for text in chosen))

    def _outputs(self, network: PreferenceNetwork, split: LabeledSplit) -> np.ndarray:
        self._model.eval()
        rows, parts = network.rows(split, False), []
        for start in range(0, len(rows), _STEP):
            parts.append(predict_rows(network, rows, np.arange(start, min(start + _STEP, len(rows))), _STEP))
            self._on_batch()
        outputs: np.ndarray = np.concatenate(parts).astype(np.float64)
        self._check_finite(outputs)
        return outputs
