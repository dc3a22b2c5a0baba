"""Which weights are loaded: safetensors, pickled tensors; and what is refused."""

from __future__ import annotations

import collections
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hf_emms.errors import EmmsError
from hf_emms.features.checkpoint_files import read_tensors
from tests.helpers.errors import raises_code
from tests.helpers.extracting import load, pictures, rows
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import build


class Harmful:
    """An object whose unpickling runs a command."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.ran}",)


@pytest.fixture
def vit(zoo: Path) -> Path:
    return build(zoo, "vit")


@pytest.fixture
def folder(vit: Path, tmp_path: Path) -> Path:
    """A copy of a checkpoint without its weights."""
    copy = shutil.copytree(vit, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    return copy


@pytest.mark.parametrize(("kind", "options"), [(dict, {}), (collections.UserDict, {"allow_pickle": True})])
def test_pickled_tensors_are_read_and_what_is_more_than_tensors_with_the_flag(
    kind: Callable[[Any], Any], options: dict[str, Any], vit: Path, folder: Path
) -> None:
    torch.save(kind(load_file(vit / "model.safetensors")), folder / "pytorch_model.bin")
    if options:
        with raises_code("pickled-weights", "collections.UserDict"):
            load(folder)
    extractor = load(folder, **options)
    np.testing.assert_array_equal(rows(extractor, pictures()), rows(load(vit), pictures()))
    assert codes(extractor.notes) == ["pickled-weights"]


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(folder: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2), "more": Harmful(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with raises_code("pickled-weights", "posix.system") as caught:
        load(folder)
    assert "allow_pickle=True" in str(caught.value.hint)
    with pytest.raises(UnpicklingError):
        read_tensors(folder / "pytorch_model.bin")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_damaged_pickle_is_an_error(folder: Path, content: bytes, allow_pickle: bool) -> None:
    (folder / "pytorch_model.bin").write_bytes(content)
    with raises_code("pickled-weights" if content and not allow_pickle else "cannot-load") as caught:
        load(folder, allow_pickle=allow_pickle)
    assert "documentation" not in caught.value.message
    assert ("allow_pickle=True" in str(caught.value.hint)) is (bool(content) and not allow_pickle)


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"weight_map": {"a": "../outside.safetensors"}}, "names '../outside.safetensors', outside the repository"),
        ({"weight_map": {"a": "..\\outside.bin"}}, r"names '..\\outside.bin', outside the repository"),
        ({"weight_map": {"a": 1}}, "has no weight_map"),
        ([], "has no weight_map"),
    ],
)
def test_an_index_without_files_or_with_files_outside_its_folder_is_refused(
    vit: Path, folder: Path, index: str, content: Any, problem: str
) -> None:
    shutil.copy(vit / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / index).write_text(json.dumps(content))
    with pytest.raises(EmmsError) as refused:
        load(folder)
    assert refused.value.message == f"{index} of {folder} {problem}"


@pytest.mark.parametrize("name", ["tf_model.h5", "adapter_model.safetensors"])
def test_weights_for_something_else_are_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"weights")
    with raises_code("no-weights", f"only {name}"):
        load(folder)
