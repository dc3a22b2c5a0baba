"""The wheel that jobs install has the same contents as the wheel of a release."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest

from hf_emms.publish import wheel as made


def contents(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_wheel_is_reproducible_and_lists_its_files() -> None:
    first = made.build()
    assert first == made.build()
    files = contents(first)
    record = next(name for name in files if name.endswith("/RECORD"))
    listed = [row[0] for row in csv.reader(files[record].decode().splitlines())]
    assert sorted(listed) == sorted(files)


@pytest.mark.slow
def test_wheel_equals_a_built_wheel(wheel: Path) -> None:
    assert wheel.name == made.NAME
    built, ours = contents(wheel.read_bytes()), contents(made.build())
    of_package = {name: content for name, content in built.items() if name.startswith("hf_emms/")}
    assert {name: content for name, content in ours.items() if name.startswith("hf_emms/")} == of_package
    assert {"METADATA", "WHEEL", "RECORD", "entry_points.txt"} == {
        name.partition("/")[2] for name in ours if ".dist-info/" in name
    }
