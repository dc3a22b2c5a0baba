"""Data of tasks that hf_emms may not rank for, by the columns that give them away, so that it can say so at once.

An entry says nothing any more as soon as a task of its id is registered, or one that reads the columns.
"""

from collections.abc import Iterable, Mapping
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


TOKEN_CLASSIFICATION = "token-classification"

OTHER_TASKS = (
    OtherTask("preference-tuning", (("chosen", "rejected"),)),
    OtherTask("multiple-choice", (("choices",), ("endings",), ("ending0", "ending1"), ("option_a", "option_b"))),
    OtherTask(
        "text-generation",
        (
            ("messages",),
            ("conversations",),
            ("conversation",),
            ("prompt", "completion"),
            ("prompt", "response"),
            ("instruction", "output"),
            ("instruction", "response"),
            ("question", "answer"),
        ),
    ),
    OtherTask("translation", (("translation",),)),
    OtherTask(
        "summarization",
        (("document", "summary"), ("article", "highlights"), ("dialogue", "summary"), ("text", "summary")),
    ),
    OtherTask("object-detection", (("objects",), ("bboxes",), ("bbox",), ("boxes",))),
    OtherTask(
        "image-segmentation", (("mask",), ("masks",), ("segmentation_mask",), ("semantic_segmentation",), ("seg_map",))
    ),
    OtherTask("depth-estimation", (("depth_map",), ("depth",))),
    OtherTask("video-classification", types=("video",)),
    OtherTask("audio-classification", types=("audio",)),
)

# The names of two texts of which one alone means little, the first one first.
TEXT_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
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


def named_columns(types: Mapping[str, str], names: Iterable[str]) -> tuple[str, ...]:
    """The columns of a dataset that have these lower-case names, whatever their case; empty unless all are there."""
    by_lower = {name.lower(): name for name in types}
    names = tuple(names)
    return tuple(by_lower[name] for name in names) if all(name in by_lower for name in names) else ()
