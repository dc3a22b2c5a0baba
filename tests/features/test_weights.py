"""Which weights are loaded: safetensors, pickled tensors; and what is refused."""

from __future__ import annotations

import collections
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hf_emms.errors import EmmsError
from tests.helpers.extracting import load, pictures, rows
from tests.helpers.tiny_checkpoints import build
from tests.hub import Hub

FETCH = """
    import json, sys
    from pathlib import Path
    from hf_emms.cache import default_cache
    from hf_emms.features.checkpoint_files import fetch_weights
    from hf_emms.hub import fetch, resolve

    opened = []
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)

    def hashed():
        opened.clear()
        repo = resolve("org/tiny", "model")
        fetch(repo, ["config.json"])
        fetch_weights(repo, default_cache(True))
        return sum("/blobs/" in path and len(Path(path).name) == 64 for path in opened)

    blob = (fetch(resolve("org/tiny", "model"), ["*.safetensors"]) / "model.safetensors").resolve()
    content = bytearray(blob.read_bytes())
    content[-10] ^= 1
    blob.write_bytes(content)
    counts = [hashed(), hashed()]
    content[-10] ^= 1
    whole = blob.read_bytes() == content
    # As huggingface_hub stores what Xet serves: behind the blob's link, under a hash of another kind.
    shared = blob.parents[2] / "blobs" / ("0" * 64)
    shared.parent.mkdir()
    blob.rename(shared)
    blob.symlink_to(shared)
    shared.touch()
    print(json.dumps([*counts, whole, hashed()]))
"""


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


# ---- pickled weights ------------------------------------------------------------------------------------------


def test_pickled_tensors_are_read_without_the_flag(vit: Path, folder: Path) -> None:
    torch.save(load_file(vit / "model.safetensors"), folder / "pytorch_model.bin")
    extractor = load(folder)
    np.testing.assert_array_equal(rows(extractor, pictures()), rows(load(vit), pictures()))
    assert any("runs no code" in note for note in extractor.notes)


def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(folder: Path, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2), "more": Harmful(tmp_path / "ran")}, folder / "pytorch_model.bin")
    with pytest.raises(EmmsError, match=r"more than tensors \(posix\.system\)") as caught:
        load(folder)
    assert "allow_pickle=True" in str(caught.value.hint)
    assert not (tmp_path / "ran").exists()


def test_what_is_more_than_tensors_is_unpickled_with_the_flag(vit: Path, folder: Path) -> None:
    weights = collections.UserDict(load_file(vit / "model.safetensors"))
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(EmmsError, match=r"collections\.UserDict"):
        load(folder)
    extractor = load(folder, allow_pickle=True)
    np.testing.assert_array_equal(rows(extractor, pictures()), rows(load(vit), pictures()))
    assert any("unpickled in full" in note for note in extractor.notes)


@pytest.mark.parametrize("allow_pickle", [False, True])
@pytest.mark.parametrize("content", [b"", b"garbage" * 100])
def test_a_damaged_pickle_is_an_error(folder: Path, content: bytes, allow_pickle: bool) -> None:
    (folder / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(EmmsError, match="weights of") as caught:
        load(folder, allow_pickle=allow_pickle)
    assert ("allow_pickle=True" in str(caught.value.hint)) is (bool(content) and not allow_pickle)


# ---- what is no checkpoint ------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", ["../outside", "..\\outside"])
@pytest.mark.parametrize(("index", "suffix"), [("model.safetensors", ".safetensors"), ("pytorch_model.bin", ".bin")])
def test_an_index_that_names_a_file_outside_its_folder_is_refused(
    vit: Path, folder: Path, index: str, suffix: str, outside: str
) -> None:
    shutil.copy(vit / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / f"{index}.index.json").write_text(json.dumps({"weight_map": {"weight": outside + suffix}}))
    with pytest.raises(EmmsError, match="outside the repository"):
        load(folder)


@pytest.mark.parametrize("content", ["[]", '{"weight_map": {"a": 1}}'])
def test_an_index_without_files_is_an_error(folder: Path, content: str) -> None:
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(EmmsError, match="no weight_map"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "what"),
    [("tf_model.h5", "TensorFlow"), ("flax_model.msgpack", "Flax"), ("adapter_model.safetensors", "adapter")],
)
def test_weights_for_something_else_are_named(folder: Path, name: str, what: str) -> None:
    (folder / name).write_bytes(b"weights")
    with pytest.raises(EmmsError, match=f"no weights for PyTorch, only weights .*{what}.*{name}"):
        load(folder)


# ---- on the Hub -----------------------------------------------------------------------------------------------


def test_a_changed_byte_is_mended_and_a_whole_file_is_hashed_once(
    hub: Hub, client: Callable[..., Any], vit: Path
) -> None:
    """Weights that repositories share are compared with the hash in their own name, too."""
    hub.store.put_files("org/tiny", {path.name: path.read_bytes() for path in vit.iterdir()})
    assert client(FETCH) == [2, 0, True, 1]
