"""Scores of checkpoints that generate the labels.

Language models get the bits per byte of held-out labels, before and after a short run. ASR models get the word error
rate. Losses per token depend on the tokenizer, but bits per byte can be compared between all checkpoints.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from hf_emms.errors import EmmsError
from hf_emms.scoring import Score
from hf_emms.scoring.ratio import ratio
from hf_emms.texts import setting_ref

if TYPE_CHECKING:
    from hf_emms.scoring.retrieval import SearchScores

# Rows of the short run, and the maximum of held-out rows.
TRAINING_ROWS, HELD_OUT_ROWS = 200, 256
# Key of a score's details: the share of truncated responses.
TRUNCATED_RESPONSES = "truncated_responses"


class CheckpointModel(Protocol):
    """A checkpoint that generates the labels of N rows, with groups uint64 (N,), or reranks documents."""

    @property
    def groups(self) -> np.ndarray: ...

    @property
    def truncated_responses(self) -> float:
        """The share of labels that were truncated to the checkpoint's maximum length so far."""

    def bits(self, rows: np.ndarray, trained_on: np.ndarray | None = None) -> np.ndarray:
        """Return bits and bytes of the labels of n rows, float64 (n, 2), before or after training on other rows."""

    def preferences(self, rows: np.ndarray) -> np.ndarray:
        """Return the log-likelihoods of n chosen responses minus those of rejected ones, per byte and in total, (n, 2).

        They are in nats, float64, without training.
        """

    def implicit_rewards(self, rows: np.ndarray, trained_on: np.ndarray) -> np.ndarray:
        """Return how much each of c epochs on other rows raised the total difference of `preferences`, (c, n)."""

    def word_errors(self, rows: np.ndarray) -> np.ndarray:
        """Return the wrong words and all words of each of n labels, float64 (n, 2), without training."""

    def reranked(self) -> SearchScores:
        """Rerank the candidates of `reranking.drawn_queries`. Other documents get an infinite rank."""


def split_rows(groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the short run and the held-out rows, int64, the same for all checkpoints. No group is in both.

    Raises:
        EmmsError: All rows share a group.
    """
    _, group_of = np.unique(groups, return_inverse=True)  # groups are hashes, so their order is random
    order = np.argsort(group_of, kind="stable")
    border = max(1, group_of[order[min(TRAINING_ROWS, len(order) // 2)]])
    held_out = order[group_of[order] >= border][:HELD_OUT_ROWS]
    if not len(held_out):
        raise EmmsError(
            "one-group",
            "all rows share a group, so none can be held out",
            "use more rows: " + setting_ref("max_samples", ...),
        )
    return order[group_of[order] < border][:TRAINING_ROWS], held_out


def zero_shot(model: CheckpointModel) -> Score:
    """Return the bits per byte of the held-out rows without any training."""
    _, held_out = split_rows(model.groups)
    return _of_bits(model, model.bits(held_out), held_out)


def short_run(model: CheckpointModel) -> Score:
    """Return the bits per byte of the held-out rows after the short run."""
    training, held_out = split_rows(model.groups)
    score = _of_bits(model, model.bits(held_out, training), held_out)
    return replace(score, details={**score.details, "training_rows": len(training)})


def preference_accuracy(model: CheckpointModel, *, per_byte: bool = True) -> Score:
    """Return the share of held-out pairs whose chosen response is the more likely one, without any training."""
    _, held_out = split_rows(model.groups)
    return _of_margins(model, model.preferences(held_out)[:, 0 if per_byte else 1], held_out)


def preference_run(model: CheckpointModel) -> Score:
    """Return the accuracy of the implicit reward of DPO on held-out pairs after the short run."""
    training, held_out = split_rows(model.groups)
    epochs = model.implicit_rewards(held_out, training)
    score = _of_margins(model, epochs[-1], held_out)
    curve = [round(float(preferred(margins).mean()), 4) for margins in epochs]
    return replace(score, details={**score.details, "training_rows": len(training), "curve": curve})


def preferred(margins: np.ndarray) -> np.ndarray:
    """Return 1 for a positive margin, 0 for a negative one, and 0.5 for none, float64 (n,)."""
    return (np.sign(margins) + 1) / 2


def _of_margins(model: CheckpointModel, margins: np.ndarray, rows: np.ndarray) -> Score:
    return _of_bits(model, np.column_stack([preferred(margins), np.ones(len(rows))]), rows)


def _of_bits(model: CheckpointModel, bits: np.ndarray, rows: np.ndarray) -> Score:
    is_read = bits[:, 1] > 0  # rows that exceed its context have no bytes
    score = ratio(bits[is_read], model.groups[rows[is_read]], HELD_OUT_ROWS)
    return replace(score, details={**score.details, TRUNCATED_RESPONSES: round(model.truncated_responses, 4)})


def word_error_rate(model: CheckpointModel) -> Score:
    """Return the word error rate of at most `HELD_OUT_ROWS` rows, without any training."""
    rows = np.argsort(model.groups, kind="stable")[:HELD_OUT_ROWS]
    counts = model.word_errors(rows)
    if not counts[:, 1].any():
        raise EmmsError(
            "no-words",
            "no label contains a word",
            "choose the column of transcripts with " + setting_ref("label_column"),
        )
    return ratio(counts, model.groups[rows], HELD_OUT_ROWS)
