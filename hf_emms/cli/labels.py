"""Options of ``hf-emms rank`` that say which columns are what, and how labels become F-labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hf_emms.errors import EmmsError

# Every role of `tasks.ROLES`, which is not imported for the sake of a quick --help.
ROLE_HELP = {
    "image": "Column with the images [default: inferred].",
    "text": "Column with the texts or captions [default: inferred].",
    "label": "Column with the classes or values [default: inferred].",
    "question": "Column with the questions; texts.user is a field of a column [default: inferred].",
    "answer": "Column with the answers [default: inferred].",
    "context": "Column with the texts that questions are on [default: inferred].",
    "expression": "Column with the expressions that refer to boxes [default: inferred].",
    "box": "Column with the boxes [default: inferred].",
}


def column_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds a --ROLE-column for every role of our tasks, and --column for those of other packages."""
    extra = "The same for a role of any task."
    command = click.option("--column", "columns", multiple=True, metavar="ROLE=NAME", help=extra)(command)
    for role in reversed(ROLE_HELP):
        command = click.option(f"--{role}-column", metavar="NAME", help=ROLE_HELP[role])(command)
    return command


def label_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what becomes of several texts of one input, and of labels that are numbers."""
    command = click.option(
        "--box-format",
        type=click.Choice(["xywh", "xyxy", "cxcywh"]),
        help="How boxes are written, in pixels or as parts of the picture [default: xywh].",
    )(command)
    command = click.option(
        "--label-form",
        type=click.Choice(["text", "numbers", "both", "spans"]),
        help="F-labels of boxes, values and answers [default: by task and data].",
    )(command)
    return click.option(
        "--references",
        "--captions",
        "references",
        type=click.Choice(["mean", "first", "all", "majority", "one-per-image"]),
        default="mean",
        show_default=True,
        help="Which captions, answers or classes of one input count.",
    )(command)


def named_columns(options: dict[str, Any]) -> dict[str, str]:
    """Takes the columns out of a command's options: role → column.

    Raises:
        EmmsError: a --column that is not ROLE=NAME.
    """
    found = {role: options.pop(f"{role}_column") for role in ROLE_HELP}
    for pair in options.pop("columns"):
        role, _, column = pair.partition("=")
        if not role or not column:
            raise EmmsError(f"--column {pair!r} does not say which role it is for", "--column ROLE=NAME")
        found[role] = column
    return {role: column for role, column in found.items() if column}
