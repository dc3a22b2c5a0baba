"""Fine-tuning for search trains embeddings of queries and documents, and measures retrieval."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer import losses, modules
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

import hf_emms
from hf_emms.features.feature_spec import make_feature_spec
from hf_emms.finetune.recipe import Recipe, TrainingJob, head_of
from hf_emms.finetune.splits import load_splits
from hf_emms.finetune.training import run_job
from hf_emms.heads import LabeledSplit
from hf_emms.heads.judged_search import judgments_of, relevant_of
from hf_emms.heads.reranking import _training_pairs, candidates_of
from hf_emms.hub import resolve
from hf_emms.inputs import SearchCollection
from hf_emms.options import Options
from hf_emms.scoring.bm25 import Bm25Index, word_search
from hf_emms.scoring.retrieval import zero_shot_ndcg
from hf_emms.tasks import get_task
from tests.finetune.make import FAST, ranking, save
from tests.finetune.task_rows import loaded
from tests.helpers.errors import raises_code
from tests.helpers.tiny_checkpoints import build, reranker

COLUMNS = {"query": "query", "document": "positive"}
THINGS = ["apple", "boats", "cat", "children", "dog", "pie", "telescope", "mat"]
PLACES = ["harbour", "mountain", "road", "rain", "photo"]
KINDS = ["red", "green", "small", "old"]


def searches(count: int, *, negatives: bool = False) -> datasets.Dataset:
    """Queries that name a thing and a place, and the document about both."""
    named = [(THINGS[row % 8], KINDS[row // 40], PLACES[row // 8 % 5]) for row in range(count)]
    columns = {
        "query": [f"{thing} near {kind} {place}" for thing, kind, place in named],
        "positive": [f"the {thing} sits on a {kind} {place} while children play" for thing, kind, place in named],
    }
    if negatives:
        columns["negative"] = [f"the {thing} sits over a {kind} {place}" for thing, kind, place in named]
    return datasets.Dataset.from_dict(columns)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(searches(120), tmp_path_factory.mktemp("search") / "data")


def described(checkpoint: Path, folder: Path, similarity: str) -> Path:
    model = SentenceTransformer(
        modules=[modules.Transformer(str(checkpoint)), modules.Pooling(16, "mean")],
        prompts={"query": "a query: ", "passage": "the passage: "},
        similarity_fn_name=similarity,
        device="cpu",
    )
    model.save_pretrained(str(folder), create_model_card=False)
    return folder


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_saved_search_models_reproduce_their_scores(similarity: str, data: str, zoo: Path, tmp_path: Path) -> None:
    checkpoint, kept = described(build(zoo, "bert"), tmp_path / "st", similarity), tmp_path / "kept"
    made = ranking(data, "text-retrieval", COLUMNS, {str(checkpoint): -0.1})
    settings = FAST | {"save_model": str(kept), "learning_rates": ("3e-3",)}
    (row,) = hf_emms.confirm(made, top=1, **settings)
    assert row.fine_tuned.error is None
    test = load_splits(Options.of(data, task="text-retrieval", columns=COLUMNS).sample).test
    queries = {str(number): test.inputs.queries[number] for number in test.input_of_row.tolist()}
    corpus = {str(number): text for number, text in enumerate(test.inputs.documents)}
    relevant = {
        number: {str(document) for document, grade in judged if grade}
        for number, judged in zip(queries, test.references, strict=True)
    }
    model = SentenceTransformer(str(kept), device="cpu")
    assert (model.prompts["query"], model.prompts["document"]) == ("a query: ", "the passage: ")
    assert model.similarity_fn_name == similarity
    evaluator = InformationRetrievalEvaluator(
        *(queries, corpus, relevant),
        precision_recall_at_k=[100],
        query_prompt_name="query",
        corpus_prompt_name="document",
        write_csv=False,
    )
    measured = evaluator(model)
    assert set(row.fine_tuned.scores) == {"nDCG@10", "MRR@10", "recall@100"}
    for ours, theirs in (("nDCG@10", "ndcg@10"), ("MRR@10", "mrr@10"), ("recall@100", "recall@100")):
        assert row.fine_tuned.scores[ours] == pytest.approx(measured[f"{similarity}_{theirs}"], abs=5e-3)
    card = (kept / "README.md").read_text()
    assert "library_name: sentence-transformers\npipeline_tag: sentence-similarity\n" in card
    assert "encode_query" in card
    (run,) = row.fine_tuned.runs
    assert run.validation == max(run.curve) > run.curve[0]
    assert "training-helped" in [getattr(note, "code", "") for note in run.notes]
    with raises_code("no-head"):
        hf_emms.load_finetuned(kept)


def test_the_loss_equals_that_of_sentence_transformers(zoo: Path) -> None:
    network, splits = loaded(build(zoo, "bert"), searches(60), "text-retrieval")
    rows = network.rows(splits.train, True)
    batch = rows.batch(np.arange(8))
    network.model.eval()
    labels = batch.pop("labels")
    vectors = network.model(**batch)
    queries, documents = vectors[:8], vectors[8:][labels.argmax(1)]
    theirs = losses.MultipleNegativesRankingLoss(None).compute_loss_from_embeddings([queries, documents], None)
    assert network.model(labels=labels, **batch)["loss"].item() == pytest.approx(theirs.item(), rel=1e-5)


def test_documents_are_unique_in_a_batch_and_never_false_negatives(zoo: Path) -> None:
    judgments = [(0, 1, 1), (0, 2, 2), (0, 0, 1), (0, 3, 0), (0, 5, 0), (1, 5, -1), (1, 4, 3), (1, 0, 0)]
    documents = [f"document {number}" for number in range(9)]
    collection = SearchCollection(["first", "second"], documents[:6], np.array(judgments))
    judged = [[(document, grade) for query, document, grade in judgments if query == row] for row in range(2)]
    split = replace(LabeledSplit.of_inputs(collection, judged), input_of_row=np.arange(2))
    assert judgments_of(split).tolist() == [list(row) for row in judgments]
    assert relevant_of(split).tolist() == [[0, 2, 2], [0, 0, 1], [0, 1, 1], [1, 4, 3]]
    network, _ = loaded(build(zoo, "bert"), searches(40), "text-retrieval")
    batch = network.rows(split, True).batch(np.arange(4))
    assert batch["labels"].tolist() == [[1, 1, 2, 0, 0, 0], [2, 1, 1, 0, 0, 0], [1, 2, 1, 0, 0, 0], [0, 0, 0, 0, 2, 1]]
    assert batch["input_ids"][4:].tolist() == network.read(split)(np.arange(2, 8))["input_ids"].tolist()
    more, wrong = SearchCollection(["first"], documents, np.array([(0, 0, 1)])), ((number, 0) for number in range(1, 9))
    many = replace(split, inputs=more, references=(((0, 1), *wrong),), input_of_row=np.arange(1))
    assert network.rows(many, True).batch(np.arange(1))["labels"].tolist() == [[2, 0, 0, 0, 0, 0]], "five negatives"
    assert network.batch_loss(torch.eye(4, 16), torch.tensor([[2, 1], [1, 2]])).item() == 0, "no document is a negative"
    retrieval, ranking = (head_of(get_task(f"text-{name}")) for name in ("retrieval", "ranking"))
    assert [retrieval.count_rows(split), retrieval.count_inputs(split)] == [4, 2 + 6]
    many_documents = SearchCollection(collection.queries, [*map(str, range(2_003))], collection.judgments)
    assert len({*retrieval.reduce_validation(replace(split, inputs=many_documents)).inputs.documents}) == 2_000
    # Five pairs per relevant document, limited by six documents: 6 for the first query, and 5 for the second.
    assert [ranking.count_rows(split), ranking.count_inputs(split)] == [6 + 5, 2 * 6]
    others = [[0, 3, 0], [0, 5, 0], [0, 4, 0]], [[1, number, 0] for number in range(4)]
    assert _training_pairs(split).tolist() == [[0, 1, 1], [0, 2, 2], [0, 0, 1], *others[0], [1, 4, 3], *others[1]]


def test_epochs_search_a_part_of_a_large_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    options = Options.of(searches(100, negatives=True), task="text-retrieval")
    whole = load_splits(options.sample)
    monkeypatch.setattr("hf_emms.heads.judged_search._VALIDATION_DOCUMENTS", 50)
    splits = load_splits(options.sample)
    assert splits.test.inputs.documents == whole.test.inputs.documents
    assert len({*splits.validation.inputs.documents}) == 50 < len(whole.validation.inputs.documents)
    monkeypatch.setattr("hf_emms.heads.judged_search._VALIDATION_DOCUMENTS", 5)
    judged_alone = load_splits(options.sample).validation
    assert len(judged_alone.inputs.documents) == 2 * len(judged_alone)
    for part in (splits.validation, whole.validation, judged_alone):
        judged = [[(part.inputs.documents[place], grade) for place, grade in places] for places in part.references]
        assert [sorted(grade for _, grade in documents) for documents in judged] == [[0, 1]] * len(part)
        answers = [text for documents in judged for text, grade in documents if grade]
        queries = [part.inputs.queries[query] for query in part.input_of_row.tolist()]
        assert [text.split()[1] for text in answers] == [text.split()[0] for text in queries]


def counterarguments() -> dict[str, list[dict[str, Any]]]:
    """Tables in which each query is also a document with the same id, and its neighbor is relevant."""
    texts = [f"{kind} {thing} near the {place}" for thing in THINGS for place in PLACES for kind in KINDS[:2]]
    rows = [{"_id": f"a{number}", "text": text} for number, text in enumerate(texts)]
    judgments = [{"query-id": f"a{n}", "corpus-id": f"a{n ^ 1}", "score": 1} for n in range(len(texts))]
    return {"corpus": rows, "queries": rows, "qrels": judgments}


def in_documents(split: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return each query's own document in `counterarguments`, and its relevant document."""
    texts = split.inputs.documents
    itself = [texts.index(split.inputs.queries[query]) for query in split.input_of_row.tolist()]
    return np.array(itself), np.array([place for judged in split.references for place, grade in judged if grade > 0])


def test_a_query_does_not_retrieve_itself(zoo: Path) -> None:
    network, splits = loaded(build(zoo, "bert"), counterarguments(), "text-retrieval")
    test = splits.test
    itself, answers = in_documents(test)
    documents = np.eye(len(test.inputs.documents), 100, dtype=np.float32)
    queries = documents[itself] + 0.5 * documents[answers]
    _, order = network.cached_for_split("tokens", test, network._tokenize)
    outputs = np.concatenate([queries, documents])[order]
    assert {result.ndcg for result in network.predictions(outputs, test)} == {1.0}


def test_a_reranker_does_not_rank_the_query_itself(zoo: Path) -> None:
    network, splits = loaded(build(zoo, "bert"), counterarguments(), "text-ranking")
    itself, answers = in_documents(splits.test)
    candidates = candidates_of(splits.test)
    scores = 2.0 * (candidates == itself[:, None]) + (candidates == answers[:, None])
    results = network.predictions(scores.reshape(-1, 1), splits.test)
    assert {result.ndcg for result in results} == {1.0}


# ---- rerankers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["mpnet", "bert", "llama"])  # without token types, with hidden ones, no separators
def test_saved_rerankers_reproduce_their_scores(family: str, zoo: Path, tmp_path: Path) -> None:
    reranked = load_splits(Options.of(searches(60), task="text-ranking").sample)
    options = Options.of("data")
    folder = shutil.copytree(build(zoo, family), tmp_path / family)
    (folder / "chat_template.jinja").write_text("{{ messages }}")  # it is not used in training
    spec = make_feature_spec(resolve(str(folder), "model"), reranked.task.input, "text-ranking")
    recipe = Recipe("full", 2, None, (0.01,), (0,), batch_size=8)
    job = TrainingJob("bert", spec, None, recipe, 0.01, 0)
    configs = []
    for name in ("first", "again"):  # the second time, training had ended but its result was not stored
        run = run_job(job, reranked, options.running, tmp_path / "run", models=tmp_path / name)
        assert run.error is None
        assert run.validation == max(run.curve)
        assert (run.is_untrained, len(run.curve)) == (False, 2)  # a new head is not measured before training
        configs.append((tmp_path / name / str(run.steps) / "config.json").read_text())
    assert configs[0] == configs[1]
    model = CrossEncoder(str(tmp_path / "again" / str(run.steps)), device="cpu")
    test, values = reranked.test, []
    for query, judged in zip(test.input_of_row.tolist(), test.references, strict=True):
        text, documents = test.inputs.queries[query], test.inputs.documents
        (scores,) = Bm25Index(documents).scores([text])
        first = np.argsort(-scores[0], kind="stable")[:100].tolist()
        order = [first[each["corpus_id"]] for each in model.rank(text, [documents[place] for place in first])]
        places = [order.index(document) for document, grade in judged if grade and document in order[:10]]
        values.append(sum(1 / np.log2(2 + place) for place in places))
    assert run.scores["nDCG@10"] == pytest.approx(np.mean(values), abs=5e-3)


def test_a_trained_reranker_is_measured_first_and_learns_from_five_documents_per_query(zoo: Path) -> None:
    data, task = searches(60, negatives=True), "text-ranking"
    trained, _ = loaded(reranker(zoo), data, task)
    network, splits = loaded(build(zoo, "bert"), data, task)
    assert [head_of(splits.task).measures_first(each) for each in (trained, network)] == [True, False]
    rows = network.rows(splits.train, True)
    assert len(rows) == splits.training_rows == 5 * len(splits.train)
    assert rows.batch(np.arange(10))["labels"].tolist() == [1, 0, 0, 0, 0] * 2


def test_rerankers_are_confirmed_in_the_order_of_the_chosen_estimator(data: str, zoo: Path) -> None:
    settings = {"estimators": "emms", "encoders": "demo", "confirm": 1, "epochs": 1, "learning_rates": ["1e-3"]}
    (row,) = hf_emms.rank(data, str(build(zoo, "mpnet")), task="text-ranking", **settings)
    assert row.fine_tuned.error is None
    assert row.fine_tuned.metric == "nDCG@10"
    assert row.fine_tuned.baseline.name == "the order of BM25"
    test = load_splits(Options.of(data, task="text-ranking").sample).test
    queries = [test.inputs.queries[query] for query in test.input_of_row]
    search = word_search(queries, test.inputs.documents, judgments_of(test), test.groups)
    assert row.fine_tuned.baseline.value == pytest.approx(zero_shot_ndcg(search).value, abs=0.02)


def test_checkpoints_without_a_text_classifier_cannot_rerank(data: str, zoo: Path) -> None:
    with raises_code("no-head"):
        loaded(build(zoo, "clip-text"), data, "text-ranking")
