"""Data of tasks that hf_emms may not rank for, by the columns that give them away, so that it can say so at once.

An entry says nothing any more as soon as a task of its id is registered, or one that reads the columns.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class OtherTask:
    """A task that is recognised and not read.

    Attributes:
        id: as the Hub calls it.
        signs: names of columns in lower case; those of one sign are there together.
        types: column types that are a sign of their own.
    """

    id: str
    signs: tuple[tuple[str, ...], ...] = ()
    types: tuple[str, ...] = ()

    def columns_in(self, types: Mapping[str, str]) -> tuple[str, ...]:
        """The columns of the first sign that a dataset has; empty where it has none."""
        matches = (columns for sign in self.signs if (columns := named_columns(types, sign)))
        typed = tuple(name for name, type in types.items() if type in self.types)
        return next(matches, typed[:1])


OTHER_TASKS = (
    OtherTask("preference-tuning", (("chosen", "rejected"),)),
    OtherTask("text-ranking", (("anchor", "positive"), ("query", "positive"), ("query", "pos"))),
    OtherTask("multiple-choice", (("choices",), ("endings",), ("ending0", "ending1"), ("option_a", "option_b"))),
    OtherTask("object-detection", (("objects",), ("bboxes",), ("bbox",), ("boxes",))),
    OtherTask(
        "image-segmentation", (("mask",), ("masks",), ("segmentation_mask",), ("semantic_segmentation",), ("seg_map",))
    ),
    OtherTask("depth-estimation", (("depth_map",), ("depth",))),
    OtherTask("video-classification", types=("video",)),
)

_FIRST_OF_TWO = re.compile(r"(.*[a-z_])(1|a)")
_SECOND = {"1": "2", "a": "b"}
# The names of two texts of which one alone means little, the first one first.
TEXT_PAIRS = (
    ("premise", "hypothesis"),
    ("text", "text_pair"),
    ("query", "document"),
    ("query", "passage"),
    ("query", "text"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "context"),
    ("claim", "evidence"),
    ("context", "response"),
    ("anchor", "positive"),
    ("query", "positive"),
)


def text_pairs(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The pairs among a dataset's columns of texts: of usual names, or of one name with 1 and 2, or _a and _b."""
    lower = {name.lower() for name in names}
    numbered = [
        (first, f"{match[1]}{_SECOND[match[2]]}")
        for first in lower
        if (match := _FIRST_OF_TWO.fullmatch(first)) and (match[2] == "1" or match[1].endswith("_"))
    ]
    several = {f"{first[:-1]}{third}" for first, _ in numbered for third in "3c"}
    for pair in (*TEXT_PAIRS, *sorted(numbered)):
        if (columns := named_columns(names, pair)) and not several & lower:
            yield columns


def named_columns(columns: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """The columns of a dataset that have these lower-case names, whatever their case; empty unless all are there."""
    by_lower = {name.lower(): name for name in columns}
    names = tuple(names)
    return tuple(by_lower[name] for name in names) if all(name in by_lower for name in names) else ()
