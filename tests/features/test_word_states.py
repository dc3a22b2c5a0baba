"""Features of the words of texts, from real (tiny, random) checkpoints."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import transformers
from tokenizers import processors

from hf_emms.inputs import Spans
from tests.helpers.extracting import Reads, load, own_states, rows, words_of
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import TEXTS, build, without_context

LONG = " ".join(TEXTS[:5] * 3)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_the_state_of_a_word_is_that_of_its_first_token(name: str, zoo: Path) -> None:
    folder, words = build(zoo, name), words_of(TEXTS[2])
    encoded, hidden = own_states(folder, TEXTS[2])
    starts = [encoded.char_to_token(start) for start in words.bounds[:, 1].tolist()]
    extractor = load(folder, "words")
    read = Reads(extractor._model, "input_ids")
    np.testing.assert_allclose(rows(extractor, words), hidden[starts], atol=1e-5)
    assert read.rows == 1
    # Words that touch, and one without a token, which gets the nearest.
    encoded, hidden = own_states(folder, "cat,dog ")
    touching = Spans(["cat,dog "], np.array([(0, 0, 3), (0, 3, 4), (0, 4, 7), (0, 7, 8)]))
    starts = [encoded.char_to_token(start) for start in (0, 3, 4, 4)]
    np.testing.assert_allclose(rows(extractor, touching), hidden[starts], atol=1e-5)


def test_words_of_a_long_text_are_those_of_one_pass_over_it(zoo: Path, tmp_path: Path) -> None:
    """With attention and positions off, a token's state does not depend on its window: it has to be the same."""
    near, far = without_context(zoo, tmp_path)
    short, long = load(near, "words"), load(far, "words")
    words = words_of(LONG, " ".join(TEXTS[:5]), "cat")  # in five windows, in two and in one
    np.testing.assert_allclose(rows(short, words), rows(long, words), atol=1e-5)
    assert long.notes == ()
    assert (codes(short.notes), short.info().counts.windowed) == (["inputs-windowed"], 2)


@pytest.mark.parametrize("around", ["<s> $A </s>", "<s> $A", "$A"])
def test_a_word_of_a_text_without_tokens_has_a_feature_too(around: str, zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "bert"), tmp_path / "bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    special = [("<s>", tokenizer.bos_token_id), ("</s>", tokenizer.eos_token_id)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=special)
    tokenizer.save_pretrained(folder)
    words = Spans([" ", TEXTS[2]], np.array([(0, 0, 1), (1, 0, 3)]))
    extractor = load(folder, "words")
    features = rows(extractor, words)
    assert np.isfinite(features).all()
    apart = np.concatenate([rows(extractor, part) for part in (words[:1], words[1:])])
    np.testing.assert_allclose(features, apart, atol=2e-5)
