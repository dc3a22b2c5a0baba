"""Two texts that are compared, read by real (tiny, random) checkpoints; `test_text_pairs` tests pairs that fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import transformers
from tokenizers import processors

from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.inputs import SENTENCE_PAIR, Pairs
from hf_emms.inputs.text_pair import truncate_longest
from hf_emms.presets import demo
from tests.helpers.errors import raises_code
from tests.helpers.extracting import load, pairs_of, rows
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import TEXTS, build, repo_of

LONG = " ".join(TEXTS[:5] * 3)


@pytest.mark.parametrize("before", ["", "<|endoftext|>"])
def test_a_line_break_parts_texts_that_a_tokenizer_does_not_part(before: str, tmp_path: Path) -> None:
    folder = shutil.copytree(demo.folder_of("emms-demo/llama-glosses"), tmp_path / "llama")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{before} $A".strip(),
        pair=f"{before} $A $B:1".strip(),
        special_tokens=[("<|endoftext|>", tokenizer.convert_tokens_to_ids("<|endoftext|>"))],
    )
    tokenizer.save_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder)
    reader = SENTENCE_PAIR.training_reader(make_feature_spec(repo_of(folder), SENTENCE_PAIR, "a test"), model)
    batches, notes = reader.read(pairs_of(["a cat"], ["dogs bark"]), np.array([0]))
    (ids,) = batches(np.arange(1))["input_ids"]
    assert tokenizer.decode(ids) == f"{before}a cat\ndogs bark"
    assert ids.tolist() == tokenizer("a cat", "\ndogs bark")["input_ids"]
    assert [note.code for note in (*notes, *reader.notes)] == ["line-break-between-texts"]


def test_text_towers_have_no_states_to_compare(zoo: Path) -> None:
    with raises_code("no-token-states"):
        load(build(zoo, "clip-text"), "text-pair")


def test_of_a_pair_that_is_too_long_the_longer_text_is_cut_and_it_is_said(zoo: Path) -> None:
    extractor = load(build(zoo, "bert"), "text-pair")
    assert np.isfinite(rows(extractor, pairs_of(TEXTS[1:2], [LONG]))).all()
    assert (codes(extractor.notes), extractor.info().counts.pair_length) == (["pairs-truncated"], 40)
    lengths = [(3, 40), (40, 3), (40, 41), (41, 40), (40, 40), (9, 9), (11, 10), (0, 30)]
    kept = [tuple(map(len, truncate_longest([0] * first, [0] * second, 21))) for first, second in lengths]
    assert kept == [(3, 18), (18, 3), (10, 11), (11, 10), (10, 11), (9, 9), (11, 10), (0, 21)]


def test_training_reads_what_ranking_reads(zoo: Path) -> None:
    """`tokenizer(a, b)` pads and marks segments as training batches do."""
    folder = build(zoo, "bert")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    reader = SENTENCE_PAIR.training_reader(make_feature_spec(repo_of(folder), SENTENCE_PAIR, "a test"), model)
    batches, notes = reader.read(Pairs(TEXTS, TEXTS, np.array([(0, 1), (1, 3)])), np.array([1, 0]))
    batch = batches(np.arange(2))
    expected = reader.processors[0](
        [TEXTS[1], TEXTS[0]], [TEXTS[3], TEXTS[1]], padding=True, return_tensors="pt", return_token_type_ids=True
    )
    assert {name: tensor.tolist() for name, tensor in batch.items()} == {
        name: tensor.tolist() for name, tensor in expected.items()
    }
    assert not [*reader.notes, *notes]
