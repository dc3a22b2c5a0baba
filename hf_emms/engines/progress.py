"""What an engine tells about its work while it goes on."""

from __future__ import annotations

from typing import Protocol

from hf_emms.ranking import Row


class Progress(Protocol):
    """Is told what happens, in this order for every checkpoint; several checkpoints may be under way at once."""

    def started(self, checkpoint: str, inputs: int) -> None:
        """A checkpoint will be fed this many inputs."""

    def advanced(self, checkpoint: str, inputs: int) -> None:
        """So many more inputs have gone through a checkpoint."""

    def finished(self, row: Row) -> None:
        """The checkpoint has its row, scored or failed."""

    def noted(self, message: str) -> None:
        """Something a user should know, at any time."""


class Silent:
    """Tells nobody."""

    def started(self, checkpoint: str, inputs: int) -> None:
        pass

    def advanced(self, checkpoint: str, inputs: int) -> None:
        pass

    def finished(self, row: Row) -> None:
        pass

    def noted(self, message: str) -> None:
        pass
