"""Test folders that change during a ranking: the row fails, and nothing is cached under the old content."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_emms
from hf_emms.presets.demo import folder_of
from hf_emms.ranking import Ranking
from hf_emms.ranking.progress import Progress
from tests.finetune.make import FAST, colours, ranking, save
from tests.finetune.test_response_scorer import rows as prompts
from tests.helpers.caching import cached_keys
from tests.helpers.errors import raises_code
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer

GOOD, ENCODER = "emms-demo/resnet-distilled", "emms-demo/encoder-minilm-static"
CHANGED = "have changed since this run started"


class Meanwhile(Progress):
    """Does something once, when it first hears of an event."""

    def __init__(self, event: str, act: Callable[[], Any]) -> None:
        self._act = act
        setattr(self, event, self._once)

    def _once(self, *_: Any) -> None:
        act, self._act = self._act, lambda: None
        act()


def train_on(folder: Path) -> None:
    """Saves other weights, as a trainer does."""
    path = folder / "model.safetensors"
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(tensor.shape, generator=generator).to(tensor.dtype) if tensor.is_floating_point() else tensor
        for name, tensor in load_file(path).items()
    }
    save_file(weights, path, {"format": "pt"})


def cached_kinds(cache: Path, folder: Path) -> set[str]:
    return {key["kind"] for key in cached_keys(cache) if key["id"] == str(folder)}


@pytest.mark.parametrize(
    ("event", "change"), [("started", train_on), ("advanced", train_on), ("advanced", shutil.rmtree)]
)
def test_a_changed_checkpoint_fails_and_its_old_content_stays_cached(
    tmp_path: Path, emms_cache: Path, event: str, change: Callable[[Path], None]
) -> None:
    folder = build(tmp_path, "vit")
    content = shutil.copytree(folder, tmp_path / "copy")

    def ranked(**options: Any) -> Ranking:
        ids = [str(folder), GOOD]
        return hf_emms.rank("demo_captions", ids, max_samples=60, encoders=ENCODER, estimators="emms", **options)

    expected = ranked(cache=False).row(str(folder))
    disturbed = ranked(progress=Meanwhile(event, lambda: change(folder)))
    assert CHANGED in (disturbed.row(str(folder)).error or "")
    assert disturbed.row(GOOD).error is None
    assert not cached_kinds(emms_cache, folder) & {"rows", "features"}
    shutil.copytree(content, folder, dirs_exist_ok=True)
    again = ranked().row(str(folder))
    assert (again.cached, again.scores) == ("none", expected.scores)


def test_a_language_model_that_changes_during_scoring_fails(zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    folder = shutil.copytree(writer(zoo, "gpt2"), tmp_path / "gpt2")
    options: dict[str, Any] = {"encoders": ENCODER, "device": "cpu"}
    first = hf_emms.rank(prompts(), str(folder), estimators=["emms_knn"], **options)
    assert first.row(str(folder)).error is None
    progress = Meanwhile("advanced", lambda: train_on(folder))  # the features are cached
    disturbed = hf_emms.rank(prompts(), str(folder), estimators=["zero_shot"], progress=progress, **options)
    assert CHANGED in (disturbed.row(str(folder)).error or "")


def test_embeddings_of_a_changed_encoder_are_not_cached(tmp_path: Path, emms_cache: Path) -> None:
    shipped = folder_of(ENCODER)
    assert shipped is not None
    encoder = shutil.copytree(shipped, tmp_path / "encoder")
    with raises_code("encoder-failed", CHANGED):
        hf_emms.rank(
            "demo_captions",
            GOOD,
            max_samples=60,
            encoders=str(encoder),
            progress=Meanwhile("noted", lambda: train_on(encoder)),
        )
    assert cached_kinds(emms_cache, encoder) == set()


@pytest.mark.parametrize("event", ["started", "advanced"])
def test_a_checkpoint_that_changes_during_fine_tuning_is_trained_again(
    tmp_path: Path, emms_cache: Path, event: str
) -> None:
    folder = build(tmp_path, "resnet")
    weights = (folder / "model.safetensors").read_bytes()
    columns = {"image": "image", "label": "label"}
    ranked = ranking(save(colours(60), tmp_path / "colours"), "image-classification", columns, {str(folder): -0.1})
    with raises_code("fine-tuning-failed", CHANGED):
        hf_emms.confirm(ranked, top=1, progress=Meanwhile(event, lambda: train_on(folder)), **FAST)
    assert "finetunings" not in cached_kinds(emms_cache, folder)
    (folder / "model.safetensors").write_bytes(weights)
    assert hf_emms.confirm(ranked, top=1, **FAST).row(str(folder)).fine_tuned.value > 0.8
