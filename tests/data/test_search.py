"""Read queries with the documents that answer them: all layouts become the same collection."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from hf_emms import data
from hf_emms.inputs import SearchCollection
from hf_emms.options import SampleOptions
from tests.helpers.hub_client import run
from tests.helpers.rows import write
from tests.helpers.samples import load_sample, refused
from tests.hub import Hub

N = 60
QUESTIONS = [f"who wrote book {number}" for number in range(N)]
BOOKS = [f"book {number} was written by someone" for number in range(N)]
ANSWERED = dict.fromkeys(zip(QUESTIONS, BOOKS, strict=True), 1)


def later(count: int) -> list[str]:
    """The documents of the queries that come so much later."""
    return BOOKS[count:] + BOOKS[:count]


def pairs(**more: list[Any]) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"query": QUESTIONS, "passage": BOOKS, **more})


def judged(sample: Any) -> dict[tuple[str, str], int]:
    """The texts of a query and a document → the grade."""
    search = sample.inputs
    assert isinstance(search, SearchCollection)
    return {(search.queries[query], search.documents[document]): grade for query, document, grade in search.judgments}


def facts(sample: Any) -> str:
    return "; ".join(sample.reading.facts)


@pytest.mark.parametrize(
    ("query", "document"),
    [("anchor", "positive"), ("query", "pos"), ("query", "passage"), ("Query", "Document")],
)
def test_a_query_and_the_passage_that_answers_it_are_read_as_a_search(query: str, document: str) -> None:
    sample = load_sample(datasets.Dataset.from_dict({query: QUESTIONS, document: BOOKS}))
    assert (sample.task.id, sample.columns) == ("text-retrieval", {"query": query, "document": document})
    assert judged(sample) == ANSWERED
    assert (len(sample), len(sample.inputs), len(set(sample.groups.tolist()))) == (N, 2 * N, N)
    assert [sample.inputs[number] for number in sample.input_of_row.tolist()] == list(sample.inputs.queries)
    assert {
        (sample.inputs[input], sample.label_texts[code])
        for input, code in zip(sample.input_of_row.tolist(), sample.codes.tolist(), strict=True)
    } == set(ANSWERED)


def test_max_samples_counts_queries_and_corpus_size_counts_documents() -> None:
    sample = load_sample(pairs(), max_samples=5, corpus_size=25)
    assert (len(sample.inputs.queries), len(sample.inputs.documents), len(sample)) == (5, 25, 5)
    assert (sample.reading.examples, sample.available) == (N, N)
    assert judged(sample).items() <= ANSWERED.items()
    for fact in ("5 of 60 queries with 1 relevant", "5 groups", "25 of 60 documents (41.7%)"):
        assert fact in facts(sample)
    assert [each.example for each in sample.reading.columns] == [
        f'"{text}"' for text in (sample.inputs.queries[0], sample.inputs.documents[0])
    ]
    backwards = load_sample(pairs().select(range(N - 1, -1, -1)), max_samples=5, corpus_size=25)
    assert backwards.fingerprint == sample.fingerprint
    assert np.array_equal(backwards.inputs.judgments, sample.inputs.judgments)
    other = load_sample(pairs(), max_samples=5, corpus_size=25, seed=1)
    assert set(other.inputs.queries) != set(sample.inputs.queries)
    assert len(load_sample(pairs(), max_samples=5, corpus_size=None).inputs.documents) == N
    many = load_sample(pairs(), max_samples=50, corpus_size=2)
    assert len(many.inputs.documents) == 50, "what answers a query is always there"
    assert judged(load_sample(pairs().select(range(2)))) == dict([*ANSWERED.items()][:2])


# ---- rows with several documents -------------------------------------------------------------------------------------

JUDGED_TWICE = {"query": QUESTIONS * 2, "passage": BOOKS + later(1)}
ROWS_OF_DOCUMENTS: dict[str, tuple[dict[str, list[Any]], dict[str, str]]] = {
    "a negative": (
        {"anchor": QUESTIONS, "positive": BOOKS, "negative": later(1)},
        {"query": "anchor", "document": "positive", "negative": "negative"},
    ),
    "numbered negatives": (
        {"query": QUESTIONS, "positive": BOOKS, **{f"negative_{count}": later(count) for count in (1, 2, 3)}},
        {"query": "query", "document": "positive", "negative": "negative_1,negative_2,negative_3"},
    ),
    "lists of positives and negatives": (
        {"query": QUESTIONS, "pos": [[book] for book in BOOKS], "neg": [[book] for book in later(1)]},
        {"query": "query", "document": "pos", "negative": "neg"},
    ),
    "a judgment a row": (
        {**JUDGED_TWICE, "label": [1] * N + [0] * N},
        {"query": "query", "document": "passage", "relevance": "label"},
    ),
}


@pytest.mark.parametrize("shape", ROWS_OF_DOCUMENTS)
def test_rows_may_have_several_documents_per_query(shape: str) -> None:
    rows, columns = ROWS_OF_DOCUMENTS[shape]
    sample = load_sample(datasets.Dataset.from_dict(rows))
    assert (sample.task.id, sample.columns) == ("text-retrieval", columns)
    grades = judged(sample)
    assert {pair for pair, grade in grades.items() if grade} == set(ANSWERED)
    assert grades[QUESTIONS[0], BOOKS[1]] == 0
    assert len(grades) == N * (4 if "numbered" in shape else 2)
    assert (len(sample), sample.reading.examples, len(sample.inputs.documents)) == (N, N, N)
    assert f"{N} of {N} queries with 1 relevant" in facts(sample)
    assert f"{N} of {N} documents" in facts(sample)


def test_grades_count_and_fractions_become_grades() -> None:
    whole = load_sample(datasets.Dataset.from_dict({**JUDGED_TWICE, "score": [3] * N + [1] * N}))
    assert sorted(set(judged(whole).values())) == [1, 3]
    assert judged(whole)[QUESTIONS[0], BOOKS[0]] == 3
    assert len(whole) == 2 * N, "each relevant document of a query is a row"
    assert len(set(whole.groups.tolist())) == N, "every query shares a document with the next one"
    parts = load_sample(datasets.Dataset.from_dict({**JUDGED_TWICE, "score": [0.5] * N + [0.04] * N}))
    assert sorted(set(judged(parts).values())) == [1, 10]
    assert "relevance up to 0.5" in facts(parts)


def test_a_document_with_two_grades_has_the_higher_one() -> None:
    rows = {"query": [*QUESTIONS, QUESTIONS[0]], "positive": [*BOOKS, "another"], "negative": [*later(1), BOOKS[0]]}
    assert judged(load_sample(datasets.Dataset.from_dict(rows)))[QUESTIONS[0], BOOKS[0]] == 1


def test_documents_with_grade_zero_are_drawn_first_and_kept_in_training() -> None:
    hard = [f"no book {number} at all" for number in range(N)]
    rows = datasets.Dataset.from_dict({"query": QUESTIONS, "positive": BOOKS, "negative": hard})
    sample = load_sample(rows, max_samples=10, corpus_size=20)
    drawn = {int(query.rpartition(" ")[2]) for query in sample.inputs.queries}
    assert set(sample.inputs.documents) == {text[number] for number in drawn for text in (BOOKS, hard)}
    options = SampleOptions(rows, max_samples=10, corpus_size=2)
    assert len(data.load_sample(options).inputs.documents) == 10
    trained = data.load_sample(options, training=True)
    assert set(trained.inputs.documents) == set(sample.inputs.documents)
    assert sorted(judged(trained).values()) == [0] * 10 + [1] * 10


def test_other_tasks_read_the_same_data() -> None:
    reranked = load_sample(pairs(), task="reranking")
    assert (reranked.task.id, judged(reranked)) == ("text-ranking", ANSWERED)
    rows = pairs(title=["Book"] * N, label=[n % 2 for n in range(N)])
    titled = load_sample(rows, task="retrieval", columns={"document": "title,passage"})
    assert set(titled.inputs.documents) == {f"Book {book}" for book in BOOKS}
    assert load_sample(rows, task="nli").task.id == "text-pair-classification"
    contexts = [f"context {n // 2}" for n in range(N)]
    answers = [{"text": [f"{n // 2}"], "answer_start": [8]} for n in range(N)]
    squad = datasets.Dataset.from_dict({"question": QUESTIONS, "context": contexts, "answers": answers})
    assert load_sample(squad).task.id == "question-answering"
    sample = load_sample(squad, task="retrieval")
    assert sample.columns == {"query": "question", "document": "context"}
    assert (len(sample), len(sample.inputs.documents), len(set(sample.groups.tolist()))) == (N, N // 2, N // 2)
    named = load_sample(squad, task="retrieval", columns={"document": "question", "query": "context"})
    assert (len(named.inputs.queries), len(named)) == (N // 2, N)


# ---- tables ----------------------------------------------------------------------------------------------------------

# Two documents that nothing is judged for, and a query of another split.
CORPUS = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate([*BOOKS, "a", "b"])]
QUERIES = [{"_id": f"q{n}", "text": text} for n, text in enumerate([*QUESTIONS, "who else"])]
QRELS = [{"query-id": f"q{n}", "corpus-id": f"d{n}", "score": 1} for n in range(N)]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    write(path, gzip.compress(content) if path.suffix == ".gz" else content)


def write_qrels(path: Path, rows: list[dict[str, Any]]) -> None:
    lines = ["\t".join(rows[0])] + ["\t".join(map(str, row.values())) for row in rows]
    write(path, "\n".join(lines) + "\n")


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(path)


def configurations(**files: list[str]) -> str:
    """The card of a repository that has files for each split of each configuration: split=path."""
    lines = ["---", "configs:"]
    for name, of_splits in files.items():
        parts = [f"{{split: {split}, path: {path}}}" for split, _, path in (file.partition("=") for file in of_splits)]
        lines += [f"- config_name: {name}", f"  data_files: [{', '.join(parts)}]"]
    return "\n".join([*lines, "---"]) + "\n"


def beir(folder: Path, suffix: str = "") -> Path:
    write_jsonl(folder / f"corpus.jsonl{suffix}", CORPUS)
    write_jsonl(folder / f"queries.jsonl{suffix}", QUERIES)
    write_qrels(folder / "qrels" / "train.tsv", QRELS)
    write_qrels(folder / "qrels" / "test.tsv", [{"query-id": f"q{N}", "corpus-id": "d1", "score": 1}, QRELS[0]])
    return folder


def beir_compressed(folder: Path) -> Path:
    return beir(folder, ".gz")


QRELS_OF_SPLITS = ["train=qrels/train.jsonl", "test=qrels/test.jsonl"]


def mteb(folder: Path) -> Path:
    """As mteb writes it: the configuration of judgments is the default, and ids are in a column id."""
    write_jsonl(folder / "data" / "c.jsonl", [{"id": row["_id"], "text": row["text"]} for row in CORPUS])
    write_jsonl(folder / "data" / "q.jsonl", [{"id": row["_id"], "text": row["text"]} for row in QUERIES])
    write_jsonl(folder / "qrels" / "train.jsonl", QRELS)
    write_jsonl(folder / "qrels" / "test.jsonl", QRELS[:5])
    card = configurations(default=QRELS_OF_SPLITS, corpus=["corpus=data/c.jsonl"], queries=["queries=data/q.jsonl"])
    write(folder / "README.md", card)
    return folder


def nano_beir(folder: Path) -> Path:
    """As NanoBEIR is written: a split for each of its datasets, and lists of the ids of relevant documents."""
    relevance = [
        {"query-id": row["query-id"], "positive-corpus-ids": [row["corpus-id"]], "bm25-ranked-ids": ["d60"]}
        for row in QRELS
    ]
    files = {}
    for name, rows in {"corpus": CORPUS, "queries": QUERIES, "relevance": relevance}.items():
        write_parquet(folder / name / "NanoSciFact-00000-of-00001.parquet", rows)
        others = [{**row, "text": "elsewhere"} if "text" in row else row for row in rows]
        write_parquet(folder / name / "NanoTouche2020-00000-of-00001.parquet", others)
        files[name] = [f"{split}={name}/{split}-*" for split in ("NanoSciFact", "NanoTouche2020")]
    write(folder / "README.md", configurations(**files))
    return folder


def in_memory(folder: Path) -> dict[str, Any]:
    return {
        "corpus": CORPUS,
        "queries": datasets.Dataset.from_list(QUERIES),
        "qrels": {"train": datasets.Dataset.from_list(QRELS), "test": datasets.Dataset.from_list(QRELS[:5])},
    }


TABLES = {build.__name__: build for build in (beir, beir_compressed, mteb, nano_beir, in_memory)}


@pytest.mark.parametrize("layout", TABLES)
def test_queries_corpus_and_judgments_in_separate_tables_are_read(tmp_path: Path, layout: str) -> None:
    built = TABLES[layout](tmp_path / "set")
    tables = str(built) if isinstance(built, Path) else built
    sample = load_sample(tables)
    assert (sample.task.id, sample.columns["query"]) == ("text-retrieval", "text")
    assert sample.columns["document"] == ("text" if layout == "mteb" else "title,text")
    assert judged(sample) == ANSWERED
    assert set(sample.inputs.documents) == {*BOOKS, "a", "b"}
    assert sample.split == ("NanoSciFact" if layout == "nano_beir" else "train")
    again = load_sample(tables, task="retrieval", columns=sample.columns)
    assert again.fingerprint == sample.fingerprint
    part = load_sample(tables, max_samples=10, corpus_size=11)
    assert (len(part.inputs.queries), len(part.inputs.documents)) == (10, 11)
    if layout not in ("nano_beir", "in_memory"):
        assert set(sample.splits) == {"train", "test"}
        assert len(load_sample(tables, split="test").inputs.queries) == (5 if layout == "mteb" else 2)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_datasets(hub: Hub, folder: Path) -> None:
    """Put tables on a Hub as mteb and NanoBEIR do; org/alone lacks judgments."""

    def put(id: str, files: dict[str, bytes], card: str = "") -> None:
        hub.store.put_files(id, {**files, "README.md": card.encode()} if card else files, "dataset")

    put("mteb/books", files_of(mteb(folder / "mteb")))
    put("sentence-transformers/NanoBEIR-en", files_of(nano_beir(folder / "nano")))
    for name, rows in {"corpus": CORPUS, "queries": QUERIES, "qrels/train": QRELS, "qrels/test": QRELS[:5]}.items():
        write_jsonl(folder / "scifact" / f"{name}.jsonl", rows)
    tables = {"corpus": ["corpus=corpus.jsonl"], "queries": ["queries=queries.jsonl"]}
    put("mteb/scifact", files_of(folder / "scifact"), configurations(default=QRELS_OF_SPLITS, **tables))
    alone = {name: content for name, content in files_of(folder / "scifact").items() if "qrels" not in name}
    put("org/alone", alone, configurations(**tables))


def test_datasets_of_the_hub_are_read_over_http(hub: Hub, tmp_path: Path) -> None:
    put_datasets(hub, tmp_path)
    code = """
        from hf_emms.data import load_sample
        from hf_emms.options import SampleOptions
        def read(id, **settings):
            sample = load_sample(SampleOptions(id, **settings))
            told = [*map(str, sample.notes), *sample.reading.facts]
            return [sample.fingerprint, len(sample), len(sample.inputs), sample.split, told]
        print(json.dumps([
            read("mteb/books"),
            report(lambda: read("org/alone")),
            *(read(name) for name in ("scifact", "nano_scifact")),
        ]))
        """
    of_mteb, alone, *presets = run(code, hub, tmp_path / "home")
    assert of_mteb[1:4] == [N, 2 * N + 2, "train"]
    assert any("the configuration corpus" in told and "the configuration default" in told for told in of_mteb[4])
    assert "no relevance judgments" in alone["message"]
    assert [preset[1:4] for preset in presets] == [[N, 2 * N + 2, split] for split in ("train", "NanoSciFact")]


def test_only_the_first_rows_of_a_stream_of_pairs_are_read() -> None:
    read: list[int] = []

    def rows() -> Iterator[dict[str, str]]:
        for number in range(10_000):
            read.append(number)
            yield {"query": f"query {number}", "passage": f"passage {number}"}

    sample = load_sample(datasets.IterableDataset.from_generator(rows), max_samples=30)
    assert (len(sample.inputs.queries), len(sample.inputs.documents)) == (30, 34)
    assert max(read) < 2_000


# ---- bad input -------------------------------------------------------------------------------------------------------


def folder_of(
    folder: Path,
    corpus: list[dict[str, Any]] = CORPUS,
    asked: list[dict[str, Any]] = QUERIES,
    qrels: list[dict[str, Any]] = QRELS,
) -> str:
    write_jsonl(folder / "corpus.jsonl", corpus)
    write_jsonl(folder / "queries.jsonl", asked)
    write_qrels(folder / "qrels" / "test.tsv", qrels)
    return str(folder)


def test_judgments_with_unknown_ids_are_counted_and_refused_above_five_percent(tmp_path: Path) -> None:
    strange = {"query-id": "nobody", "corpus-id": "d1", "score": 1}
    absent = [{**row, "corpus-id": "absent"} for row in QRELS[:3]]
    irrelevant = [{"query-id": query, "corpus-id": "d1", "score": 0} for query in ("q3", "q4")]
    unread = [{**strange, "score": "?"}] * 3
    sample = load_sample(folder_of(tmp_path / "few", qrels=[*unread, *absent, *QRELS[4:], *irrelevant, strange]))
    assert set(sample.inputs.queries) == {*QUESTIONS[4:]}
    for fact in (
        "queries from queries.jsonl, documents from corpus.jsonl, relevance judgments from qrels/test.tsv",
        "left out 1 judgment: its query",
        "left out 1 query: no document is relevant",
        "left out 3 judgments: its document",
        "left out 3 queries: its relevant documents",
        "56 of 59 queries",
        "62 of 62 documents",
    ):
        assert fact in facts(sample)
    assert (sample.reading.skipped, len(sample.reading.reasons)) == (3, 2)
    assert "row 1 of qrels/test.tsv: the score is '?'" in sample.reading.reasons[0]
    for row, noun in ((absent[0], "document"), (strange, "query")):
        rows = [*QRELS, *({**row, "corpus-id": f"{row['corpus-id']}{n}"} for n in range(4))]
        error = refused(folder_of(tmp_path / noun, qrels=rows))
        assert f"4 of 64 judgments refer to a {noun}" in error.message
        assert "same ids" in str(error.hint)


def test_ids_are_equal_as_numbers_and_texts(tmp_path: Path) -> None:
    corpus = [{**row, "_id": n} for n, row in enumerate(CORPUS)]
    asked = [{**row, "_id": str(n)} for n, row in enumerate(QUERIES)]
    rows = [{"query-id": n, "corpus-id": n, "score": 1} for n in range(N)]
    assert judged(load_sample(folder_of(tmp_path / "names", corpus, asked, rows))) == ANSWERED
    parts = {"corpus": corpus, "queries": asked, "qrels": [{**row, "query-id": float(row["query-id"])} for row in rows]}
    assert judged(load_sample(parts)) == ANSWERED


def test_empty_and_repeated_documents_are_counted(tmp_path: Path) -> None:
    corpus = [*CORPUS, {"_id": "empty", "title": " ", "text": None}, {"_id": "copy", "text": BOOKS[0]}]
    sample = load_sample(folder_of(tmp_path / "few", corpus, qrels=[*QRELS[:-1], {**QRELS[-1], "corpus-id": "copy"}]))
    assert "left out 1 document: it is empty" in facts(sample)
    assert "62 of 63 documents have different texts" in facts(sample)
    assert judged(sample)[QUESTIONS[N - 1], BOOKS[0]] == 1
    assert len(set(sample.groups.tolist())) == N - 1, "two queries share the document that stands twice"
    empty = [{**row, "text": ""} if n < 9 else row for n, row in enumerate(CORPUS)]
    assert "9 of 62 documents are empty" in refused(folder_of(tmp_path / "many", empty)).message


BAD_TABLES: dict[str, tuple[Any, ...]] = {
    "one document": (
        {"corpus": CORPUS[:1], "qrels": [{**row, "corpus-id": "d0"} for row in QRELS]},
        "a single document",
    ),
    "equal queries": ({"asked": [{**row, "text": "the same"} for row in QUERIES]}, "all queries are equal"),
    "no texts": ({"corpus": [{"_id": row["_id"], "url": "x"} for row in CORPUS]}, "corpus.jsonl has no column of text"),
    "an id is missing": ({"asked": [*QUERIES, {"_id": None, "text": "a"}]}, "row 62 of queries.jsonl has no _id"),
    "grades are words": (
        {"qrels": [{**row, "score": "yes"} for row in QRELS]},
        "60 of 60 rows cannot be read",
    ),
    "no answer": ({"qrels": [{**row, "score": 0} for row in QRELS]}, "no document is relevant"),
    "no ids of documents": ({"qrels": [{"query-id": "q1", "text": "d1"}] * 4}, "has no column of ids of documents"),
    "a negative": ({}, "have no negative", {"negative": "text"}),
    "an absent column": ({}, "queries.jsonl has no column 'absent': _id, text", {"query": "absent"}),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_tables_without_a_search_are_refused(tmp_path: Path, case: str) -> None:
    tables, message, *columns = BAD_TABLES[case]
    error = refused(folder_of(tmp_path, **tables), task="retrieval", columns=dict(*columns))
    assert message in error.message
    assert error.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "queries.jsonl",
            '{"_id": "q0", "text": "a"}\n\n{"_id": "q77", "text": \n',
            "line 3 of queries.jsonl",
        ),
        ("queries.jsonl", "[1]\n", "line 1 of queries.jsonl"),
        ("corpus.jsonl", "\n", "corpus.jsonl has no column"),
        ("qrels/test.tsv", "\n", "qrels/test.tsv has no column"),
        ("qrels/test.tsv", "q1\t0\td1\t1\n", "qrels/test.tsv has no column"),
        ("qrels/test.md", "", "no relevance judgments"),
    ],
)
def test_missing_and_broken_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    folder = Path(folder_of(tmp_path))
    if name.endswith(".md"):
        (folder / "qrels" / "test.tsv").unlink()
    write(folder / name, content)
    error = refused(str(folder))
    assert message in error.message
    assert error.hint


def test_judgments_may_be_separated_by_commas(tmp_path: Path) -> None:
    folder = Path(folder_of(tmp_path))
    (folder / "qrels" / "test.tsv").unlink()
    write(folder / "qrels" / "test.csv", "\n".join(["query-id,corpus-id,score", *(f"q{n},d{n},1" for n in range(N))]))
    assert judged(load_sample(str(folder))) == ANSWERED


def test_rows_with_an_empty_text_are_skipped_and_options_of_other_tasks_refused() -> None:
    rows = {"query": [*QUESTIONS, ""], "positive": [*BOOKS, "text"], "negative": [None, *BOOKS]}
    sample = load_sample(datasets.Dataset.from_dict(rows))
    assert (len(sample), sample.skipped) == (N, 1)
    assert sample.reading.reasons == ("row 61: the query is empty",)
    error = refused(pairs(passage=[""] * 9 + BOOKS[9:]))
    assert error.message.startswith("9 of 60 rows")
    for settings in ({"group_column": "query"}, {"references": "first"}, {"sampling": "balanced"}):
        assert refused(pairs(), **settings).hint


def test_rows_without_a_grade_are_skipped() -> None:
    rows = {"query": QUESTIONS, "passage": BOOKS, "score": [None, None, *[1] * (N - 2)]}
    sample = load_sample(datasets.Dataset.from_dict(rows))
    assert (len(sample), sample.skipped) == (N - 2, 2)
    assert sample.reading.reasons[0] == "row 1: no relevance in column 'score'"


@pytest.mark.parametrize("layout", ["folder", "memory"])
def test_a_query_does_not_search_the_document_with_its_id_and_text(tmp_path: Path, layout: str) -> None:
    claims = [f"book {number} is worth  reading" for number in range(N)]
    corpus = [{"_id": str(number), "title": "On books", "text": text} for number, text in enumerate(claims)]
    corpus[7]["text"] = "a text that somebody corrected"
    asked = [{"_id": number, "text": text} for number, text in enumerate(claims)]
    qrels = [{"query-id": n, "corpus-id": n ^ 1, "score": 1} for n in range(N)]
    qrels += [{"query-id": 1, "corpus-id": 1, "score": 2}, {"query-id": 2, "corpus-id": 2, "score": 0}]
    tables = {"corpus": corpus, "queries": asked, "qrels": qrels}
    sample = load_sample(folder_of(tmp_path, corpus, asked, qrels) if layout == "folder" else tables)
    titled = [f"On books {row['text']}" for row in corpus]
    expected = {(claims[n], titled[n ^ 1]): 1 for n in range(N)} | {(claims[n], titled[n]): -1 for n in range(N)}
    assert judged(sample) == expected | {(claims[1], titled[1]): 2}, "what was judged to be relevant is searched"
    assert f"{N - 1} queries are documents, and do not search themselves" in facts(sample)
    assert len(sample) == N + 1
    part = load_sample(tables, max_samples=10, corpus_size=11)
    assert (len(part.inputs.queries), len(part.inputs.documents)) == (10, 11)


def test_row_numbers_and_pairs_exclude_no_document() -> None:
    asked = [{**row, "_id": str(n)} for n, row in enumerate(QUERIES)]
    qrels = [{"query-id": n, "corpus-id": (n + 1) % N, "score": 1} for n in range(N)]
    for held, grades in ((0, {1}), (N // 2, {1}), (N // 2 + 1, {1, -1})):
        corpus = [{"_id": n, "text": text} for n, text in enumerate([*QUESTIONS[:held], *BOOKS[held:]])]
        sample = load_sample({"corpus": corpus, "queries": asked, "qrels": qrels})
        assert set(judged(sample).values()) == grades
    sample = load_sample(pairs(passage=QUESTIONS[1:] + QUESTIONS[:1]))
    assert set(judged(sample).values()) == {1}
