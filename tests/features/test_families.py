"""Every family of the table and every candidate of the paper, as a tiny checkpoint with random weights."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers

from hf_emms.errors import EmmsError
from hf_emms.features.architectures import ARCHITECTURES
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.inputs import IMAGE
from hf_emms.registry import installed_version
from tests import ROOT
from tests.helpers.extracting import load, pictures, rows
from tests.helpers.quick_python import python
from tests.helpers.tiny_checkpoints import CAPTIONERS, IMAGE_MODELS, TEXT_MODELS, TEXTS, build, processor, repo_of
from tests.helpers.tiny_families import (
    CAPTIONER_PAIRS,
    IMAGE_FAMILIES,
    START,
    TEXT_FAMILIES,
    captioner,
    llava,
    timm_checkpoint,
)


def same_alone_and_together(extractor, inputs) -> np.ndarray:
    together = rows(extractor, inputs)
    assert together.shape == (len(inputs), extractor.width)
    assert np.isfinite(together).all()
    scale = np.abs(together).max()
    assert (together / scale).std(0).max() > 1e-3
    np.testing.assert_allclose(rows(extractor, inputs, 1) / scale, together / scale, atol=1e-5)
    return together


def test_every_row_that_reads_pictures_or_texts_has_a_tiny_checkpoint() -> None:
    built = {*IMAGE_MODELS, *IMAGE_FAMILIES, *CAPTIONERS, *TEXT_MODELS, *TEXT_FAMILIES, "timm_wrapper", "model2vec"}
    alone = [row for row in ARCHITECTURES if row.input_kind in ("image", "text")]
    missing = [row.family for row in alone if not built & {*row.model_types}]
    assert missing == []


def test_no_two_rows_of_the_table_claim_the_same_checkpoints() -> None:
    claims = [(row.input_kind, name) for row in ARCHITECTURES for name in row.model_types]
    assert len(claims) == len({*claims})


def test_pvt_gives_what_its_own_classifier_reads(zoo: Path) -> None:
    folder = build(zoo, "pvt", IMAGE_FAMILIES["pvt"])
    model = transformers.PvtForImageClassification.from_pretrained(folder).eval()
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(pictures(), return_tensors="pt")
    with torch.no_grad():
        logits = model.classifier(torch.from_numpy(rows(load(folder), pictures())))
        torch.testing.assert_close(logits, model(**pixels).logits, atol=1e-5, rtol=1e-4)


def test_mae_reads_every_patch(zoo: Path) -> None:
    folder = build(zoo, "vit_mae", IMAGE_FAMILIES["vit_mae"])
    model = transformers.ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(pictures(), return_tensors="pt")
    with torch.no_grad():
        expected = model(**pixels).last_hidden_state[:, 0]
    np.testing.assert_allclose(rows(load(folder), pictures()), expected, atol=1e-5)


def test_hiera_gives_what_its_own_classifier_reads(zoo: Path) -> None:
    folder = build(zoo, "hiera", IMAGE_FAMILIES["hiera"])
    model = transformers.HieraForImageClassification.from_pretrained(folder).eval()
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(pictures(), return_tensors="pt")
    with torch.no_grad():
        logits = model.classifier(torch.from_numpy(rows(load(folder), pictures())))
        torch.testing.assert_close(logits, model(**pixels).logits, atol=1e-5, rtol=1e-4)


def test_a_model_that_writes_about_images_reads_texts_alone_and_images_alone(zoo: Path) -> None:
    folder = build(zoo, "llava", llava, reads_text=True)
    processor().save_pretrained(folder)
    model = transformers.LlavaModel.from_pretrained(folder).eval()
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(pictures(), return_tensors="pt")
    with torch.no_grad():
        tokens = model.get_image_features(**pixels).pooler_output
    expected = torch.stack([of_image.mean(0) for of_image in tokens])
    np.testing.assert_allclose(rows(load(folder), pictures()), expected, atol=1e-5)
    assert rows(load(folder, "text"), TEXTS).shape == (len(TEXTS), 16)


# --- timm and torchvision ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["densenet121", "vit_small_patch16_224"])
def test_timm_gives_what_its_own_classifier_reads(name: str, zoo: Path) -> None:
    folder = timm_checkpoint(zoo, name)
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    with torch.no_grad():
        expected = model(torch.stack([transform(picture) for picture in pictures()]))
        logits = model.get_classifier()(torch.from_numpy(rows(load(folder), pictures())))
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model_args": {"checkpoint_path": "weights.bin", "block_config": [1, 1, 1, 1]}}, "checkpoint_path"),
        ({"model_args": {"pretrained_cfg": {"file": "weights.bin"}}}, "pretrained_cfg"),
        ({"model_args": {"cache_dir": "elsewhere"}}, "cache_dir"),
        ({"architecture": "local-dir:elsewhere"}, "local-dir:elsewhere"),
    ],
)
def test_config_json_of_timm_names_no_other_files(
    change: dict[str, Any], named: str, zoo: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(timm_checkpoint(zoo, "densenet121"), tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(EmmsError, match=re.escape(named)):
        load(folder)


def test_timm_features_are_cached_apart_by_its_version(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    folder = timm_checkpoint(zoo, "densenet121")
    before = plan_extraction(repo_of(folder), IMAGE, "t").versions
    (tmp_path / "timm-9.9.dist-info").mkdir()
    (tmp_path / "timm-9.9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: timm\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    # Another process is to read the version anew, and so are the tests after this one.
    installed_version.cache_clear()
    request.addfinalizer(installed_version.cache_clear)
    assert plan_extraction(repo_of(folder), IMAGE, "t").versions != before


def test_without_timm_its_checkpoints_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet50", "pretrained_cfg": {}}))
    monkeypatch.setitem(sys.modules, "timm", None)  # as good as not installed, to the import system
    with pytest.raises(EmmsError, match="timm, which is not installed") as error:
        plan_extraction(repo_of(tmp_path), IMAGE, "t")
    assert error.value.hint == "pip install './hf-emms[timm]'  # a clone of its repository; on no package index yet"


# --- captioners -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CAPTIONER_PAIRS)
def test_captioners_see_the_picture_and_no_caption(name: str, zoo: Path) -> None:
    extractor = load(captioner(zoo, name))
    words: set[int] = set()

    def read(module: torch.nn.Module, arguments: tuple) -> None:
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings == 400:
            words.update(arguments[0].unique().tolist())

    handle = torch.nn.modules.module.register_module_forward_pre_hook(read)
    try:
        features = same_alone_and_together(extractor, pictures())
    finally:
        handle.remove()
    assert features.shape[1] == 16 + 24
    assert features.std(0).min() > 0  # every column depends on the picture
    assert words == {START}


# --- the page ---------------------------------------------------------------------------------------------


def test_the_page_of_architectures_is_up_to_date() -> None:
    command = [*python(), "-m", "scripts.docs", "architectures"]
    done = subprocess.run([*command, "--check"], cwd=ROOT, check=False)
    assert done.returncode == 0, "`python -m scripts.docs architectures` rewrites docs/architectures.md"
