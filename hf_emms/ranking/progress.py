"""What a run reports while it goes on."""

from __future__ import annotations

from typing import Protocol

from hf_emms.ranking.records import Row


class Progress(Protocol):
    """Receives events, for every checkpoint in this order; several checkpoints may be running at once."""

    def expect(self, count: int, what: str) -> None:
        """So many checkpoints, or cells of a sweep, are going to be run or taken from the cache."""

    def started(self, checkpoint: str, inputs: int) -> None:
        """A checkpoint is going to be run on this many inputs."""

    def advanced(self, checkpoint: str, inputs: int) -> None:
        """This many more inputs have been run."""

    def finished(self, row: Row) -> None:
        """The checkpoint has its row, scored or failed."""

    def noted(self, message: str) -> None:
        """A message for the user, at any time."""


class Silent:
    """A `Progress` that reports nothing."""

    def expect(self, count: int, what: str) -> None:
        pass

    def started(self, checkpoint: str, inputs: int) -> None:
        pass

    def advanced(self, checkpoint: str, inputs: int) -> None:
        pass

    def finished(self, row: Row) -> None:
        pass

    def noted(self, message: str) -> None:
        pass
