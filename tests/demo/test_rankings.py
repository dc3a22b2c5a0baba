"""The demo's presets for questions, spans and boxes, end to end: what was trained ranks before random weights."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import soundfile

import hf_emms
from hf_emms.presets import dataset_presets
from hf_emms.publish.card_text import card
from hf_emms.ranking import Ranking
from tests.helpers.notes import codes
from tests.helpers.samples import load_sample

BEST = {
    "demo_vqa": ("emms-demo/vilt-vqa",),
    "demo_easy_vqa": ("emms-demo/vilt-vqa",),
    "demo_spans": ("emms-demo/bert-distilled",),
    "demo_boxes": ("emms-demo/owlvit-scenes",),
    # Within the noise of each other.
    "demo_pairs": ("emms-demo/bert-distilled", "emms-demo/albert-distilled"),
    "demo_words": ("emms-demo/bert-distilled", "emms-demo/bert-masked-short"),
    "demo_sounds": ("emms-demo/ast-words",),
}


def test_json_and_card_of_sounds_say_how_long_they_last(emms_cache: Path) -> None:
    options = {"encoders": "emms-demo/encoder-minilm-static", "estimators": ["emms"], "max_samples": 60}
    checkpoint = "emms-demo/ast-random"
    ranking = hf_emms.rank("demo_sounds", [checkpoint], **options)
    clips = load_sample("demo_sounds", max_samples=60).inputs
    seconds = sum(soundfile.info(io.BytesIO(clip)).duration for clip in clips)
    assert 0.2 < seconds / 60 < 1
    assert Ranking.from_json(ranking.to_json()).input_seconds == pytest.approx(seconds)
    assert f"60 distinct inputs of {seconds:.0f} seconds in total, 10 distinct" in card(ranking)


@pytest.mark.parametrize(
    "preset", [pytest.param(name, marks=[] if name == "demo_vqa" else pytest.mark.slow) for name in BEST]
)
def test_what_was_trained_for_longest_comes_first_and_random_weights_last(preset: str, emms_cache: Path) -> None:
    ranking = hf_emms.rank(preset, estimators=["emms"])
    assert not [row.error for row in ranking.rows if row.error]
    order = [row.checkpoint for row in ranking.rows]
    assert order[0] in BEST[preset]
    # briefly trained ones may tie with them, but not the upper half
    assert not any(name.endswith("-random") for name in order[: len(order) // 2])
    assert order[-1].endswith("-random") or order[-2].endswith("-random")


def test_a_language_model_of_other_texts_learns_definitions_that_it_could_not_write_before(emms_cache: Path) -> None:
    ranking = hf_emms.rank("demo_definitions", estimators=["short_run", "zero_shot"])
    assert [row.checkpoint for row in ranking.rows] == list(dataset_presets()["demo_definitions"].checkpoints)
    before = sorted(ranking.rows, key=lambda row: -row.scores["zero_shot"].value)
    assert before[0].checkpoint == "emms-demo/llama-glosses"
    assert before[-1].checkpoint == "emms-demo/gpt2-captions"


def test_a_model_of_definitions_prefers_them_to_their_words_in_another_order(emms_cache: Path) -> None:
    ranking = hf_emms.rank("demo_preferences", estimators=["preference_accuracy"])
    scores = {row.checkpoint: row.scores["preference_accuracy"].value for row in ranking.rows}
    assert ranking.rows[0].checkpoint == "emms-demo/llama-glosses"
    assert scores.pop("emms-demo/llama-glosses") > 0.85
    assert all(0.35 < score < 0.65 for score in scores.values())


def test_a_model_of_meanings_finds_the_words_that_definitions_define(emms_cache: Path) -> None:
    ranking = hf_emms.rank("demo_search", ["emms-demo/bert-distilled", "emms-demo/bert-random"])
    assert (ranking.task, ranking.n, ranking.settings["corpus_size"]) == ("text-retrieval", 489, 10_000)
    distilled, random = ranking.rows
    assert distilled.checkpoint == "emms-demo/bert-distilled"
    assert distilled.scores["zero_shot_ndcg"].value > 2 * random.scores["zero_shot_ndcg"].value
    assert ranking.reading is not None
    assert any("600 of 600 documents" in fact for fact in ranking.reading.facts)


def test_scores_of_the_checkpoint_itself_take_no_label_encoder(emms_cache: Path) -> None:
    options = {"estimators": "zero_shot", "encoders": "nobody/has-this-encoder", "max_samples": 40}
    ranking = hf_emms.rank("demo_definitions", ["emms-demo/llama-glosses-short"], **options)
    assert ranking.best is not None
    assert ranking.encoders == ()
    assert "encoders-unused" in codes(ranking.notes)
    assert "label encoder" not in card(ranking)
