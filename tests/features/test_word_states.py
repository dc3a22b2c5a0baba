"""Features of the words of texts, from real (tiny, random) checkpoints of every family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from hf_emms.errors import EmmsError
from hf_emms.inputs import Spans
from tests.helpers.extracting import Reads, load, rows
from tests.helpers.tiny_checkpoints import TEXT_MODELS, TEXTS, build, without_context

LONG = " ".join(TEXTS[:5] * 3)


def words_of(texts: list[str]) -> Spans:
    """Every word of texts."""
    bounds = []
    for number, text in enumerate(texts):
        start = 0
        for word in text.split(" "):
            bounds.append((number, start, start + len(word)))
            start += len(word) + 1
    return Spans(texts, np.array(bounds))


@pytest.mark.parametrize("name", sorted(set(TEXT_MODELS) - {"siglip-text"}))
def test_a_word_depends_on_its_text_alone(name: str, zoo: Path) -> None:
    words = words_of([*TEXTS[:5], LONG])
    extractor = load(build(zoo, name), "words", layers=("last", "spread"))
    together = rows(extractor, words)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(rows(extractor, words[3:9]), together[3:9], atol=2e-5)
    shuffled = np.random.default_rng(0).permutation(len(words))
    np.testing.assert_allclose(
        rows(extractor, Spans(words.inputs, words.bounds[shuffled])), together[shuffled], atol=2e-5
    )


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_the_state_of_a_word_is_that_of_its_first_token(name: str, zoo: Path) -> None:
    folder = build(zoo, name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    kind = transformers.T5EncoderModel if name == "t5" else transformers.AutoModel
    text = TEXTS[2]
    encoded = tokenizer(text.split(" "), is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        hidden = kind.from_pretrained(folder).eval()(input_ids=encoded["input_ids"]).last_hidden_state[0]
    word_ids = encoded.word_ids(0)
    first = [word_ids.index(word) for word in range(len(text.split(" ")))]
    extractor = load(folder, "words")
    read = Reads(extractor._model, "input_ids")
    np.testing.assert_allclose(rows(extractor, words_of([text])), hidden[first], atol=1e-5)
    assert read.rows == 1


def test_words_of_a_long_text_are_those_of_one_pass_over_it(zoo: Path, tmp_path: Path) -> None:
    """With attention and positions off, a token's state does not depend on its window: it has to be the same."""
    near, far = without_context(zoo, tmp_path)
    short, long = load(near, "words"), load(far, "words")
    np.testing.assert_allclose(rows(short, words_of([LONG])), rows(long, words_of([LONG])), atol=1e-5)
    assert long.notes == ()
    (note,) = short.notes
    assert note.startswith("1 input was")
    assert note.endswith("longer than the 40 tokens that it reads: overlapping windows, merged")


def test_a_word_of_a_text_without_tokens_has_a_feature_too(zoo: Path) -> None:
    words = Spans([" ", TEXTS[2]], np.array([(0, 0, 1), (1, 0, 3)]))
    extractor = load(build(zoo, "bert"), "words")
    features = rows(extractor, words)
    assert np.isfinite(features).all()
    np.testing.assert_allclose(features[1:], rows(extractor, words[1:]), atol=2e-5)


def test_a_tokenizer_that_does_not_say_where_tokens_are_is_refused(zoo: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = tmp_path / "slow"
    shutil.copytree(build(zoo, "bert"), folder)
    (folder / "tokenizer.json").unlink()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"]
    (folder / "vocab.txt").write_text("\n".join(words))
    config = {"tokenizer_class": "BertJapaneseTokenizer", "word_tokenizer_type": "basic"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(EmmsError, match="does not say which characters a token covers"):
        load(folder, "words")
