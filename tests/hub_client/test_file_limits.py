"""Configurations and tokenizers of a checkpoint have a largest size, because libraries read them completely."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hf_emms.hub import resolve
from tests.helpers.errors import raises_code
from tests.helpers.hub_client import run
from tests.hub import Hub

MB = 1 << 20


@pytest.mark.parametrize(
    ("name", "largest"),
    [
        ("config_sentence_transformers.json", 16 * MB),
        ("1_Pooling/config.json", 16 * MB),
        ("model.safetensors.index.json", 16 * MB),
        ("chat_template.jinja", 16 * MB),
        ("tokenizer.json", 200 * MB),
        ("vocab.txt", 200 * MB),
        ("spiece.model", 200 * MB),
        ("trainer_state.json", None),
    ],
)
def test_a_large_file_is_refused_before_the_folder_is_hashed(tmp_path: Path, name: str, largest: int | None) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    os.truncate(file, largest or 16 * MB)
    assert resolve(str(tmp_path), "model").folder == tmp_path
    os.truncate(file, (largest or 16 * MB) + 1)
    if largest is None:
        resolve(str(tmp_path), "model")
        return
    with raises_code("too-large", name):
        resolve(str(tmp_path), "model")


def test_a_large_file_on_the_hub_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.store.put_files("org/large", {"config.json": bytes(17 * MB), "model.safetensors": b""})
    code = """
    from hf_emms.features.checkpoint_files import needed_files
    from hf_emms.hub import listing
    repo = resolve("org/large", "model")
    print(json.dumps([report(lambda: needed_files(repo, listing(repo), code=False)),
                      report(lambda: fetch(repo, ["*.json"]))]))
    """
    assert all("config.json" in str(message) for message in run(code, hub, tmp_path))
