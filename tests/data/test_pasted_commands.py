"""Tables of any names and types: the command in an error starts a ranking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.tasks import TASKS
from tests.data.test_hints import COMMAND
from tests.helpers.rows import N, pictures
from tests.helpers.sound import encoded, tone

# Checkpoints for texts, images, sounds and generated texts: each task has one.
CHECKPOINTS = [
    *("emms-demo/bert-random", "emms-demo/resnet-fashion", "emms-demo/ast-random", "emms-demo/gpt2-random"),
    *("emms-demo/vilt-random", "emms-demo/owlvit-random"),
]
NAMES = sorted(
    {
        name.partition(".")[0]
        for task in TASKS.built_in.values()
        for column in task.all_columns.values()
        for joined in column.candidates[:6]
        for name in joined.split(",")
    }
    | {*("id", "key", "url", "file_name", "notes", "date", "a b", "Größe", "stars", "is_new", "x.y", "n_tokens")}
)
VALUE = datasets.Value
WORDS = [f"word{i} and more words" for i in range(N)]
MESSAGES = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]
# Kind of column → its declared type and its cells.
KINDS: dict[str, tuple[Any, list[Any]]] = {
    "texts": (VALUE("string"), WORDS),
    "repeated texts": (VALUE("string"), ["one", "two", "three"] * (N // 3)),
    "equal texts": (VALUE("string"), ["the same"] * N),
    "texts with gaps": (VALUE("string"), [None, "", *WORDS[2:]]),
    "numbers in texts": (VALUE("string"), [f"{i},5" for i in range(N)]),
    "whole numbers": (VALUE("int64"), [i % 4 for i in range(N)]),
    "different numbers": (VALUE("int64"), [*range(N)]),
    "floats": (VALUE("float32"), [i / 7 for i in range(N)]),
    "yes or no": (VALUE("bool"), [i % 2 == 0 for i in range(N)]),
    "classes": (datasets.ClassLabel(names=["a", "b", "c"]), [i % 3 for i in range(N)]),
    "lists of texts": (datasets.List(VALUE("string")), [["a", "b", "c"][: 1 + i % 3] for i in range(N)]),
    "empty lists": (datasets.List(VALUE("string")), [[] for _ in range(N)]),
    "lists of classes": (datasets.List(datasets.ClassLabel(names=["a", "b"])), [[0, 1][: 1 + i % 2] for i in range(N)]),
    "zeros and ones": (datasets.List(VALUE("int8")), [[i % 2, 1, 0] for i in range(N)]),
    "vectors": (datasets.List(VALUE("float32")), [[i / 2, 1.5] for i in range(N)]),
    "boxes": (datasets.List(VALUE("int64")), [[1, 1, 2 + i % 3, 3] for i in range(N)]),
    "structs": ({"body": VALUE("string"), "n": VALUE("int64")}, [{"body": w, "n": 1} for w in WORDS]),
    "lists of structs": (
        datasets.List({"start": VALUE("int64"), "end": VALUE("int64"), "label": VALUE("string")}),
        [[{"start": 0, "end": 3, "label": "PER"}]] * N,
    ),
    "messages": (datasets.List({"role": VALUE("string"), "content": VALUE("string")}), [MESSAGES] * N),
    "images": (datasets.Image(), [{"bytes": picture, "path": None} for picture in pictures(N)]),
    "sounds": (VALUE("binary"), [encoded(tone(200 + i)) for i in range(N)]),
    "bytes": (VALUE("binary"), [b"\0\1"] * N),
    "dates": (VALUE("date32"), [None] * N),
    "nulls": (VALUE("null"), [None] * N),
}
TABLES = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(sorted(KINDS)), min_size=1, max_size=6)


def table_of(columns: Mapping[str, str]) -> datasets.Dataset:
    features = datasets.Features({name: KINDS[kind][0] for name, kind in columns.items()})
    return datasets.Dataset.from_dict({name: KINDS[kind][1] for name, kind in columns.items()}, features=features)


def dry_run(table: datasets.Dataset, **arguments: Any) -> None:
    hf_emms.plan(table, CHECKPOINTS, encoders=["demo"], cache=False, **arguments)


def check_pasted(columns: Mapping[str, str]) -> None:
    table = table_of(columns)
    try:
        dry_run(table)
    except EmmsError as error:
        command = str(error.hint).partition(COMMAND)[2]
        if command:
            arguments = eval(command.replace("hf_emms.rank(", "dict(", 1))
            arguments.pop("dataset")
            dry_run(table, **arguments)


@settings(max_examples=12)
@given(TABLES)
def test_a_pasted_command_starts_a_ranking(columns: dict[str, str]) -> None:
    check_pasted(columns)


@pytest.mark.slow
@settings(max_examples=120)
@given(TABLES)
def test_pasted_commands_of_many_tables_start_rankings(columns: dict[str, str]) -> None:
    check_pasted(columns)
