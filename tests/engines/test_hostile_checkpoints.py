"""Checkpoints with damaged or hostile files: one failed row each, and the other rows stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hf_emms
from hf_emms.engines.base import or_failed_row
from tests.helpers.tiny_checkpoints import build

GOOD = "emms-demo/resnet-distilled"

Spoil = Callable[[Path], None]


def config(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def weights_outside(folder: Path) -> None:
    shutil.move(folder / "model.safetensors", folder.parent / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"embeddings.cls_token": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def folder_for_a_file(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    (folder / "preprocessor_config.json").mkdir()


SPOILED: dict[str, Spoil] = {
    "size-is-text": config(hidden_size="big"),
    "size-is-list": config(hidden_size=[1, 2]),
    "size-is-null": config(hidden_size=None),
    "size-is-negative": config(hidden_size=-16),
    "layers-are-object": config(num_hidden_layers={"a": 1}),
    "heads-are-zero": config(num_attention_heads=0),
    "type-is-number": config(model_type=7),
    "type-is-list": config(model_type=["vit"]),
    "activation-is-number": config(hidden_act=3),
    "labels-are-number": config(id2label=5),
    "config-is-list": lambda folder: (folder / "config.json").write_text("[1]") and None,
    "config-is-deep": lambda folder: (folder / "config.json").write_text("[" * 100_000) and None,
    "file-is-folder": folder_for_a_file,
    "weights-outside": weights_outside,
}


@pytest.mark.parametrize("race", [None, 1])
def test_every_spoiled_checkpoint_is_one_failed_row(tmp_path: Path, emms_cache: Path, race: int | None) -> None:
    for name, spoil in SPOILED.items():
        build(tmp_path / name, "vit")
        spoil(tmp_path / name / "vit")
    spoiled = [str(tmp_path / name / "vit") for name in SPOILED]
    ids = [*spoiled, "n" * 300, f"./{'n' * 300}", GOOD]
    ranking = hf_emms.rank(
        "demo_captions", ids, max_samples=60, encoders="emms-demo/encoder-minilm-static", estimators="emms", race=race
    )
    rows = {row.checkpoint: row for row in ranking.rows}
    assert sorted(rows) == sorted(ids)
    assert rows[GOOD].error is None
    harmless = {str(tmp_path / name / "vit") for name in ("labels-are-number",)}
    assert {id for id in rows if rows[id].error is None} - harmless == {GOOD}
    assert "outside.safetensors" in (rows[str(tmp_path / "weights-outside" / "vit")].error or "")
    assert not any("\n" in (row.error or "") for row in rows.values())


def test_the_guard_of_a_row_takes_any_error_and_no_interruption() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(error: BaseException) -> None:
        raise error

    assert or_failed_row("a", None, lambda: fail(StopIteration("x"))).error == "StopIteration: x"  # type: ignore[union-attr]
    assert or_failed_row("a", None, lambda: fail(OddError())).error == "OddError"  # type: ignore[union-attr]
    with pytest.raises(KeyboardInterrupt):
        or_failed_row("a", None, lambda: fail(KeyboardInterrupt()))
