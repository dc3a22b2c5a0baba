"""Features of spans of contexts, from real (tiny, random) checkpoints of every family."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from hf_emms.data import Pairs, Spans
from hf_emms.errors import EmmsError
from tests.helpers.extracting import Reads, load, rows
from tests.helpers.tiny_checkpoints import TEXT_MODELS, build, without_context

QUESTIONS = ["a small cat", "where is the old harbour", ""]
CONTEXTS = [
    "the cat sits on a mat",
    "children play near the mountain road with boats and a small cat and a dog on the mat",
    " ".join(["the small dog sits on a red mat while rain falls over the old harbour"] * 12),
]
FAMILIES = [name for name in TEXT_MODELS if name not in ("clip-text", "siglip-text")]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spans")


def spans_of(*told: tuple[int, int, str]) -> Spans:
    """Spans by the numbers of their question and context and by what they say; the pairs in mixed order."""
    parts = sorted({told[:2] for told in told}, reverse=True)
    places = []
    for question, context, said in told:
        start = CONTEXTS[context].rindex(said)
        places.append((parts.index((question, context)), start, start + len(said)))
    return Spans(Pairs(QUESTIONS, CONTEXTS, np.array(parts)), np.array(places))


@pytest.fixture(scope="module")
def some() -> Spans:
    return spans_of(
        *[(q, c, "mat") for q in range(3) for c in range(3)],
        (0, 0, "the cat"),
        (1, 1, "mountain road with boats"),
        (1, 2, "rain falls"),
        (2, 1, "children"),
        (1, 2, CONTEXTS[2]),
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_row_depends_on_its_pair_and_place_alone(name: str, zoo: Path, some: Spans) -> None:
    extractor = load(build(zoo, name), "text+text", spans=True)
    together = rows(extractor, some)
    assert np.isfinite(together).all()
    assert len(np.unique(together.round(4), axis=0)) == len(some)
    alone = np.concatenate([rows(extractor, some[i : i + 1]) for i in range(len(some))])
    np.testing.assert_allclose(alone, together, atol=2e-5)
    one_a_time = np.full_like(together, np.nan)
    for positions, batch in extractor.batches(some, batch_size=1):
        one_a_time[positions] = batch
    np.testing.assert_allclose(one_a_time, together, atol=2e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "gpt2", "t5"])
def test_a_span_is_the_mean_of_its_tokens_in_the_whole_pair(name: str, zoo: Path) -> None:
    folder = build(zoo, name)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    kind = transformers.T5EncoderModel if name == "t5" else transformers.AutoModel
    encoded = tokenizer(
        QUESTIONS[1], CONTEXTS[0], return_tensors="pt", return_token_type_ids=True, return_offsets_mapping=True
    )
    names = ("input_ids", "token_type_ids") if name in ("bert", "roberta") else ("input_ids",)
    with torch.no_grad():
        hidden = kind.from_pretrained(folder).eval()(**{key: encoded[key] for key in names}).last_hidden_state[0]
    texts = [-1 if text is None else text for text in encoded.sequence_ids(0)]
    inside = [
        text == 1 and start < 16 and stop > 8
        for text, (start, stop) in zip(texts, encoded["offset_mapping"][0], strict=True)
    ]
    assert sum(inside) >= 2
    extractor = load(folder, "text+text", spans=True)
    assert extractor.width == hidden.shape[1]
    assert "mean of the span's tokens" in extractor.pooling
    said = spans_of((1, 0, "sits on"))
    assert said.bounds.tolist() == [[0, 8, 15]]
    np.testing.assert_allclose(rows(extractor, said)[0], hidden[torch.tensor(inside)].mean(0), atol=1e-5)


def test_each_pair_is_read_once_however_many_spans_it_has(zoo: Path, some: Spans) -> None:
    extractor = load(build(zoo, "bert"), "text+text", spans=True)
    read = Reads(extractor._model, "input_ids")
    rows(extractor, spans_of(*[(0, 0, said) for said in ("the", "cat", "sits", "on a mat")], (1, 0, "cat")))
    assert read.rows == 2


def test_spans_over_several_windows_are_what_one_pass_would_give(zoo: Path, tmp_path: Path) -> None:
    """With attention and positions off, a token's state does not depend on its window."""
    words = [(start, start + 8) for start in range(0, len(CONTEXTS[2]) - 8, 7)]
    places = [*words, (0, len(CONTEXTS[2])), (100, 700)]
    given = Spans(Pairs(QUESTIONS, CONTEXTS, np.array([(1, 2)])), np.array([(0, *place) for place in places]))
    short, long = (load(folder, "text+text", spans=True) for folder in without_context(zoo, tmp_path))
    np.testing.assert_allclose(rows(short, given), rows(long, given), atol=1e-5)
    assert long.notes == ()
    assert short.notes == ("1 input was longer than the 40 tokens that it reads: overlapping windows, merged",)


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_span_or_context_without_tokens_takes_the_nearest(name: str, zoo: Path) -> None:
    extractor = load(build(zoo, name), "text+text", spans=True)
    pairs = Pairs(["cat", ""], ["a cat   sits", "   ", ""], np.array([(0, 0), (0, 1), (1, 2)]))
    made = rows(extractor, Spans(pairs, np.array([(0, 6, 7), (0, 2, 5), (1, 0, 1), (2, 0, 0)])))
    assert np.isfinite(made).all()
    assert (np.abs(made).max(axis=1) > 0).all()
    if name == "bert":
        np.testing.assert_allclose(made[0], made[1], atol=1e-6)


def test_a_tokenizer_without_offsets_counts_the_tokens_before(zoo: Path, tmp_path: Path) -> None:
    """CTRL's is written in Python; with no merges, every letter is a token."""
    folder = shutil.copytree(build(zoo, "bert"), tmp_path / "slow")
    (folder / "tokenizer.json").unlink()
    tokens = ["<unk>", *(letter + more for letter in "abcdefghijklmnopqrstuvwxyz" for more in ("", "@@"))]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    slow = transformers.CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    assert not slow.is_fast
    slow.save_pretrained(folder)
    extractor = load(folder, "text+text", spans=True)
    read = Reads(extractor._model, "input_ids")
    cat, on_a_mat, everything = rows(extractor, spans_of(*[(0, 0, said) for said in ("cat", "on a mat", CONTEXTS[0])]))
    assert read.rows == 1
    words = ("the", "sits", "on", " a ", "mat")
    parts = rows(extractor, spans_of(*[(0, 0, said) for said in words]))
    letters = [len(said.strip()) for said in words]
    np.testing.assert_allclose(np.average(parts[2:], axis=0, weights=letters[2:]), on_a_mat, atol=1e-5)
    whole = np.average(np.vstack([parts, cat[None]]), axis=0, weights=[*letters, 3])
    np.testing.assert_allclose(whole, everything, atol=1e-5)


def test_spans_and_pairs_are_not_taken_for_one_another(zoo: Path, some: Spans) -> None:
    folder = build(zoo, "bert")
    with pytest.raises(EmmsError, match="reads pairs of texts here, not Spans"):
        rows(load(folder, "text+text"), some)
    with pytest.raises(EmmsError, match="reads spans of texts here, not Pairs"):
        rows(load(folder, "text+text", spans=True), some.pairs)
    assert "mean" in load(folder, "text+text", spans=True, layers=("last", "mean")).refused
