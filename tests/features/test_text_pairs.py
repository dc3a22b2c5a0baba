"""Features of questions with contexts and of spans, from real (tiny, random) checkpoints."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from hf_emms.inputs import Pairs, Spans
from hf_emms.inputs.text_pair import split_into_windows
from tests.helpers.errors import raises_code
from tests.helpers.extracting import Reads, load, own_states, pairs_of, rows
from tests.helpers.notes import codes
from tests.helpers.tiny_checkpoints import build, without_context

QUESTIONS = ["a small cat", "where is the old harbour", "red", ""]
CONTEXTS = [
    "the cat sits on a mat",
    "children play near the mountain road with boats and a small cat and a dog on the mat",
    " ".join(["the small dog sits on a red mat while rain falls over the old harbour"] * 12),
    "",
]
WINDOWED = ("inputs-windowed",)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5", "modernbert"])
def test_a_pair_that_fits_is_read_as_its_tokenizer_writes_it(name: str, zoo: Path) -> None:
    folder = build(zoo, name)
    encoded, hidden = own_states(folder, QUESTIONS[1], CONTEXTS[0])
    texts = np.array([-1 if text is None else text for text in encoded.sequence_ids(0)])
    u, v = hidden[texts == 0].mean(0), hidden[texts == 1].mean(0)
    pairs = pairs_of(QUESTIONS[1:2], CONTEXTS[:1])
    for kind, expected in (("text+text", [u, v]), ("text-pair", [u, v, (u - v).abs(), u * v])):
        np.testing.assert_allclose(rows(load(folder, kind), pairs)[0], torch.cat(expected), atol=1e-5)


def test_a_span_of_a_long_text_is_what_one_pass_over_everything_gives(zoo: Path, tmp_path: Path) -> None:
    """With attention and positions off, a token's state does not depend on its window."""
    near, far = without_context(zoo, tmp_path)
    words = [(start, start + 8) for start in range(0, len(CONTEXTS[2]) - 8, 7)]
    bounds = [(0, *span) for span in (*words, (0, len(CONTEXTS[2])), (100, 700))]
    spans = Spans(pairs_of(QUESTIONS[1:2], CONTEXTS[2:3]), np.array(bounds))
    short, long = (load(folder, "text+text", spans=True) for folder in (near, far))
    np.testing.assert_allclose(rows(short, spans), rows(long, spans), atol=1e-5)
    assert (codes(short.notes), codes(long.notes)) == ([*WINDOWED], [])


def test_every_token_counts_once_in_a_window_that_fits() -> None:
    for tokens, count in {0: 1, 1: 1, 17: 1, 18: 1, 19: 2, 32: 2, 33: 3, 101: 7}.items():
        context = list(range(tokens))
        windows = split_into_windows([7, 8], context, 20)
        assert len(windows) == count
        assert all(len(window.first) + len(window.second) <= 20 for window in windows)
        counted = [window.second[i - window.start] for window in windows for i in range(*window.counted) if context]
        assert counted == context
        for before, after in pairwise(windows):
            # Where two windows meet, each has at least two more tokens.
            assert before.counted[1] <= before.start + len(before.second) - 2
            assert after.counted[0] >= after.start + 2


def test_pairs_and_questions_that_are_too_long_are_truncated_and_noted(zoo: Path) -> None:
    pairs, cut = "pairs-truncated", "texts-truncated"
    # The checkpoint reads three special tokens and 37 others.
    for question, context, notes in ((18, 19, ()), (19, 19, (pairs,)), (18, 20, (pairs,))):
        extractor = load(build(zoo, "bert"), "text+text")
        assert np.isfinite(rows(extractor, pairs_of(["cat " * question], ["cat " * context]))).all()
        assert codes(extractor.notes) == [*notes]
    for question, context, notes in ((18, 19, ()), (19, 19, (cut,)), (18, 20, WINDOWED), (19, 20, (*WINDOWED, cut))):
        extractor = load(build(zoo, "bert"), "text+text", spans=True)
        spans = Spans(pairs_of(["cat " * question], ["cat " * context]), np.array([(0, 0, 3)]))
        assert np.isfinite(rows(extractor, spans)).all()
        assert codes(extractor.notes) == [*notes]


def test_sentence_transformers_are_read_from_their_folder_but_not_pooled_as_they_say(zoo: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(build(zoo, "bert"), tmp_path / "sentences")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling")])
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 24}')
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    extractor = load(folder, "text+text")
    assert extractor.width == 2 * 16
    rows(extractor, pairs_of(["cat"], [f"{CONTEXTS[1]} {CONTEXTS[1]}"]))
    assert extractor.info().counts.pair_length == 24


@pytest.mark.parametrize("spans", [False, True])
def test_other_layers_are_refused_with_a_reason(spans: bool, zoo: Path) -> None:
    assert "mean" in load(build(zoo, "electra"), "text+text", spans=spans, layers=("last", "mean")).refused
    with raises_code("unknown-layer"):
        load(build(zoo, "electra"), "text+text", spans=spans, layers=("mean",))


# --- spans ------------------------------------------------------------------------------------------------


def spans_of(*found: tuple[int, int, str]) -> Spans:
    """Spans by the numbers of their question and context and by their text; the pairs in mixed order."""
    parts = sorted({span[:2] for span in found}, reverse=True)
    places = []
    for question, context, text in found:
        start = CONTEXTS[context].rindex(text)
        places.append((parts.index((question, context)), start, start + len(text)))
    return Spans(Pairs(QUESTIONS, CONTEXTS, np.array(parts)), np.array(places))


SPANS = spans_of(
    *[(q, c, "mat") for q in (0, 1, 3) for c in range(3)],
    (0, 0, "the cat"),
    (1, 1, "mountain road with boats"),
    (1, 2, "rain falls"),
    (3, 1, "children"),
    (1, 2, CONTEXTS[2]),
)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5", "xlnet"])
def test_a_span_depends_on_its_pair_and_place_alone(name: str, zoo: Path) -> None:
    extractor = load(build(zoo, name), "text+text", spans=True)
    together = rows(extractor, SPANS)
    assert np.isfinite(together).all()
    assert len(np.unique(together.round(4), axis=0)) == len(SPANS)
    alone = np.concatenate([rows(extractor, SPANS[i : i + 1]) for i in range(len(SPANS))])
    np.testing.assert_allclose(alone, together, atol=2e-5)
    np.testing.assert_allclose(rows(extractor, SPANS, 1), together, atol=2e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_a_span_is_the_mean_of_its_tokens_in_the_whole_pair(name: str, zoo: Path) -> None:
    folder = build(zoo, name)
    context, bounds = "the cat,dog sits", [(4, 7), (7, 8), (8, 11), (5, 16), (0, 16)]
    encoded, hidden = own_states(folder, QUESTIONS[1], context)
    extractor = load(folder, "text+text", spans=True)
    assert extractor.width == hidden.shape[1]
    assert "mean of the span's tokens" in extractor.info().pooling
    spans = Spans(pairs_of(QUESTIONS[1:2], [context]), np.array([(0, *span) for span in bounds]))
    for row, (first, last) in zip(rows(extractor, spans), bounds, strict=True):
        inside = [
            text == 1 and start < last and stop > first
            for text, (start, stop) in zip(encoded.sequence_ids(0), encoded["offset_mapping"][0], strict=True)
        ]
        np.testing.assert_allclose(row, hidden[torch.tensor(inside)].mean(0), atol=1e-5)


def test_each_pair_is_read_once_however_many_spans_it_has(zoo: Path) -> None:
    spans = spans_of(*[(0, 0, text) for text in ("the", "cat", "sits", "on a mat")], (1, 0, "cat"))
    for inputs in (spans.inputs, spans):
        extractor = load(build(zoo, "bert"), "text+text", spans=inputs is spans)
        read = Reads(extractor._model, "input_ids")
        rows(extractor, inputs)
        assert read.rows == 2


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_span_or_context_without_tokens_takes_the_nearest(name: str, zoo: Path) -> None:
    extractor = load(build(zoo, name), "text+text", spans=True)
    pairs = Pairs(["cat", ""], ["a cat   sits", "   ", ""], np.array([(0, 0), (0, 1), (1, 2)]))
    made = rows(extractor, Spans(pairs, np.array([(0, 6, 7), (0, 2, 5), (1, 0, 1), (2, 0, 0)])))
    assert np.isfinite(made).all()
    assert (np.abs(made).max(axis=1) > 0).all()
    np.testing.assert_allclose(made[2], own_states(build(zoo, name), "cat", "   ")[1][-1], atol=1e-5)
    if name == "bert":
        np.testing.assert_allclose(made[0], made[1], atol=1e-6)
    question, context = np.split(rows(load(build(zoo, name), "text+text"), pairs_of(["cat"], [""]))[0], 2)
    assert (question.any(), context.any()) == (True, False)


def test_spans_need_a_tokenizer_with_offsets(zoo: Path, tmp_path: Path) -> None:
    """CTRL's is written in Python."""
    folder = shutil.copytree(build(zoo, "bert"), tmp_path / "slow")
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps({"<unk>": 0, "a": 1}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    for kind in ("text+text", "words"):
        with raises_code("checkpoint-failed"):
            load(folder, kind, spans=True)
