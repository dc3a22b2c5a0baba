"""ASR checkpoints before and after fine-tuning: transcripts, word errors, and errors for other checkpoints."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import datasets
import numpy as np
import pytest
import torch
import transformers

import hf_emms
from hf_emms.errors import EmmsError
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.fine_tune import choose
from hf_emms.heads import LabeledSplit
from hf_emms.heads.head import HEAD_RATE
from hf_emms.heads.metrics import CHARACTERS_RIGHT, WORDS_RIGHT, character_errors, spoken_words, word_errors
from hf_emms.heads.split import BatchedRows
from hf_emms.heads.transcript import load_asr_model, max_new_tokens
from hf_emms.inputs import AUDIO
from tests.finetune.make import FAST, ranking, save
from tests.finetune.task_rows import loaded
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes
from tests.helpers.sound import ASR_MODELS, RATE, asr_model, encoded, sound_checkpoint, tone
from tests.helpers.tiny_checkpoints import repo_of

SECONDS = (1.0, 0.3, 1.7, 0.3)
SOUNDS = [encoded(tone(200 + 300 * i, seconds, seed=i)) for i, seconds in enumerate(SECONDS)]


@pytest.mark.parametrize("name", ASR_MODELS)
def test_transcripts_equal_those_of_the_pipeline(name: str, zoo: Path) -> None:
    """Transcripts have at most 16 tokens plus 25 per second of the longest clip, within the decoder's limit."""
    folder = asr_model(zoo, name)
    model = load_asr_model(make_feature_spec(repo_of(folder), AUDIO, "asr"))
    batches: list[int] = []
    texts = [*model.transcribe(SOUNDS, lambda: batches.append(1)), *model.transcribe(SOUNDS[:1])]
    assert len(batches) == (0 if model.reader.fixed_length else len(SOUNDS))  # the last batch is not reported
    pipeline, expected = transformers.pipeline("automatic-speech-recognition", str(folder)), []
    for i, longest in ((0, 1.7), (1, 1.7), (2, 1.7), (3, 1.7), (0, 1.0)):
        settings: dict[str, Any] = {"task": "transcribe"} if name == "whisper-multilingual" else {}
        settings |= {"num_beams": 1, "max_new_tokens": min(16 + int(25 * longest), 44 if name == "whisper" else 16)}
        raw = tone(200 + 300 * i, SECONDS[i], seed=i)[:, 0]
        arguments = {} if model.is_ctc else {"generate_kwargs": settings}
        expected.append(pipeline({"raw": raw, "sampling_rate": RATE}, **arguments)["text"])
    assert any(texts)
    assert [text.split() for text in texts] == [text.split() for text in expected]


def test_without_jiwer_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(EmmsError) as caught:
        word_errors("one", "one")
    assert "[audio]" in str(caught.value.hint)


def test_case_punctuation_and_apostrophes_are_no_errors() -> None:
    assert spoken_words("  Don't stop: ＡＢＣ, twenty-one!") == ["dont", "stop", "abc", "twenty", "one"]
    assert spoken_words("हिन्दी भाषा") == ["हिन्दी", "भाषा"]
    assert spoken_words("今日は。") == ["今", "日", "は"]
    assert word_errors("The cat, sat down", "the CAT sat.") == (1, 3)
    assert character_errors("cats", "cat") == (1, 3)
    assert word_errors("", "two words") == (2, 2)
    assert word_errors("one", "...") == (1, 0)
    assert WORDS_RIGHT.compute(["one"], [(("...", 1.0),)]) == 0
    references = [(("one", 0.5), ("two words", 0.5)), (("three more words", 1.0),)]
    assert WORDS_RIGHT.compute(["two words", "three more words"], references) == 1 - 2 / 4


def test_word_error_rates_are_shown_next_to_the_ranking(zoo: Path) -> None:
    data = transcripts(24)
    transcribing = asr_model(zoo, "wav2vec2-layer-norm")
    folders = [transcribing, sound_checkpoint(zoo, "wav2vec2"), sound_checkpoint(zoo, "audio-spectrogram-transformer")]
    ranked = hf_emms.rank(data, [str(folder) for folder in folders], encoders="demo", device="cpu")
    assert ranked.task == "automatic-speech-recognition"
    assert ranked.estimators == ("emms_knn", "emms", "word_error_rate")
    rows_by_name = {Path(row.checkpoint).name: row for row in ranked.rows}
    assert all(row.error is None for row in ranked.rows)
    score = rows_by_name[transcribing.name].scores["word_error_rate"]
    assert score.value < 0
    assert score.stderr is not None
    assert score.details["rows"] == 24
    for name, reason in (("sound-wav2vec2", "has no tokenizer"), (folders[2].name, "without a head that transcribes")):
        assert "word_error_rate" not in rows_by_name[name].scores
        assert any("no word_error_rate score" in str(note) and reason in str(note) for note in rows_by_name[name].notes)
    assert [Path(row.checkpoint).name for row in ranked.rows if row.no_head is not None] == [folders[2].name]
    shortlist, notes = choose(ranked.rows, 3)
    assert {row.checkpoint for row in shortlist} == {str(folder) for folder in folders[:2]}
    (note,) = notes
    assert note.code == "not-fine-tuned"
    with raises_code("no-head"):
        choose([rows_by_name[folders[2].name]], 1)


def test_a_checkpoint_without_its_head_has_no_word_error_rate(zoo: Path, tmp_path: Path) -> None:
    folder = asr_model(zoo, "wav2vec2-layer-norm")
    transformers.Wav2Vec2Model.from_pretrained(folder).save_pretrained(tmp_path)
    for name in ("vocab.json", "tokenizer_config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with raises_code("weights-missing", "lm_head"):
        load_asr_model(make_feature_spec(repo_of(tmp_path), AUDIO, "asr"))


def test_long_clips_are_read_in_parts(zoo: Path) -> None:
    model = load_asr_model(make_feature_spec(repo_of(asr_model(zoo, "whisper")), AUDIO, "asr"))
    long = tone(300, 3.0, seed=5)
    halves = model.transcribe([encoded(half) for half in np.array_split(long, 2)])
    assert model.transcribe([encoded(long), SOUNDS[0]])[0] == " ".join(filter(None, halves))


# ---- fine-tuned ------------------------------------------------------------------------------------------------------

WORDS = ["Do!", "mi"]


@pytest.mark.parametrize("name", ["wav2vec2-layer-norm", "whisper"])
def test_training_skips_and_counts_clips_that_are_too_long(name: str, zoo: Path) -> None:
    network, _ = loaded(asr_model(zoo, name), transcripts(24), "automatic-speech-recognition")
    asr = load_asr_model(make_feature_spec(repo_of(asr_model(zoo, name)), AUDIO, "automatic-speech-recognition"))
    whole = tone(300, asr.reader.part / RATE)
    long = encoded(np.concatenate([whole, whole[:1]]))
    # Start and end tokens count too. CTC cannot train on empty transcripts or on more letters than frames.
    texts = ["a", "a", "...", "a" * 200] if asr.is_ctc else ["a", "a", "a" * 43, "a" * 42]
    assert asr.is_ctc or max_new_tokens(asr.model) == 44

    def rows(sounds: list[bytes], texts: list[str]) -> BatchedRows:
        return network.rows(LabeledSplit.of_inputs(sounds, [((text, 1.0),) for text in texts]), True)

    assert len(rows(SOUNDS[:1], ["a"])) == 1
    some = rows([encoded(whole), long, SOUNDS[1], SOUNDS[1]], texts)
    assert len(some) == 2
    assert network.model(**some.batch(np.arange(2)))["loss"].isfinite()
    assert codes(network.notes) == ["clips-skipped"]
    assert "2 clips" in str(network.notes[0])
    with raises_code("clips-too-long"):
        rows([long], ["a"])


def test_a_multilingual_checkpoint_is_trained_in_the_language_of_the_first_clips(
    zoo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = torch.tensor([31, 30, 30, 31, 31, 30, 31, 31])
    detect = Mock(return_value=heard)
    monkeypatch.setattr(transformers.WhisperForConditionalGeneration, "detect_language", detect)
    network, splits = loaded(asr_model(zoo, "whisper-multilingual"), transcripts(24), "automatic-speech-recognition")
    assert len(detect.call_args.args[0]) == len(heard)
    assert codes(network.notes) == ["language-detected"]
    assert "<|en|>" in str(network.notes[0])
    labels = network.rows(splits.train, True).batch(np.arange(8))["labels"]
    assert labels[:, :3].tolist() == [[31, 32, 39]] * 8, "English, transcribe, no timestamps"
    settings = network.model.generation_config
    assert (settings.language, settings.task) == ("<|en|>", "transcribe")
    assert (settings.num_beams, settings.max_new_tokens, settings.forced_decoder_ids) == (1, 16, None)


CAPITALS = {"vocab.json": {**dict.fromkeys("abcdefghijklmnopq", ...), **dict(zip("DEIMO", range(3, 8), strict=True))}}


@pytest.mark.parametrize(
    ("changes", "is_kept"),
    [
        ({"config.json": {"vocab_size": 18}}, True),  # o, number 17, is the last letter that is needed
        ({"config.json": {"vocab_size": 17}}, False),
        ({"config.json": {"vocab_size": ...}, "vocab.json": {"o": 32}}, False),  # 32 by default
        ({"config.json": {"vocab_size": 99}, "vocab.json": {"o": ...}}, False),
        (CAPITALS, True),
        ({"tokenizer_config.json": {"pad_token": None}}, False),
        ({"config.json": {"architectures": None}}, False),
    ],
)
def test_a_ctc_head_is_kept_if_it_has_all_letters(
    changes: dict[str, dict[str, Any]], is_kept: bool, zoo: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(asr_model(zoo, "wav2vec2-layer-norm"), tmp_path / "model"))
    for name, values in changes.items():
        changed = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps({key: value for key, value in changed.items() if value is not ...}))
    network, splits = loaded(folder, transcripts(24), "automatic-speech-recognition")
    assert codes(network.notes) == ([] if is_kept else ["new-head"])
    outputs = json.loads((folder / "config.json").read_text()).get("vocab_size")
    assert network.model.lm_head.out_features == (outputs if is_kept else 3 + 4)
    assert network.head_rate == (0.0 if is_kept else HEAD_RATE)
    row = splits.train.references.index((("do! mi", 1.0),))
    labels = network.rows(splits.train, True).batch(np.array([row]))["labels"][0].tolist()
    letters = network.processors[1].get_vocab()
    assert labels == [letters[letter] for letter in ("DO|MI" if changes is CAPITALS else "do|mi")]


def spoken(count: int, first: int = 0) -> tuple[list[np.ndarray], list[str]]:
    """Clips with two tones, high or low, and a word per tone."""
    places = [(row % 2, row // 2 % 2) for row in range(count)]
    sounds = [
        np.concatenate([tone([250, 2500][pitch], 0.25, seed=first + row) for pitch in pair])
        for row, pair in enumerate(places)
    ]
    return sounds, [" ".join(WORDS[pitch] for pitch in pair) for pair in places]


def transcripts(count: int, first: int = 0) -> datasets.Dataset:
    sounds, texts = spoken(count, first)
    audio = [{"bytes": encoded(samples), "path": None} for samples in sounds]
    return datasets.Dataset.from_dict({"audio": audio, "text": texts}).cast_column("audio", datasets.Audio())


def confirmed(folders: list[Path], tmp_path: Path, **options: Any) -> list[Any]:
    data = save(datasets.DatasetDict(train=transcripts(40), test=transcripts(12, 500)), tmp_path / "data")
    columns = {"audio": "audio", "text": "text"}
    ranked = ranking(data, "automatic-speech-recognition", columns, dict.fromkeys(map(str, folders), -0.1))
    result = hf_emms.confirm(ranked, top=len(folders), save_model=str(tmp_path / "kept"), **FAST | options)
    return [row.fine_tuned for row in result.rows]


@pytest.mark.parametrize("name", ["wav2vec2", "wav2vec2-layer-norm", "whisper-multilingual"])
def test_the_pipeline_reproduces_the_reported_score(name: str, zoo: Path, tmp_path: Path) -> None:
    folder = asr_model(zoo, name) if name in ASR_MODELS else sound_checkpoint(zoo, name)
    (result,) = confirmed([folder], tmp_path)
    assert result.error is None
    assert result.metric == "1 - WER"
    assert set(result.scores) == {"1 - WER", "1 - CER"}
    transcribe = transformers.pipeline("automatic-speech-recognition", str(tmp_path / "kept"))
    sounds, texts = spoken(12, 500)
    written = [transcribe({"raw": samples[:, 0], "sampling_rate": RATE})["text"] for samples in sounds]
    references = [[(text, 1.0)] for text in texts]
    for metric in (WORDS_RIGHT, CHARACTERS_RIGHT):
        assert metric.compute(written, references) == pytest.approx(result.scores[metric.name])
    notes = [note for run in result.runs for note in run.notes]
    assert ("new-head" in codes(notes)) == (name == "wav2vec2")
    assert "pipeline_tag: automatic-speech-recognition" in (tmp_path / "kept" / "README.md").read_text()
