"""How a sample is to be drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from hf_emms.errors import EmmsError
from hf_emms.tasks.base import LabelForm

References = Literal["mean", "first", "all", "majority", "one-per-image"]
REFERENCES: tuple[References, ...] = get_args(References)
FORMS: tuple[LabelForm, ...] = get_args(LabelForm)
Sampling = Literal["balanced", "proportional"]


@dataclass(frozen=True)
class Request:
    """What decides which rows of a split make the sample.

    Attributes:
        max_samples: rows to draw; all when None.
        sampling: how classes are drawn; None leaves it to the task.
        references: which of an input's texts count: the mean of their embeddings, the first or the most frequent one,
            each as a row of its own ("all"), or a seeded one ("one-per-image").
        seed: decides which rows and texts are drawn.
        prompt: a template for class names.
        label_form: which F-labels numbers make, or whether spans of a text are the rows; None leaves it to the task
            and the data.
        box_format: how the dataset writes boxes; None leaves it to the task.

    Raises:
        EmmsError: a value that is none of the known ones.
    """

    max_samples: int | None = None
    sampling: Sampling | None = None
    references: References = "mean"
    seed: int = 0
    prompt: str | None = None
    label_form: LabelForm | None = None
    box_format: str | None = None

    def __post_init__(self) -> None:
        if self.max_samples is not None and self.max_samples < 2:
            raise EmmsError(f"max_samples is {self.max_samples}; at least two rows are needed", "--max-samples 1000")
        if self.references not in REFERENCES:
            raise EmmsError(f"references is {self.references!r}", f"--references {'|'.join(REFERENCES)}")
        if self.label_form not in (*FORMS, None):
            raise EmmsError(f"label_form is {self.label_form!r}", f"--label-form {'|'.join(FORMS)}")
        if self.sampling not in ("balanced", "proportional", None):
            raise EmmsError(f"sampling is {self.sampling!r}", "--sampling balanced|proportional")
        if self.prompt is not None and "{}" not in self.prompt:
            raise EmmsError(f"the prompt {self.prompt!r} has no {{}} for the class", '--prompt "a photo of a {}"')
