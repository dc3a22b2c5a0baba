"""A receiver of progress that records its events."""

from __future__ import annotations

from collections import Counter

from hf_emms.ranking import Row
from hf_emms.ranking.progress import Progress


class RecordedProgress(Progress):
    """The events of a run.

    Attributes:
        started_with: Checkpoint → the number of its inputs, for each start.
        inputs: Checkpoint → the number of inputs so far.
        finished_names: The checkpoints of finished rows, in order.
        notes: Messages, in order.
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
