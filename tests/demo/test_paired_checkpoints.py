"""The demo's checkpoints of pictures with texts: complete, loadable as from the Hub, and the trained ones can do it."""

from __future__ import annotations

import io
import json

import pyarrow.parquet as pq
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


def _rows(dataset: str) -> list[dict]:
    (path,) = (demo.folder_of(f"emms-demo/{dataset}") / "data").glob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    return [row | {"image": Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB")} for row in rows]


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


def test_vilt_answers_questions_on_drawings_of_another_style():
    model, processor = _load("emms-demo/vilt-vqa")
    rows = _rows("emoji-vqa")[:120]
    right = 0
    with torch.inference_mode():
        for row in rows:
            inputs = processor(text=row["question"], images=row["image"], return_tensors="pt")
            right += model.config.id2label[int(model(**inputs).logits.argmax())] == row["answer"]
    most_common = max(sum(row["answer"] == other["answer"] for other in rows) for row in rows)
    assert right > 1.7 * most_common


def test_the_detector_points_into_the_box_more_often_than_a_random_one():
    rows = _rows("emoji-boxes")[:150]
    hits = {}
    for repo_id in ("emms-demo/owlvit-scenes", "emms-demo/owlvit-random"):
        model, processor = _load(repo_id)
        hits[repo_id] = sum(_points_inside(model, processor, row) for row in rows)
    assert hits["emms-demo/owlvit-scenes"] > 2 * hits["emms-demo/owlvit-random"]
    assert hits["emms-demo/owlvit-scenes"] > 0.4 * len(rows)


def _points_inside(model, processor, row: dict) -> bool:
    inputs = processor(text=[row["answer"][0]], images=row["image"], return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs)
    x, y = (outputs.pred_boxes[0, int(outputs.logits[0, :, 0].argmax()), :2] * torch.tensor(row["image"].size)).tolist()
    left, top, width, height = row["bbox"]
    return left <= x <= left + width and top <= y <= top + height


def test_the_trained_dual_encoder_tells_which_scene_a_statement_is_of():
    rows = [row for row in _rows("emoji-vqa") if " the " in row["question"] and row["answer"] not in ("yes", "no")][:60]
    texts = [f"{row['question']} {row['answer']}" for row in rows]
    ranks = {}
    for repo_id in ("emms-demo/twotower-distilled", "emms-demo/clip-random"):
        model, processor = _load(repo_id)
        inputs = processor(text=texts, images=[row["image"] for row in rows], return_tensors="pt", padding=True)
        with torch.inference_mode():
            similar = model(**inputs).logits_per_text
        ranks[repo_id] = float((similar > similar.diagonal()[:, None]).sum(1).float().mean())
    assert ranks["emms-demo/clip-random"] > 0.4 * len(rows)
    assert ranks["emms-demo/twotower-distilled"] < 0.25 * len(rows)
