"""Features of questions with contexts, from real (tiny, random) checkpoints of every family."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from hf_emms.data import Pairs
from hf_emms.errors import EmmsError
from hf_emms.features.text_pairs import TextPairExtractor
from hf_emms.features.windows import cut_windows
from tests.helpers.extracting import Reads, load, rows
from tests.helpers.tiny_checkpoints import TEXT_MODELS, build, without_context

TOWERS = {"clip-text", "siglip-text"}
QUESTIONS = ["a small cat", "where is the old harbour", "red", ""]
CONTEXTS = [
    "the cat sits on a mat",
    "children play near the mountain road with boats and a small cat and a dog on the mat",
    " ".join(["the small dog sits on a red mat while rain falls over the old harbour"] * 12),
    "",
]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text_pairs")


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    parts = np.array([(question, context) for question in range(4) for context in range(4)])
    return Pairs(QUESTIONS, CONTEXTS, np.random.default_rng(1).permutation(parts))


def pair(question: str, context: str) -> Pairs:
    return Pairs([question], [context], np.zeros((1, 2), np.int64))


@pytest.mark.parametrize("name", [name for name in TEXT_MODELS if name not in TOWERS])
def test_a_row_depends_on_its_pair_alone(name: str, zoo: Path, pairs: Pairs) -> None:
    extractor = load(build(zoo, name), "text+text")
    assert isinstance(extractor, TextPairExtractor)
    together = rows(extractor, pairs)
    assert np.isfinite(together).all()
    for batch_size in (1, 3):
        np.testing.assert_allclose(rows(extractor, pairs, batch_size), together, atol=2e-5)
    np.testing.assert_allclose(rows(extractor, pairs[2:7]), together[2:7], atol=2e-5)
    assert any("fallback" in note for note in extractor.notes) == (name == "xlnet")


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5", "modernbert"])
def test_a_pair_that_fits_is_read_as_its_tokenizer_writes_it(name: str, zoo: Path) -> None:
    folder = build(zoo, name)
    question, context = "where is the cat", CONTEXTS[0]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    kind = transformers.T5EncoderModel if name == "t5" else transformers.AutoModel
    encoded = tokenizer(question, context, return_tensors="pt", return_token_type_ids=True)
    inputs = {"input_ids": encoded["input_ids"]}
    if name in ("bert", "roberta"):  # these tiny ones have two token types
        inputs["token_type_ids"] = encoded["token_type_ids"]
    with torch.no_grad():
        hidden = kind.from_pretrained(folder).eval()(**inputs).last_hidden_state[0]
    texts = np.array([-1 if text is None else text for text in encoded.sequence_ids(0)])
    expected = torch.cat([hidden[texts == 0].mean(0), hidden[texts == 1].mean(0)])
    np.testing.assert_allclose(rows(load(folder, "text+text"), pair(question, context))[0], expected, atol=1e-5)


def test_windows_say_together_what_one_pass_over_everything_would(zoo: Path, tmp_path: Path) -> None:
    """With attention and positions off, a token's state does not depend on its window: merging has to be exact."""
    near, far = without_context(zoo, tmp_path)
    short, long = load(near, "text+text"), load(far, "text+text")
    given = pair(QUESTIONS[1], CONTEXTS[2])
    np.testing.assert_allclose(rows(short, given), rows(long, given), atol=1e-5)
    assert long.notes == ()
    assert short.notes == ("1 input was longer than the 40 tokens that it reads: overlapping windows, merged",)


def test_every_context_token_counts_once_in_a_window_that_fits() -> None:
    for tokens in (0, 1, 17, 18, 19, 40, 101):
        context = list(range(tokens))
        windows = cut_windows([7, 8], context, 20)
        counted = [window.second[i] for window in windows for i in range(*window.counted)]
        assert counted == context
        assert all(len(window.first) + len(window.second) <= 20 for window in windows)
        for before, after in pairwise(windows):
            shared = set(before.second) & set(after.second)
            assert len(shared) >= 4
            # Whichever side of the meeting a token stands on, two tokens at least are around it.
            assert before.counted[1] <= len(before.second) - 2
            assert after.counted[0] >= 2


def test_the_end_of_a_long_context_is_read(zoo: Path) -> None:
    extractor = load(build(zoo, "bert"), "text+text")
    one, other = (rows(extractor, pair("cat", f"{CONTEXTS[2]} a {end}")) for end in ("telescope", "harbour"))
    assert np.abs(one - other).max() > 1e-4


def test_a_question_too_long_for_half_the_model_is_cut_and_noted(zoo: Path) -> None:
    extractor = load(build(zoo, "bert"), "text+text")
    assert np.isfinite(rows(extractor, pair(CONTEXTS[2], CONTEXTS[0]))).all()
    assert extractor.notes == ("1 text was cut at 20 tokens, the most that it reads",)


def test_each_window_is_read_once(zoo: Path, pairs: Pairs) -> None:
    extractor = load(build(zoo, "bert"), "text+text")
    read = Reads(extractor._model, "input_ids")
    rows(extractor, Pairs(QUESTIONS, CONTEXTS, np.array([(0, 0), (1, 0), (0, 1)])))
    assert read.rows == 3


def test_token_types_tell_question_and_context_apart(zoo: Path, tmp_path: Path) -> None:
    folder = build(zoo, "bert")
    extractor = load(folder, "text+text")
    with torch.no_grad():
        before = rows(extractor, pair("cat", "dog"))
        extractor._model.embeddings.token_type_embeddings.weight[1] += torch.randn(16)
        after = rows(extractor, pair("cat", "dog"))
    assert np.abs(after - before).max() > 1e-2


def test_sentence_layouts_are_read_from_their_folder_but_not_pooled_as_they_say(zoo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sentences"
    build(zoo, "bert").rename(folder)
    (folder / "modules.json").write_text(
        '[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},'
        '{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]'
    )
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 24}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    extractor = load(folder, "text+text")
    assert extractor.width == 2 * 16
    rows(extractor, pair("cat", CONTEXTS[1] + " " + CONTEXTS[1]))
    assert "24 tokens" in extractor.notes[0]


@pytest.mark.parametrize("name", ["clip-text", "siglip-text"])
def test_text_towers_read_no_pairs(name: str, zoo: Path) -> None:
    with pytest.raises(EmmsError, match="reads no pairs of texts") as refused:
        load(build(zoo, name), "text+text")
    assert "BERT" in str(refused.value.hint)


def test_an_image_model_reads_no_pairs_of_texts(zoo: Path) -> None:
    with pytest.raises(EmmsError, match="reads no pairs of texts"):
        load(build(zoo, "resnet"), "text+text")


def test_other_layers_are_refused_with_a_reason(zoo: Path, pairs: Pairs) -> None:
    assert "mean" in load(build(zoo, "electra"), "text+text", layers=("last", "mean")).refused
    with pytest.raises(EmmsError, match="no single layer mean"):
        load(build(zoo, "electra"), "text+text", layers=("mean",))
