"""Rerankers before fine-tuning: their outputs, their ranking, and errors for other checkpoints."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import CrossEncoder

import hf_emms
from hf_emms.features.extractor import Extractor
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.checkpoint_scorers import CheckpointScorers
from hf_emms.finetune.fine_tune import choose
from hf_emms.heads.reranking import load_reranker
from hf_emms.inputs import MODALITIES, RERANKED_SEARCH, Pairs
from hf_emms.options import RunOptions
from hf_emms.publish.card_text import card
from hf_emms.ranking.advice import recommendation
from hf_emms.ranking.progress import Progress
from hf_emms.scoring.bm25 import first_documents
from tests.finetune.make import poisoned
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes
from tests.helpers.samples import load_sample
from tests.helpers.space import client_of, write
from tests.helpers.tiny_checkpoints import RERANKERS, build, repo_of, reranker
from tests.helpers.tiny_rerankers import LAYOUTS, saved_reranker

WORDS = ["apple", "pie", "left", "red", "green", "telescope", "small", "cat", "dog", "mat", "rain", "road", "boats"]
BM25 = "BM25 (no checkpoint)"
SETTINGS: dict[str, Any] = {"task": "text-ranking", "device": "cpu"}


def texts(count: int, longest: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join([*rng.choice(WORDS, rng.integers(1, longest)), str(number)]) for number in range(count)]


def searches(queries: int = 20, documents: int = 120) -> datasets.Dataset:
    """Queries with one document each, which shares some words with other documents."""
    passages = texts(documents, 60, seed=1)
    chosen = [passages[number % documents] for number in range(queries)]
    asked = [f"{' '.join(passage.split()[:3])} {number}" for number, passage in enumerate(chosen)]
    columns: dict[str, list[Any]] = {"query": asked, "positive": chosen}
    if documents > queries:  # the corpus also contains other documents
        columns["negative"] = [passages[number + queries :: queries] for number in range(queries)]
    return datasets.Dataset.from_dict(columns)


def read_pairs(folder: Path) -> Extractor:
    extraction = make_feature_spec(repo_of(folder), RERANKED_SEARCH, "text-ranking")
    return load_reranker(extraction, torch.device("cpu"))


def check_outputs(folder: Path) -> Extractor:
    """Compare a reranker's outputs for any batch size with those of a `CrossEncoder`."""
    queries, documents = texts(6, 30, seed=2), texts(12, 60, seed=3)
    parts = np.array([(query, document) for query in range(6) for document in range(12)])
    model = CrossEncoder(str(folder), device="cpu")
    expected = model.predict([(queries[q], documents[d]) for q, d in parts], activation_fn=torch.nn.Identity())
    read = read_pairs(folder)
    for batch_size in (None, 1, 7):
        outputs = np.empty(len(parts), np.float32)
        for positions, values in read.batches(Pairs(queries, documents, parts), batch_size=batch_size):
            outputs[positions] = values[:, 0]
        np.testing.assert_allclose(outputs, expected, rtol=1e-5, atol=1e-5)
    assert np.std(expected) > 1e-2
    assert read.parameters == sum(parameter.numel() for parameter in model.parameters())
    return read


def test_saved_rerankers_are_ranked_in_the_worker_and_not_fine_tuned(zoo: Path) -> None:
    class Counted(Progress):
        def advanced(self, checkpoint: str, inputs: int) -> None:
            advances.append(inputs)

    layouts, advances = ["modules", "two answers and a template"], []
    folders = [str(saved_reranker(zoo, layout)) for layout in layouts]
    ranking = hf_emms.rank(searches(12, 12), folders, **SETTINGS, progress=Counted())
    for layout, folder in zip(layouts, folders, strict=True):
        row = ranking.row(folder)
        assert (row.error, LAYOUTS[layout][1] in row.no_head) == (None, True)
        assert (row.longest_input, row.seconds.scoring > 0) == ({"modules": 40}.get(layout, 36), True)
        assert min(row.parameters, row.documents_per_second) > 1
    assert (sum(advances), len(advances) > 4) == (2 * (12 + 12), True)
    with raises_code("no-head"):
        choose(ranking.rows, 1)


def test_saved_rerankers_that_cannot_be_read_are_failed_rows_with_the_remedy(
    zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {name: shutil.copytree(saved_reranker(zoo, "modules"), tmp_path / name) for name in ("a", "c", "d")}
    tensors = load_file(broken["a"] / "model.safetensors")
    save_file({name: tensors[name] for name in sorted(tensors)[1:]}, broken["a"] / "model.safetensors")
    modules = json.loads((broken["c"] / "modules.json").read_text())
    (broken["c"] / "modules.json").write_text(json.dumps([*modules[:2], {**modules[2], "type": "own.Dense"}]))
    (broken["d"] / "modules.json").write_text(json.dumps(modules[:3]))
    expected = {"a": "weights-missing", "c": "cannot-load", "d": "several-outputs"}
    for name, folder in broken.items():
        with raises_code(expected[name]):
            read_pairs(folder)
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with raises_code("package-missing") as caught:
        read_pairs(saved_reranker(zoo, "modules"))
    assert "retrieval" in str(caught.value.hint)


def test_a_reranker_is_not_ranked_as_an_embedding_model(zoo: Path) -> None:
    with raises_code("reranker") as caught:
        make_feature_spec(repo_of(saved_reranker(zoo, "modules")), MODALITIES["search"], "text-retrieval")
    assert "text-ranking" in str(caught.value.hint)


@pytest.mark.parametrize("limit", [None, 23, 24])
@pytest.mark.parametrize("name", RERANKERS)
def test_outputs_of_classifiers_equal_those_of_a_cross_encoder(name: str, limit: int | None, zoo: Path) -> None:
    assert check_outputs(reranker(zoo, name, limit=limit)).info().counts.truncated_pairs > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_outputs_of_saved_rerankers_equal_those_of_a_cross_encoder(layout: str, zoo: Path) -> None:
    _, parts = LAYOUTS[layout]
    read = check_outputs(saved_reranker(zoo, layout))
    assert read.spec.reranker_parts == parts
    assert ("sentence-transformers" in codes(read.notes)) == bool(parts)


def test_the_ranking_equals_that_of_a_cross_encoder(zoo: Path) -> None:
    data, folder = searches(), reranker(zoo, "mpnet", limit=24)
    ranking = hf_emms.rank(data, str(folder), **SETTINGS)
    assert ranking.estimators == ("reranked_ndcg", "reranked_mrr")
    assert ranking.encoders == ()
    search = load_sample(data, task="text-ranking").inputs
    relevant = {query: document for query, document, grade in search.judgments.tolist() if grade}
    candidates = first_documents(search.queries, search.documents, search.judgments)
    assert candidates.shape == (20, 100)
    model, ndcg, reciprocal = CrossEncoder(str(folder), device="cpu"), [], []
    for query, text in enumerate(search.queries):
        order = model.rank(text, [search.documents[document] for document in candidates[query]])
        documents = [candidates[query][each["corpus_id"]] for each in order[:10]]
        place = documents.index(relevant[query]) + 1 if relevant[query] in documents else np.inf
        ndcg.append(1 / np.log2(1 + place))
        reciprocal.append(1 / place)
    (row,) = ranking
    assert row.scores["reranked_ndcg"].value == pytest.approx(np.mean(ndcg))
    assert row.scores["reranked_mrr"].value == pytest.approx(np.mean(reciprocal))
    assert row.scores["reranked_ndcg"].stderr > 0
    assert (row.width, row.longest_input, row.parameters) == (None, 24, sum(p.numel() for p in model.parameters()))
    assert row.documents_per_second > 1
    assert not any("prompts" in str(note) or "cosine" in str(note) for note in row.notes)
    (note,) = (note for note in row.notes if getattr(note, "code", "") == "reranked-candidates")
    assert "100 documents" in str(note)
    assert "20 queries" in str(note)
    header = str(ranking).splitlines()[0].split()
    assert header == ["rank", "checkpoint", "nDCG@10", "MRR@10", "minutes", "params", "docs/s", "tokens"]


def test_the_answer_names_rerankers_that_do_not_beat_bm25(zoo: Path) -> None:
    ranking = hf_emms.rank(searches(), str(reranker(zoo)), **SETTINGS)
    (baseline,) = ranking.baselines
    assert set(baseline.scores) == {"reranked_ndcg", "reranked_mrr"}
    assert baseline.scores["reranked_ndcg"].value > 0.5 > ranking[0].score
    assert "BM25 (no checkpoint) is ahead of every checkpoint, nDCG@10" in recommendation(ranking)
    again = hf_emms.rank(searches(), str(reranker(zoo)), **SETTINGS)
    assert (again[0].cached, again[0].scores) == ("row", ranking[0].scores)
    alone = hf_emms.rank(searches(), str(reranker(zoo)), **SETTINGS, batch_size=7, cache=False)
    assert (alone[0].cached, alone[0].scores) == ("none", ranking[0].scores)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"query_prompt": "q: "}, "setting-without-effect"),
        ({"estimators": ["zero_shot_ndcg"]}, "estimator-unsuitable"),
        ({"task": "text-retrieval", "estimators": ["reranked_mrr"]}, "estimator-unsuitable"),
    ],
)
def test_unsupported_settings_for_rerankers_are_refused(settings: dict[str, Any], code: str, zoo: Path) -> None:
    with raises_code(code):
        hf_emms.rank(searches(), str(reranker(zoo)), **{**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda zoo: build(zoo, "bert"), "it has no weights for classifier.bias"),
        (lambda zoo: reranker(zoo, outputs=2), "its classifier has 2 outputs instead of 1"),
        (lambda zoo: build(zoo, "clip-text"), "transformers has no text classifier for its family"),
    ],
)
def test_a_checkpoint_without_an_output_for_relevance_is_a_failed_row_that_says_so(
    make: Callable[[Path], Path], reason: str, zoo: Path
) -> None:
    data, checkpoints = searches(12, 24), [str(reranker(zoo)), str(make(zoo))]
    scored, failed = hf_emms.rank(data, checkpoints, **SETTINGS)
    assert (scored.error, failed.scores) == (None, {})
    assert f"{failed.checkpoint} cannot rerank documents before fine-tuning: {reason}" in failed.error
    assert failed.error.endswith('estimators="emms", confirm=1')
    if "classifier.bias" in reason:
        with_features = {**SETTINGS, "estimators": ["emms", "reranked_ndcg"], "encoders": "demo"}
        rows = {row.checkpoint: row for row in hf_emms.rank(searches(), checkpoints, **with_features)}
        assert {*rows[scored.checkpoint].scores} == {"emms", "reranked_ndcg"}
        assert {*rows[failed.checkpoint].scores} == {"emms"}


def test_an_output_that_is_not_finite_fails(zoo: Path, tmp_path: Path) -> None:
    broken = poisoned(reranker(zoo), tmp_path / "broken", "classifier.bias")
    sample = load_sample(searches(), task="text-ranking")
    extraction = make_feature_spec(repo_of(broken), RERANKED_SEARCH, "text-ranking")
    with raises_code("not-finite"):
        CheckpointScorers(extraction, sample, RunOptions(device="cpu"), 0).reranked()


def test_cards_and_the_leaderboard_show_bm25(zoo: Path, tmp_path: Path) -> None:
    ranking = hf_emms.rank(searches(), str(reranker(zoo)), **SETTINGS)
    shown = ranking.baselines[0].scores["reranked_ndcg"].value * 100
    assert f"Not ranked: {BM25}: nDCG@&#8288;10 {shown:.1f} ± " in card(ranking)
    write(tmp_path, "search/reranked", ranking)
    page = client_of(tmp_path).get("/?ranking=search/reranked").text
    words = ("nDCG@10", "Documents/s", "Longest input", BM25, "is ahead of every checkpoint")
    assert [word for word in words if word not in page] == []
