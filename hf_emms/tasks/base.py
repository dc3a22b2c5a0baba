"""What a task is: which columns it reads, what feeds the checkpoint, what becomes label text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Modality = Literal["image", "text"]


@dataclass(frozen=True)
class Role:
    """One column that a task needs.

    Attributes:
        name: what the column is to the task ("image", "text", "label").
        candidates: column names that are tried first, in this order.
        kinds: which column types fit: "image", "string", "strings" (a list), "class", "integer".
    """

    name: str
    candidates: tuple[str, ...]
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A Hub task that hf_emms can rank for.

    Attributes:
        id: the Hub's task id, e.g. "image-classification".
        modality: what a checkpoint is fed.
        input: the column that feeds the checkpoint.
        label: the column whose text is the label.
        categorical: whether labels are classes (sampled evenly, scored as codes by the baselines).
        label_text: cleans one raw label into the text that encoders embed.
        aliases: other names that users type.
        sources: Hub tasks whose checkpoints are candidates besides its own: backbones carry no task's tag.
    """

    id: str
    modality: Modality
    input: Role
    label: Role
    categorical: bool
    label_text: Callable[[str], str]
    aliases: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
