"""Test rankings of embedding models for search, with BM25 as the baseline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import datasets
import msgspec
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.modules import StaticEmbedding
from tokenizers import Tokenizer

import hf_emms
from hf_emms.errors import Note
from hf_emms.features.embedding_settings import SIMILARITIES
from hf_emms.presets.demo import folder_of
from hf_emms.ranking import Ranking, merge
from hf_emms.ranking.advice import baselines_in_words, recommendation
from hf_emms.ranking.text import flat_records
from hf_emms.ranking.verdict import verdict
from hf_emms.scoring import Score
from tests.helpers.dense_search import CISI, dense_search
from tests.helpers.errors import raises_code
from tests.helpers.notes import codes
from tests.helpers.rows import texts as labeled
from tests.helpers.samples import load_sample
from tests.helpers.space import client_of, write

GOOD, POOR = "emms-demo/bert-distilled", "emms-demo/bert-random"
ENCODER = "emms-demo/encoder-minilm-static"
BM25 = "BM25 (no checkpoint)"
THINGS = ("cat", "dog", "boat", "river", "storm", "mountain", "road", "child", "apple", "harbour")
COLOURS = ("red", "green", "grey", "dark", "small", "old")


def pairs(count: int = 60) -> datasets.Dataset:
    """Queries with a document each, which shares a word of two with other documents."""
    both = [(THINGS[n % 10], COLOURS[n // 10]) for n in range(count)]
    return datasets.Dataset.from_dict(
        {
            "query": [f"where is the {colour} {thing}" for thing, colour in both],
            "document": [f"number {n} is a {thing} that is {colour}" for n, (thing, colour) in enumerate(both)],
        }
    )


SETTINGS: dict[str, Any] = {"task": "text-retrieval", "encoders": ENCODER, "device": "cpu"}


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    return hf_emms.rank(pairs(), [POOR, GOOD], cache=False, **SETTINGS)


def test_search_checkpoints_are_ordered_by_zero_shot_ndcg(ranking: Ranking) -> None:
    assert ranking.estimators == ("zero_shot_ndcg", "adapted_ndcg", "mrr", "recall", "emms")
    assert all(set(row.scores) == set(ranking.estimators) for row in ranking)
    scores = [row.score for row in ranking]
    assert scores == sorted(scores, reverse=True)
    assert "EMMS is a control" in ranking.reason
    assert all(row.scores["zero_shot_ndcg"].stderr for row in ranking)
    assert ranking[0].pooling == "mean of the last layer's tokens, padding left out"
    assert "prompts" in codes(ranking[0].notes)


def test_queries_that_share_documents_are_ranked() -> None:
    ranking = hf_emms.rank(dense_search(**CISI), [POOR, GOOD], cache=False, **SETTINGS)
    for row in ranking:
        assert row.error is None
        for name in ("zero_shot_ndcg", "adapted_ndcg", "mrr", "recall"):
            assert row.scores[name].stderr
            assert row.scores[name].details["queries"] == 76


def evaluated(model: SentenceTransformer) -> dict[str, float]:
    """The metrics of sentence-transformers for `pairs`."""
    search = load_sample(pairs(), task="text-retrieval").inputs
    relevant = {str(query): {str(document)} for query, document, _ in search.judgments.tolist()}
    texts = [{str(n): text for n, text in enumerate(part)} for part in (search.queries, search.documents)]
    return InformationRetrievalEvaluator(*texts, relevant, accuracy_at_k=[1], map_at_k=[1])(model)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_scores_are_those_of_sentence_transformers(similarity: str, tmp_path: Path) -> None:
    model = SentenceTransformer(str(folder_of(GOOD)), device="cpu", similarity_fn_name=similarity)
    model.save_pretrained(str(tmp_path / "st"), create_model_card=False)
    expected = evaluated(model)
    names = ["zero_shot_ndcg", "mrr"]
    (row,) = hf_emms.rank(pairs(), str(tmp_path / "st"), cache=False, **{**SETTINGS, "estimators": names})
    for name, measure in zip(names, ("ndcg@10", "mrr@10"), strict=True):
        assert row.scores[name].value == pytest.approx(expected[f"{similarity}_{measure}"], abs=0.01)


def test_truncated_embeddings_have_the_scores_of_sentence_transformers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    embedding = StaticEmbedding(Tokenizer.from_file(str(folder_of(GOOD) / "tokenizer.json")), embedding_dim=200)
    SentenceTransformer(modules=[embedding], device="cpu").save_pretrained(str(tmp_path / "st"))
    settings = {**SETTINGS, "estimators": ["zero_shot_ndcg"], "dimensions": True}
    ranking = hf_emms.rank(pairs(), [str(tmp_path / "st"), GOOD], cache=False, **settings)
    row = ranking.row("st")
    assert row.dimensions.keys() == {"128", "64"}
    for width, score in {row.width: row.score, **row.dimensions}.items():
        model = SentenceTransformer(str(tmp_path / "st"), device="cpu", truncate_dim=int(width))
        assert score == pytest.approx(evaluated(model)["cosine_ndcg@10"], abs=1e-5)
    (record,) = (record for record in flat_records(ranking) if record["checkpoint"] == row.checkpoint)
    assert (record["score_128"], record["score_64"]) == tuple(row.dimensions.values())
    assert Ranking.from_json(ranking.to_json()).rows == ranking.rows
    for table in (str(ranking), ranking.to_markdown(), ranking._repr_html_()):
        assert ("at 128 (512.0 MB)" in table, "at 256" in table) == (True, False)


def test_a_query_does_not_find_itself() -> None:
    texts = pairs()["query"]
    rows = [{"_id": f"q{number}", "text": text} for number, text in enumerate(texts)]
    judgments = [{"query-id": f"q{n}", "corpus-id": f"q{(n + 1) % len(texts)}", "score": 1} for n in range(len(texts))]
    tables = {"corpus": rows, "queries": rows, "qrels": judgments}
    ranking = hf_emms.rank(tables, GOOD, cache=False, **{**SETTINGS, "estimators": ["mrr"]})
    model = SentenceTransformer(str(folder_of(GOOD)), device="cpu")
    scores = model.similarity(*[model.encode(texts)] * 2).numpy()
    np.fill_diagonal(scores, -1)
    relevant = scores[np.arange(len(texts)), (np.arange(len(texts)) + 1) % len(texts)]
    places = 1 + (scores > relevant[:, None]).sum(axis=1)
    assert ranking[0].score == pytest.approx(np.mean(np.where(places <= 10, 1 / places, 0)), abs=0.01)
    separate = {**tables, "queries": [{**row, "_id": f"other{row['_id']}"} for row in rows]}
    separate["qrels"] = [{**row, "query-id": f"other{row['query-id']}"} for row in judgments]
    before = hf_emms.rank(separate, GOOD, cache=False, **{**SETTINGS, "estimators": ["mrr"]})
    assert before[0].score < ranking[0].score
    assert before.baselines[0].scores["mrr"].value < ranking.baselines[0].scores["mrr"].value


def test_bm25_is_a_baseline_in_tables_and_on_the_leaderboard(ranking: Ranking, tmp_path: Path) -> None:
    (baseline,) = ranking.baselines
    assert (baseline.checkpoint, baseline.rank) == (BM25, None)
    assert set(baseline.scores) == {"zero_shot_ndcg", "mrr", "recall"}
    assert BM25 not in [row.checkpoint for row in ranking]
    assert ranking.shown_rows[0].checkpoint == BM25  # every query has both words of its document
    for table in (str(ranking), ranking.to_markdown(), ranking._repr_html_()):
        assert "BM25" in table
    assert [record["rank"] for record in flat_records(ranking)] == [None, *(row.rank for row in ranking)]
    assert BM25 in baselines_in_words(ranking)[0]
    assert f"{BM25} is ahead of every checkpoint" in recommendation(ranking)
    write(tmp_path, "search/pairs", ranking)
    page = client_of(tmp_path).get("/?ranking=search/pairs").text
    words = ("a million embeddings", "Documents/s", "Longest input", BM25, "is ahead of every checkpoint")
    assert [word for word in words if word not in page] == []


def test_search_costs_are_columns(ranking: Ranking) -> None:
    record = next(record for record in flat_records(ranking) if record["checkpoint"] == GOOD)
    assert (record["bytes_per_million"], record["longest_input"]) == (4_000_000 * record["width"], 64)
    assert record["documents_per_second"] > 0
    assert record["hours_per_million"] * 3600 * record["documents_per_second"] == pytest.approx(1e6)
    assert "docs/s" in str(ranking)


def test_files_and_merged_rankings_keep_bm25_apart_from_checkpoints(ranking: Ranking, tmp_path: Path) -> None:
    assert Ranking.load(ranking.save(tmp_path / "ranking.json")).baselines == ranking.baselines
    without = msgspec.structs.replace(ranking, baselines=(), created="2020-01-01T00:00:00+00:00")
    for first, second in ((without, ranking), (ranking, without)):
        assert merge.merged(first, second).baselines == ranking.baselines


def test_another_first_by_the_adapted_score_is_a_caveat(ranking: Ranking) -> None:
    first, second = ranking.rows
    folds = tuple(np.linspace(0.1, 0.12, 5))
    better = Score(0.9, 0.01, tuple(fold + 0.79 for fold in folds))
    rows = (
        msgspec.structs.replace(first, rank=1, scores={**first.scores, "adapted_ndcg": Score(0.11, 0.01, folds)}),
        msgspec.structs.replace(second, rank=2, scores={**second.scores, "adapted_ndcg": better}),
    )
    disagreeing = msgspec.structs.replace(ranking, rows=rows, baselines=())
    (note,) = [note for note in verdict(disagreeing).caveats if note.code == "second-opinion"]
    assert second.checkpoint in note.text
    tied = tuple(msgspec.structs.replace(row, rank=1, tied=True) for row in rows)
    caveats = verdict(msgspec.structs.replace(disagreeing, rows=tied)).caveats
    assert "second-opinion" not in [note.code for note in caveats]


def test_a_search_ranking_from_the_cache_is_equal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_EMMS_CACHE", str(tmp_path))
    started = time.perf_counter()
    first, again = (hf_emms.rank(pairs(), [GOOD, POOR], **SETTINGS) for _ in range(2))
    seconds = first.baselines[0].seconds.scoring
    assert seconds == round(seconds, 3) < time.perf_counter() - started
    features = hf_emms.rank(pairs(), [GOOD, POOR], **{**SETTINGS, "estimators": ["zero_shot_ndcg", "emms"]})
    assert [row.cached for row in again] == ["row", "row"]
    assert [row.cached for row in features] == ["features", "features"]
    adapted = hf_emms.rank(pairs(), GOOD, corpus_size=None, **{**SETTINGS, "estimators": ["adapted_ndcg"]})
    assert (adapted.baselines, adapted.settings["corpus_size"]) == ((), 0)  # BM25 has no adapted score
    for other in (again, features):
        assert [row.score for row in other] == [row.score for row in first]
        assert [row.documents_per_second for row in other] == [row.documents_per_second for row in first]
        assert other.baselines[0].scores["zero_shot_ndcg"] == first.baselines[0].scores["zero_shot_ndcg"]


def test_prompts_change_rows() -> None:
    names = {"estimators": ["zero_shot_ndcg"], "cache": False}
    plain, prompted = (
        hf_emms.rank(pairs(), GOOD, **{**SETTINGS, **names}, **prompts)
        for prompts in ({}, {"query_prompt": "storm: ", "document_prompt": "apple: "})
    )
    assert plain[0].score != prompted[0].score
    (note,) = (note for note in prompted[0].notes if isinstance(note, Note) and note.code == "prompts")
    assert ("storm: " in note.text, "apple: " in note.text) == (True, True)
    assert (prompted.settings["query_prompt"], plain.settings["query_prompt"]) == ("storm: ", None)


CLASSES = labeled(60, ["a", "b"])


@pytest.mark.parametrize(
    ("rows", "settings", "code"),
    [
        (pairs(), {"task": "text-retrieval", "estimators": "zero_shot"}, "estimator-unsuitable"),
        (CLASSES, {"estimators": "mrr"}, "estimator-unsuitable"),
        (CLASSES, {"query_prompt": "q: "}, "setting-without-effect"),
        (CLASSES, {"dimensions": True}, "setting-without-effect"),
        (pairs(), {"task": "text-ranking", "dimensions": True}, "setting-without-effect"),
    ],
)
def test_impossible_search_settings_raise_errors(rows: datasets.Dataset, settings: dict[str, Any], code: str) -> None:
    with raises_code(code):
        hf_emms.rank(rows, GOOD, encoders=ENCODER, **settings)
