"""The ranking-quality experiment: its committed results match the pages, and its steps work."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import weightedtau
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from hf_emms.options import Options
from hf_emms.ranking.estimators import get_estimator
from hf_emms.ranking.expected_gap import CALIBRATIONS
from hf_emms.scoring.retrieval import SearchScores, zero_shot_ndcg
from scripts.quality import baselines, calibration, experiment, query_counts, report, results, sentence_queries, targets
from scripts.quality.pools import MICRO, POOLS, Budget, Candidate, Pool, Target
from scripts.quality.results import TargetResult, replayed
from scripts.quality.rows import Split
from tests import ROOT

EVIDENCE = ROOT / "docs" / "evidence"
BLOCKS = {(page.name, mark): tables for page, mark, tables in report.pages()}


@pytest.fixture(scope="module")
def records():
    return json.loads(MICRO.results.read_text(encoding="utf-8"))["targets"]


def truth_of(runs):
    """What fine-tuning gave, computed here once more: the rate that validates best, its mean test score."""
    by_rate = defaultdict(list)
    for rate, _, validation, test, *_ in runs:
        by_rate[rate].append((validation, test))
    return max((np.mean(values, axis=0) for values in by_rate.values()), key=lambda means: means[0])[1]


def printed(name):
    """A table of the evidence: name → column → cell."""
    head, *rows = csv.reader((EVIDENCE / f"{name}.csv").read_text(encoding="utf-8").splitlines())
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def test_the_files_of_evidence_are_those_that_the_report_writes():
    written = dict(report.evidence_files())
    assert {file.name for file in written} == {file.name for file in EVIDENCE.glob("*.csv")}
    assert [file for file, content in written.items() if file.read_text(encoding="utf-8") != content] == []


@pytest.mark.parametrize(("page", "mark"), BLOCKS)
def test_the_page_shows_what_the_report_makes_of_the_results(page, mark):
    shown = (ROOT / "docs" / page).read_text(encoding="utf-8").split(f"<!-- {mark} -->")[1]
    assert shown.split(f"<!-- /{mark} -->")[0].strip() == BLOCKS[page, mark].strip()


def test_the_readme_quotes_the_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("## How good, how fast")[1].split("\n## ")[0]
    default, *others = re.findall(r"0\.\d\d(?:\s+\[[^\]]*\])?", text)[:3]
    agreement = printed("agreement-with-fine-tuning")
    column = "weighted τ [95 %]"
    assert " ".join(default.split()) == agreement["EMMS + k-NN, held out (`emms_knn`, the default)"][column]
    names = ("LogME on F-labels (`logme_flabels`)", "*control:* mean rank elsewhere (dataset-blind)")
    assert others == [agreement[name][column].split()[0] for name in names]


@pytest.mark.parametrize("estimator", ["emms", "emms_exact", "logme", "logme_flabels", "knn"])
def test_every_tau_of_the_page_follows_from_the_results(records, estimator):
    rows = {name: row for name, row in printed("weighted-by-target").items() if f"(`{estimator}`" in name}
    (row,) = rows.values()
    for name, record in records.items():
        truth = [truth_of(record["runs"]["first"][candidate]) for candidate in record["candidates"]]
        tau = weightedtau(record["scores"][f"{estimator}|demo"], truth).statistic
        assert row[name] == f"{tau:.2f}", name


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_every_target_has_candidates_that_were_not_trained_on_its_labels_columns_and_a_maker(pool):
    stored = results.read(pool)
    for target in pool.targets:
        assert len(pool.candidates_of(target)) > 2
        assert not {*target.left_out} & {*stored.get(target.name, {"candidates": ()})["candidates"]}
        assert target.columns
        assert target.name in targets.MAKERS


def test_the_numbers_of_the_package_are_those_of_the_fit():
    for budget, lines in CALIBRATIONS.items():
        assert (lines.low, lines.middle, lines.high) == calibration.lines(budget)


def test_no_default_is_chosen_on_held_targets():
    dev, held = ({target.name for target in calibration.targets("quick", half)} for half in ("dev", "held"))
    assert not dev & held


# ---- runs ------------------------------------------------------------------------------------------------------------


def target_of(runs: dict[str, list[list[float]]], budget: str = "first", **record: object) -> TargetResult:
    """A target whose candidates are in the estimate's order, with runs of [rate, seed, validation, test, seconds]."""
    scores = {"emms_knn|demo": [-float(place) for place in range(len(runs))]}
    return TargetResult("t", {"candidates": [*runs], "runs": {budget: runs}, "scores": scores, **record}, budget)


def test_the_best_validation_score_among_those_that_were_run_picks():
    target = target_of(
        {
            "a": [[1e-3, seed, 50.0, 60.0, 1.0] for seed in (0, 1)],
            "b": [[1e-3, seed, 70.0, 80.0, 2.0] for seed in (0, 1)],
            "c": [[1e-3, seed, 90.0, 70.0, 4.0] for seed in (0, 1)],
        }
    )
    outcomes = [replayed(target, count) for count in (0, 1, 2, 3, 99)]
    assert [outcome.regret for outcome in outcomes] == [20.0, 20.0, 0.0, 10.0, 10.0]
    assert [outcome.runs for outcome in outcomes] == [0, 1, 2, 3, 3]


def test_candidates_within_the_noise_of_the_best_are_one_group():
    tests = {"a": 90.0, "b": 89.0, "c": 70.0, "d": 10.0}
    target = target_of({name: [[1e-3, 0, 50.0, value]] for name, value in tests.items()}, "quick", test_rows=400)
    assert [set(group) for group in target.groups] == [{"a", "b"}, {"c"}, {"d"}]
    assert replace(target, measure="tied").truth == {"a": 89.5, "b": 89.5, "c": 70.0, "d": 10.0}


# ---- an experiment from rows to a table ------------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path, monkeypatch):
    """A pool of three candidates of the demo on texts of two classes, with its own results and rows."""
    monkeypatch.setenv("HF_EMMS_QUALITY", str(tmp_path))
    monkeypatch.setenv("HF_EMMS_CACHE", str(tmp_path / "cache"))

    def rows(count: int, first: int) -> Split:
        texts = [f"{'a dog that barks' if n % 2 else 'a plant with leaves'} number {first + n}" for n in range(count)]
        return Split({"text": texts, "label": [n % 2 for n in range(count)]}, ("plant", "animal"))

    table = {"train": rows(60, 0), "validation": rows(20, 100), "test": rows(30, 200)}
    monkeypatch.setitem(targets.MAKERS, "kinds", lambda: table)
    names = ("bert-distilled", "electra-distilled", "bert-random")
    return Pool(
        "small",
        "a small pool",
        (Target("kinds", "text-classification", "held"),),
        tuple(Candidate(name, "text", (1e-3,)) for name in names),
        (Budget("short", 1, 40, {"text-classification": 1}),),
        "demo",
        "short",
        ("emms_knn", "emms", "hscore"),
        50,
        "rank-texts.md",
        str(tmp_path / "small.json"),
    )


@pytest.mark.slow
def test_an_experiment_scores_and_fine_tunes_all_candidates_and_continues_where_it_ended(pool, capsys):
    experiment.score(pool, ())
    experiment.fine_tune(pool, (), (), ("bert-random",), again=False)
    experiment.fine_tune(pool, (), (), (), again=False)
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines() if " test " in line] == [
        "bert-random",
        "bert-distilled",
        "electra-distilled",
    ]
    (target,) = results.load(pool)
    assert target.record["test_rows"] == 30
    assert target.record["training_rows"] == {"short": 40}
    assert set(target.truth) == {candidate.name for candidate in pool.candidates}
    assert all(0 <= value <= 100 for value in target.truth.values())
    row = report.markdown(report.pool_table(pool)).splitlines()[2]
    assert row.startswith("| kinds | held | 3 | accuracy ")
    before = target.record["runs"]
    experiment.score(pool, ())
    assert results.load(pool)[0].record["runs"] == before


def test_targets_of_search_are_cut_scored_beside_bm25_and_left_out_where_their_files_are_not(
    pool, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "owner--animals"
    (folder / "qrels").mkdir(parents=True)
    animals = [f"{colour} {animal}" for colour in ("red", "old", "wet", "shy") for animal in ("dog", "cat", "owl")]
    texts = {"queries": "which one\u2028is the {}", "corpus": "{} " + "word " * 200}
    for name, text in texts.items():
        rows = [{"_id": str(place), "text": text.format(animal)} for place, animal in enumerate(animals)]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    for split, places in (("train", range(9)), ("test", range(9, 12))):
        judgments = ["query-id\tcorpus-id\tscore", *(f"{place}\t{place}\t1" for place in places)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(judgments), encoding="utf-8")
    monkeypatch.setitem(targets.MAKERS, "animals", lambda: targets.search("owner/animals"))
    estimators = ("zero_shot_ndcg", "emms")
    target = Target("animals", "text-retrieval", "held")
    pool = replace(pool, targets=(target,), estimators=estimators, max_samples=None)
    monkeypatch.delenv("HF_EMMS_QUALITY_ROWS", raising=False)
    experiment.score(pool, ())
    assert "animals            left out: owner/animals needs HF_EMMS_QUALITY_ROWS" in capsys.readouterr().out
    assert not pool.results.exists()
    monkeypatch.setenv("HF_EMMS_QUALITY_ROWS", str(tmp_path))
    experiment.score(pool, ())
    record = results.read(pool)["animals"]
    assert record["test_rows"] == 3
    assert record["baselines"]["BM25"] > 0.9
    assert {key.partition("|")[0] for key in record["scores"]} == {"zero_shot_ndcg", "emms", "emms_r2", "airtran"}
    assert all(0.2 <= value <= 1 for value in record["scores"]["airtran|demo"])
    settings = {"task": target.task, "columns": target.columns, "estimators": ("zero_shot_ndcg",)}
    options = Options.of(str(experiment.folder_of(target)), **settings)
    searches = experiment.searches(options, [f"emms-demo/{name}" for name in record["candidates"]])
    values = [round(zero_shot_ndcg(search).value, 6) for search in searches]
    assert values == pytest.approx(record["scores"]["zero_shot_ndcg|demo"], abs=1e-6)
    runs = [[1e-3, 0, 50.0, 50.0, 1.0, 1, None, []]]
    record["runs"] = {"short": dict.fromkeys(record["candidates"], runs)}
    results.write(pool, {"animals": record})
    assert "AiRTran" in report.pool_table(pool)
    table = targets.MAKERS["animals"]()
    assert {len(text.split()) for text in table["test"].columns["positive"]} == {targets.SEARCH_WORDS}
    assert "BM25" in [*report.search_table(pool)["candidate"]]


def test_the_error_of_a_mean_over_queries_is_that_of_drawing_them_anew():
    values = np.repeat([0.0, 100.0], 500)
    expected = [50 / np.sqrt(count) for count in query_counts.COUNTS]
    assert query_counts._errors(values) == pytest.approx(expected, rel=0.06)


@pytest.mark.slow
def test_the_error_by_the_number_of_queries_is_measured_without_the_files_of_others(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(query_counts, "RESULTS", tmp_path / "results.json")
    monkeypatch.delenv("HF_EMMS_QUALITY_ROWS", raising=False)
    query_counts.measure()
    assert "allenai/scitldr-retrieval: left out" in capsys.readouterr().out
    committed = json.loads((ROOT / "scripts" / "quality" / "results" / "query-counts.json").read_text())
    (measured,) = json.loads(query_counts.RESULTS.read_text()).items()
    name, about = measured
    for search, values in about.pop("searches").items():
        assert values == pytest.approx(committed[name]["searches"][search], abs=0.2)
    assert about.items() <= committed[name].items()


def test_airtran_ranks_by_a_regression_on_products_of_whitened_embeddings():
    rng = np.random.default_rng(0)
    documents, answers = rng.normal(size=(5, 8)) @ rng.normal(size=(8, 8)), rng.integers(0, 5, 60)
    queries = documents[answers] + 4 * rng.normal(size=(60, 8))
    judgments = np.column_stack([np.arange(60), answers, np.ones(60, int)])
    groups = np.arange(60, dtype=np.uint64)
    search = SearchScores(queries.astype(np.float32), documents.astype(np.float32), judgments, groups)
    whitening = PCA(whiten=True).fit(np.concatenate([search.queries, search.documents]))
    products = whitening.transform(search.queries)[:, None] * whitening.transform(search.documents)
    relevance = np.arange(5) == answers[:, None]
    products = products.reshape(300, 8)
    predicted = LinearRegression().fit(products, relevance.ravel()).predict(products).reshape(60, 5)
    ranks = (predicted >= predicted[relevance][:, None]).sum(axis=1)
    assert baselines.airtran(search) == pytest.approx(np.mean(1 / ranks))
    assert baselines.airtran(replace(search, queries=search.documents[answers])) > baselines.airtran(search)


def test_the_warning_of_sentence_searches_quotes_the_counts_of_published_models() -> None:
    warning = get_estimator("sentence_search").warning
    rows = [*sentence_queries.signs(json.loads(sentence_queries.RESULTS.read_text()))]
    assert rows
    assert all(f"in {row['without models of the demo']}" in warning for row in rows[1:])
    assert f"less in {rows[0]['without models of the demo']}" in warning
