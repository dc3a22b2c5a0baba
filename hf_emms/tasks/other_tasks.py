"""Tasks that hf_emms may not rank for, recognised by their columns, so that it can refuse their data at once.

An entry has no effect once a task of its id is registered, or a task that reads the columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from hf_emms.tasks.text_pairs import named_columns


@dataclass(frozen=True)
class OtherTask:
    """A task that is recognised and not read.

    Attributes:
        id: as the Hub calls it.
        signs: sets of column names in lower case; all columns of a set must be there.
        types: column types that suffice as a sign.
        is_sure: whether the columns are a sign whatever the label is called: the number of a choice is no class.
    """

    id: str
    signs: tuple[tuple[str, ...], ...] = ()
    types: tuple[str, ...] = ()
    is_sure: bool = False

    def columns_in(self, types: Mapping[str, str]) -> tuple[str, ...]:
        """Return the columns of the first sign that a dataset has; empty where it has none."""
        matches = (columns for sign in self.signs if (columns := named_columns(types, sign)))
        typed = tuple(name for name, type in types.items() if type in self.types)
        return next(matches, typed[:1])


OTHER_TASKS = (
    OtherTask(
        "preference-tuning",
        (
            *(("chosen", "rejected"), ("prompt", "completion", "label"), ("response_j", "response_k")),
            *(
                ("response_a", "response_b"),
                ("answer_a", "answer_b"),
                ("response_0", "response_1", "better_response_id"),
            ),
        ),
        is_sure=True,
    ),
    OtherTask(
        "multiple-choice",
        (
            *(("choices",), ("options",), ("endings",), ("ending0", "ending1"), ("option_a", "option_b")),
            *(("option1", "option2"), ("opa", "opb"), ("choice1", "choice2"), ("sol1", "sol2")),
            *(("distractor1", "distractor2"), ("question", "a", "b")),
        ),
        is_sure=True,
    ),
    OtherTask("object-detection", (("objects",), ("bboxes",), ("bbox",), ("boxes",))),
    OtherTask(
        "image-segmentation", (("mask",), ("masks",), ("segmentation_mask",), ("semantic_segmentation",), ("seg_map",))
    ),
    OtherTask("depth-estimation", (("depth_map",), ("depth",))),
    OtherTask("video-classification", types=("video",)),
)
