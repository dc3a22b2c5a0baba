"""Configurations that describe too large a model, or name other repositories."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hf_emms.errors import EmmsError
from hf_emms.features import load as load_module
from hf_emms.features.checkpoint_files import fetch_weights
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.features.load import check_loadable
from hf_emms.formatting import format_bytes
from hf_emms.inputs import TEXT
from tests.helpers.errors import raises_code
from tests.helpers.extracting import copied, edit_json, load
from tests.helpers.tiny_checkpoints import build, repo_of


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("preprocessor_config.json", {"image_processor_type": "OneFormerImageProcessorFast"}),
        ("config.json", {"backbone": "org/other"}),
        ("config.json", {"backbone_config": [{"backbone": "local-dir:/etc"}]}),
    ],
)
def test_other_repositories_are_refused(file: str, changes: dict[str, Any], zoo: Path, tmp_path: Path) -> None:
    folder = copied(build(zoo, "vit"), tmp_path)
    edit_json(folder / file, **changes)
    with raises_code("other-repository", file):
        load(folder)


def test_a_checkpoint_larger_than_the_memory_is_refused(zoo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(zoo, "bert")
    model = load(folder, "text")._model
    needed = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    memory = iter([needed, needed - 100])  # of a container that is very small
    monkeypatch.setattr(load_module, "total_main_memory", lambda: next(memory))
    load(folder, "text")
    with pytest.raises(EmmsError) as refused:
        load(folder, "text")
    assert (refused.value.message, refused.value.hint) == (
        f"{folder} takes {format_bytes(needed)} in float32, and {format_bytes(needed - 100)} of memory is all that "
        "there is",
        'choose a smaller checkpoint, or dtype="bfloat16"',
    )


def test_a_configuration_has_at_most_as_many_parameters_as_its_files_have_bits(zoo: Path, tmp_path: Path) -> None:
    folder = copied(build(zoo, "bert"), tmp_path, vocab_size=100_000_000 // 16)  # fewer fit everywhere
    plan, stored = make_feature_spec(repo_of(folder), TEXT, "t"), sum(path.stat().st_size for path in folder.iterdir())
    weights = fetch_weights(plan.repo)
    with raises_code("weights-mismatch") as refused:
        check_loadable(plan, weights)
    parameters = int(re.findall(r"describes (100,0[\d,]*) parameters", refused.value.message)[0].replace(",", ""))
    assert refused.value.message.endswith(f"parameters, and its weights have {format_bytes(stored)}")
    with (folder / "more").open("wb") as file:
        file.truncate(parameters // 8 - stored)
        check_loadable(plan, weights)
        file.truncate(parameters // 8 - stored - 1)
        with raises_code("weights-mismatch"):
            check_loadable(plan, weights)
