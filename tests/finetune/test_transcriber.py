"""Checkpoints that transcribe as they are: their texts, their wrong words, and what those that do not are told."""

from __future__ import annotations

from pathlib import Path

import datasets
import numpy as np
import pytest
import transformers

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.features.extraction_plan import plan_extraction
from hf_emms.finetune.fine_tune import choose
from hf_emms.heads.asr_model import load_asr_model
from hf_emms.heads.metrics import character_errors, spoken_words, word_errors
from hf_emms.inputs import AUDIO
from hf_emms.options import Options
from hf_emms.ranking.progress import Silent
from hf_emms.run.plan import plan
from tests.helpers.sound import ASR_MODELS, RATE, asr_model, encoded, sound_checkpoint, tone
from tests.helpers.tiny_checkpoints import repo_of

SECONDS = (1.0, 0.3, 1.7, 0.3)
SOUNDS = [encoded(tone(200 + 300 * i, seconds, seed=i)) for i, seconds in enumerate(SECONDS)]


@pytest.mark.parametrize("name", ASR_MODELS)
def test_texts_are_those_of_the_pipeline_of_transformers(name: str, zoo: Path) -> None:
    folder = asr_model(zoo, name)
    texts = load_asr_model(plan_extraction(repo_of(folder), AUDIO, "asr")).transcribe(SOUNDS)
    pipeline = transformers.pipeline("automatic-speech-recognition", str(folder))
    settings = {} if name.startswith("wav2vec2") else {"generate_kwargs": {"num_beams": 1, "max_new_tokens": 16}}
    samples = [tone(200 + 300 * i, seconds, seed=i)[:, 0] for i, seconds in enumerate(SECONDS)]
    expected = [pipeline({"raw": raw, "sampling_rate": RATE}, **settings)["text"] for raw in samples]
    assert any(texts)
    assert [text.split() for text in texts] == [text.split() for text in expected]


def test_case_punctuation_and_apostrophes_do_not_make_words_wrong() -> None:
    assert spoken_words("  Don't stop: ＡＢＣ, twenty-one!") == ["dont", "stop", "abc", "twenty", "one"]
    assert spoken_words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert spoken_words("今日は。") == ["今", "日", "は"]
    assert word_errors("The cat, sat down", "the CAT sat.") == (1, 3)
    assert character_errors("cats", "cat") == (1, 3)
    assert word_errors("", "two words") == (2, 2)
    assert word_errors("one", "...") == (1, 0)


def test_wrong_words_stand_beside_the_ranking_of_all_checkpoints(zoo: Path, emms_cache: Path) -> None:
    rows = {
        "audio": [{"bytes": encoded(tone(200 + 20 * i, 0.3, seed=i)), "path": None} for i in range(24)],
        "text": [f"{'ab'[i % 2]} {'cdefgh'[i % 6]}" for i in range(24)],
    }
    data = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio())
    transcribing = asr_model(zoo, "wav2vec2-layer-norm")
    folders = [transcribing, sound_checkpoint(zoo, "wav2vec2"), sound_checkpoint(zoo, "audio-spectrogram-transformer")]
    ranking = hf_emms.rank(data, [str(folder) for folder in folders], encoders="demo", device="cpu")
    assert ranking.task == "automatic-speech-recognition"
    assert ranking.estimators == ("emms_knn", "emms", "word_error_rate")
    rows_by_name = {Path(row.checkpoint).name: row for row in ranking.rows}
    assert all(row.error is None for row in ranking.rows)
    score = rows_by_name[transcribing.name].scores["word_error_rate"]
    assert score.value < 0
    assert score.stderr is not None
    assert score.details["rows"] == 24
    for name, reason in (("sound-wav2vec2", "has no tokenizer"), (folders[2].name, "without a head that transcribes")):
        assert "word_error_rate" not in rows_by_name[name].scores
        assert any("no word_error_rate score" in note and reason in note for note in rows_by_name[name].notes)
    assert [Path(row.checkpoint).name for row in ranking.rows if row.no_head is not None] == [folders[2].name]
    shortlist, notes = choose(ranking.rows, 3)
    assert {row.checkpoint for row in shortlist} == {str(folder) for folder in folders[:2]}
    assert [f"{folders[2]} is not fine-tuned: " in note and "a head that transcribes" in note for note in notes] == [
        True
    ]
    with pytest.raises(EmmsError, match=r"no checkpoint of the ranking can be fine-tuned: .* without a head"):
        choose([rows_by_name[folders[2].name]], 1)
    raced = Options(data, checkpoints=(str(transcribing),), encoders=("demo",), race=1)
    assert plan(raced, Silent()).options.estimators == ("emms_knn", "emms")
    with pytest.raises(EmmsError, match="word_error_rate is for labels that checkpoints write, and not for text-class"):
        hf_emms.rank("demo_glosses", [str(transcribing)], estimators=["word_error_rate"], max_samples=60)


def test_a_checkpoint_without_its_head_has_no_wrong_words(zoo: Path, tmp_path: Path) -> None:
    folder = asr_model(zoo, "wav2vec2-layer-norm")
    base = transformers.Wav2Vec2Model.from_pretrained(folder)
    for name in ("vocab.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    base.save_pretrained(tmp_path)
    with pytest.raises(EmmsError, match="has no head that transcribes: it has no weights for lm_head"):
        load_asr_model(plan_extraction(repo_of(tmp_path), AUDIO, "asr"))


def test_long_clips_are_read_in_parts(zoo: Path) -> None:
    model = load_asr_model(plan_extraction(repo_of(asr_model(zoo, "whisper")), AUDIO, "asr"))
    long = tone(300, 3.0, seed=5)
    halves = model.transcribe([encoded(half) for half in np.array_split(long, 2)])
    assert model.transcribe([encoded(long), SOUNDS[0]])[0] == " ".join(filter(None, halves))
