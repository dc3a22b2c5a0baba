"""How a sample is to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hf_emms.errors import EmmsError

Captions = Literal["all", "first", "one-per-image"]
Sampling = Literal["balanced", "proportional"]


@dataclass(frozen=True)
class Request:
    """What decides which rows of a split make the sample.

    Attributes:
        max_samples: rows to draw; all when None.
        sampling: how classes are drawn; None leaves it to the task.
        captions: which captions of a picture are kept.
        seed: decides which rows and captions are drawn.
        prompt: a template for class names.

    Raises:
        EmmsError: a value that is none of the known ones.
    """

    max_samples: int | None = None
    sampling: Sampling | None = None
    captions: Captions = "all"
    seed: int = 0
    prompt: str | None = None

    def __post_init__(self) -> None:
        if self.max_samples is not None and self.max_samples < 2:
            raise EmmsError(f"max_samples is {self.max_samples}; at least two rows are needed", "--max-samples 1000")
        if self.captions not in ("all", "first", "one-per-image"):
            raise EmmsError(f"captions is {self.captions!r}", "--captions all|first|one-per-image")
        if self.sampling not in ("balanced", "proportional", None):
            raise EmmsError(f"sampling is {self.sampling!r}", "--sampling balanced|proportional")
        if self.prompt is not None and "{}" not in self.prompt:
            raise EmmsError(f"the prompt {self.prompt!r} has no {{}} for the class", '--prompt "a photo of a {}"')
