"""Helpers for reading from a Hub: files of checkpoints and datasets, and rankings by command."""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_emms.presets import demo
from tests.helpers.command_line import CommandLine, Done
from tests.helpers.hub_client import commands, home, hub
from tests.hub import Hub

__all__ = ["home", "hub"]

ENCODER = "emms-demo/encoder-minilm-static"
GOOD = "emms-demo/vit-random"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def cli(hub: Hub, home: Path) -> Iterator[CommandLine]:
    with commands(hub, home, "30") as running:
        yield running


@pytest.fixture
def model(hub: Hub) -> Iterator[str]:
    """A new checkpoint that is not cached."""
    id = f"org/model-{next(_numbers)}"
    hub.store.put_files(id, files_of())
    yield id
    hub.faults.clear()


def files_of(name: str = "vit-random") -> dict[str, bytes]:
    folder = demo.folder_of(demo.DEMO_PREFIX + name)
    assert folder is not None
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rank(cli: CommandLine, *checkpoints: str, dataset: str = "demo_captions", **environment: str) -> Done:
    named = [part for id in checkpoints for part in ("-c", id)]
    arguments = ["rank", "--dataset", dataset, "--max-samples", "40", "-e", ENCODER, "--estimator", "emms"]
    return cli.run(*arguments, *named, "--format", "json", **environment)


def rows(done: Done) -> dict[str, Any]:
    assert done.code in (0, 1), done.err
    return {row["checkpoint"]: row for row in json.loads(done.out)["rows"]} if done.out else {}


def parquet(texts: list[str], group: int = 100, **more: list[Any]) -> bytes:
    labels = [("cat", "dog")[number % 2] for number in range(len(texts))]
    sink = io.BytesIO()
    pq.write_table(pa.table({"text": texts, "label": labels, **more}), sink, row_group_size=group, compression="none")
    return sink.getvalue()


def sentences(count: int) -> list[str]:
    return [f"sentence {number} on {'cats and dogs' if number % 3 else 'the weather'}" for number in range(count)]
