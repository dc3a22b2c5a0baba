"""A receiver of progress that keeps what it is told."""

from __future__ import annotations

from collections import Counter

from hf_emms.ranking import Row
from hf_emms.ranking.progress import Progress


class Heard(Progress):
    """What a run has told.

    Attributes:
        started_with: checkpoint → how many inputs it was to run, each time that it started.
        inputs: checkpoint → how many it has run.
        finished_names: of rows, in their order.
        notes: messages, in their order.
    """

    def __init__(self) -> None:
        self.started_with: dict[str, list[int]] = {}
        self.inputs: Counter[str] = Counter()
        self.finished_names: list[str] = []
        self.notes: list[str] = []

    def started(self, checkpoint: str, inputs: int) -> None:
        self.started_with.setdefault(checkpoint, []).append(inputs)

    def advanced(self, checkpoint: str, inputs: int) -> None:
        self.inputs[checkpoint] += inputs

    def finished(self, row: Row) -> None:
        self.finished_names.append(row.checkpoint)

    def noted(self, message: str) -> None:
        self.notes.append(message)
