"""`load_finetuned` opens models with a custom head, and they reproduce the reported scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hf_emms
from hf_emms.inputs.audio import decode
from tests.finetune.task_rows import KINDS, checkpoint_of, kept, scores
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes
from tests.helpers.sound import RATE
from tests.helpers.tiny_checkpoints import build
from tests.helpers.tiny_writers import writer


@pytest.mark.parametrize(
    ("kind", "name", "method"),
    [
        ("classes", "clip-text", "lora"),
        ("colours", "dinov3_vit", "full"),
        ("values", "gpt2", "full"),  # its class of transformers has no bias for the mean
        ("tones", "moonshine", "full"),
        ("tags of long texts", "bart", "full"),
        ("some answers", "gemma", "full"),
        ("about pictures", "blip-vqa", "full"),
        ("boxes", "dual-vit", "full"),
        ("boxes", "owlvit", "full"),
        ("captions", "resnet", "full"),
    ],
)
def test_custom_heads_reproduce_their_scores(kind: str, name: str, method: str, zoo: Path, tmp_path: Path) -> None:
    folder, result, test = kept(KINDS[kind], checkpoint_of(zoo, kind, name), tmp_path, method=method)
    assert "new-layers" in codes(result.runs[0].notes)
    card = (folder / "README.md").read_text()
    assert "`pipeline()` would use a random head" in card
    assert "library_name: hf-emms" in card
    assert f"hf_emms.load_finetuned({str(folder)!r})" in card
    weights = load_file(folder / "head.safetensors").values()
    outputs = {"values": {1}, "boxes": {4, 64}, "captions": {13, 128, 3 * 128}}.get(kind, {2})
    assert {len(weight) for weight in weights if weight.ndim == 2} == outputs
    assert not [*(folder / "checkpoint").rglob("*.safetensors")], "descriptions alone"
    model = hf_emms.load_finetuned(folder, device="cpu")
    assert model.predict([]) == []
    inputs = [test.inputs[row] for row in test.input_of_row]
    if kind == "tones":
        inputs = [{"array": decode(sound, RATE), "sampling_rate": RATE} for sound in inputs]
    # Use several batches, except for values: their rank correlation depends on rounding in a batch.
    answers = model.predict(inputs, **({} if kind == "values" else {"batch_size": 7}))
    assert scores(KINDS[kind], answers, test) == pytest.approx(result.scores, abs=1e-4)


@pytest.mark.parametrize(
    ("task", "references", "tensor", "kind", "code"),
    [
        ("text-classification", ["cat", "dog"], "0.mean", "gpt2", "weights-mismatch"),
        ("text-classification", ["cat", "dog"], "weight", "gpt2", "weights-mismatch"),
        ("text-classification", ["cat", "dog"], "0.mean", "custom", "remote-code"),
        ("text-generation", [], "0.mean", "gpt2", "head-of-transformers"),
    ],
)
def test_heads_in_another_format_are_refused(
    task: str, references: list[str], tensor: str, kind: str, code: str, zoo: Path, tmp_path: Path
) -> None:
    checkpoint = writer(zoo, "gpt2")
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    config = Path(shutil.copytree(checkpoint, folder / "checkpoint"), "config.json")
    own_code = {"model_type": kind, "auto_map": {"AutoModel": "code.Model"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | (own_code if kind == "custom" else {})))
    (folder / "head.json").write_text(json.dumps({"task": task, "references": references}))
    save_file({tensor: torch.zeros(8)}, folder / "head.safetensors")
    with raises_code(code):
        hf_emms.load_finetuned(folder)


def test_inputs_of_other_types_are_refused(zoo: Path, tmp_path: Path) -> None:
    folder, _, test = kept(KINDS["pairs"], build(zoo, "clip-text"), tmp_path, epochs=1)
    assert "model.predict([(text, text_pair), ...])" in (folder / "README.md").read_text()
    model = hf_emms.load_finetuned(folder, device="cpu")
    pairs = [test.inputs[row] for row in test.input_of_row]
    assert model.predict(pairs, batch_size=3) == model.predict(pairs)
    for inputs in (["a text"], [("a text",)], [["a text", "another"]]):
        with raises_code("invalid-input", "(text, text_pair)"):
            model.predict(inputs)
    for words in (3, b"bytes"):
        with raises_code("invalid-input") as raised:
            model.predict([("a text", words)])
        assert raised.value.hint == "pass texts"
