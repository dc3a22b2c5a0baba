"""The demo's checkpoints of pictures with texts: complete, loadable as from the Hub, and the trained ones can do it."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from PIL import Image

from hf_emms.presets import demo

CLASSES = {
    "blip": "BlipForQuestionAnswering",
    "clip": "CLIPModel",
    "owlvit": "OwlViTForObjectDetection",
    "vilt": "ViltForQuestionAnswering",
    "vision-text-dual-encoder": "VisionTextDualEncoderModel",
}
LIMIT = 1_600_000  # bytes of all of them


def _family(repo_id: str) -> str:
    return json.loads((demo.folder_of(repo_id) / "config.json").read_text())["model_type"]


PAIRED = [repo_id for repo_id in demo.names("checkpoints") if _family(repo_id) in CLASSES]


def _load(repo_id: str):
    folder = demo.folder_of(repo_id)
    loader = getattr(transformers, CLASSES[_family(repo_id)])
    model, report = loader.from_pretrained(folder, local_files_only=True, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval(), transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)


def test_every_family_ships_and_together_they_are_small():
    assert {_family(repo_id) for repo_id in PAIRED} == set(CLASSES)
    files = [path for repo_id in PAIRED for path in demo.folder_of(repo_id).iterdir()]
    assert sum(path.stat().st_size for path in files) <= LIMIT


@pytest.mark.parametrize("repo_id", PAIRED)
def test_it_reads_a_picture_with_a_text(repo_id):
    model, processor = _load(repo_id)
    picture = Image.effect_mandelbrot((128, 96), (-2, -1, 1, 1), 50).convert("RGB")
    texts = ["what is left of the dog?", "the larger mushroom next to the telescope"]
    unknown = processor.tokenizer.unk_token_id
    for ids in processor.tokenizer(texts, add_special_tokens=False)["input_ids"]:
        assert unknown not in ids
        assert len(ids) <= 12
    inputs = processor(text=texts[:1], images=[picture], return_tensors="pt")
    with torch.inference_mode():
        if _family(repo_id) == "blip":
            written = processor.batch_decode(model.generate(**inputs), skip_special_tokens=True)
            assert all(written)
        else:
            outputs = model(**inputs)
            said = outputs.logits if "logits" in outputs else outputs.logits_per_image
            assert said.isfinite().all()
