"""Test checkpoints with damaged or hostile files: each is one failed row."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_emms
from hf_emms.run.label_embeddings import _check_embeddings
from hf_emms.run.plan import or_failed_row
from tests.features.test_weights import Harmful
from tests.finetune.test_response_scorer import rows as prompts
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer

GOOD, ENCODER = "emms-demo/resnet-distilled", "emms-demo/encoder-minilm-static"

Spoil = Callable[[Path], None]


def edit(name: str, **changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


config, tokenizer = partial(edit, "config.json"), partial(edit, "tokenizer.json")


def cut_weights(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def harmful_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"weight": torch.zeros(2), "more": Harmful(folder / "ran")}, folder / "pytorch_model.bin")


def folder_for_a_file(folder: Path) -> None:
    (folder / "preprocessor_config.json").unlink()
    (folder / "preprocessor_config.json").mkdir()


SPOILED: dict[str, Spoil] = {
    "size-is-text": config(hidden_size="big"),
    "size-is-list": config(hidden_size=[1, 2]),
    "size-is-null": config(hidden_size=None),
    "size-is-negative": config(hidden_size=-16),
    "layers-are-object": config(num_hidden_layers={"a": 1}),
    "layers-are-too-many": config(num_hidden_layers=2**40),
    "layers-are-negative": config(num_hidden_layers=-1),
    "heads-are-zero": config(num_attention_heads=0),
    "type-is-number": config(model_type=7),
    "type-is-list": config(model_type=["vit"]),
    "activation-is-number": config(hidden_act=3),
    "labels-are-number": config(id2label=5),
    "config-is-list": lambda folder: (folder / "config.json").write_text("[1]") and None,
    "config-is-deep": lambda folder: (folder / "config.json").write_text("[" * 100_000) and None,
    "file-is-folder": folder_for_a_file,
    "weights-are-cut": cut_weights,
    "weights-run-code": harmful_pickle,
}


def test_every_damaged_checkpoint_is_one_failed_row(tmp_path: Path, emms_cache: Path) -> None:
    for name, spoil in SPOILED.items():
        build(tmp_path / name, "vit")
        spoil(tmp_path / name / "vit")
    spoiled = [str(tmp_path / name / "vit") for name in SPOILED]
    ids = [*spoiled, "n" * 300, f"./{'n' * 300}", GOOD]
    ranking = hf_emms.rank("demo_captions", ids, max_samples=60, encoders=ENCODER, estimators="emms")
    rows = {row.checkpoint: row for row in ranking}
    assert sorted(rows) == sorted(ids)
    assert rows[GOOD].error is None
    assert {id for id in rows if rows[id].error is None} <= {GOOD, str(tmp_path / "labels-are-number" / "vit")}
    errors = {name: rows[str(tmp_path / name / "vit")].error or "" for name in SPOILED}
    assert "weights" in errors["weights-are-cut"]
    assert "posix.system" in errors["weights-run-code"]
    assert not (tmp_path / "weights-run-code" / "vit" / "ran").exists()
    assert not any("\n" in (row.error or "") for row in rows.values())


def with_weights(factor: float) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file({name: tensor * factor for name, tensor in load_file(path).items()}, path, {"format": "pt"})

    return spoil


def test_a_language_model_without_weights_is_a_failed_row(zoo: Path, tmp_path: Path, emms_cache: Path) -> None:
    folder = shutil.copytree(writer(zoo, "gpt2"), tmp_path / "gpt2")
    (folder / "model.safetensors").unlink()
    (row,) = hf_emms.rank(prompts(), str(folder), estimators="short_run", encoders=ENCODER, device="cpu").rows
    assert "model.safetensors" in (row.error or "")


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_zero_weights_are_a_note_and_non_finite_weights_an_error(tmp_path: Path, emms_cache: Path) -> None:
    for name, factor in (("zero", 0.0), ("nan", float("nan"))):
        with_weights(factor)(build(tmp_path / name, "vit"))
    folders = {name: str(tmp_path / name / "vit") for name in ("zero", "nan")}
    for cache in (True, False):
        ranking = hf_emms.rank(
            "demo_captions", [*folders.values(), GOOD], max_samples=60, encoders=ENCODER, cache=cache
        )
        rows = {row.checkpoint: row for row in ranking.rows}
        assert "features-without-variation" in codes(rows[folders["zero"]].notes)
        assert 'NaN or infinite features for 60 of 60 inputs → dtype="float32"' in (rows[folders["nan"]].error or "")
        assert rows[GOOD].notes == ()


@pytest.mark.parametrize(
    ("spoil", "reason", "hint"),
    [
        (with_weights(0.0), "the same embedding", "encoders="),
        (with_weights(float("nan")), "NaN", "encoders="),
        # Whatever it raises.
        (config(hidden_size=[1, 2]), "cannot be used", 'encoders="demo"'),
    ],
)
def test_a_useless_encoder_raises_an_error_before_any_checkpoint_runs(
    tmp_path: Path, emms_cache: Path, spoil: Spoil, reason: str, hint: str
) -> None:
    spoil(build(tmp_path, "bert"))
    with raises_code("encoder-failed", reason) as raised:
        hf_emms.rank("demo_captions", GOOD, max_samples=60, encoders=tmp_path / "bert")
    assert hint in str(raised.value.hint)
    _check_embeddings("org/encoder", np.ones((1, 3)))  # a single label text
    with raises_code("encoder-failed", "2 label texts"):
        _check_embeddings("org/encoder", np.arange(3.0)[None].repeat(2, axis=0))


def test_or_failed_row_catches_errors_but_not_interrupts(caplog: pytest.LogCaptureFixture) -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(error: BaseException) -> None:
        raise error

    with caplog.at_level("DEBUG", "hf_emms"):
        assert or_failed_row("a", None, lambda: fail(StopIteration("x"))).error == "StopIteration: x"  # type: ignore[union-attr]
    assert "raise error" in caplog.text  # the line that raised it
    assert or_failed_row("a", None, lambda: fail(OddError())).error == "OddError"  # type: ignore[union-attr]
    for stop in (KeyboardInterrupt(), SystemExit(), GeneratorExit()):
        with pytest.raises(type(stop)):
            or_failed_row("a", None, lambda stop=stop: fail(stop))


# Each is a panic of Rust, or describes a model that cannot exist; → the reason in its row.
IMPOSSIBLE: dict[str, tuple[Spoil, str]] = {
    "vocabulary": (config(vocab_size=2**33), "config.json of .* describes [0-9,]{14,} parameters"),
    "positions": (config(max_position_embeddings=2**33), "config.json of .* describes [0-9,]{14,} parameters"),
    "intermediate": (config(intermediate_size=2**33), "config.json of .* describes [0-9,]{14,} parameters"),
    "panic": (tokenizer(pre_tokenizer={"type": "FixedLength", "length": 0}), "PanicException"),
}


def test_a_model_that_cannot_exist_and_a_panic_are_failed_rows(tmp_path: Path, emms_cache: Path) -> None:
    for name, (spoil, _) in IMPOSSIBLE.items():
        spoil(build(tmp_path / name, "bert"))
    good = "emms-demo/bert-distilled"
    ids = [*(str(tmp_path / name / "bert") for name in IMPOSSIBLE), good]
    ranking = hf_emms.rank("demo_glosses", ids, max_samples=60, encoders=ENCODER, estimators="emms")
    assert ranking.row(good).error is None
    for name, (_, reason) in IMPOSSIBLE.items():
        assert re.search(reason, ranking.row(str(tmp_path / name / "bert")).error or ""), name
