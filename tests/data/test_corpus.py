"""Read documents without queries: sentences of the documents are the queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hf_emms.data.search.sentences import split_sentences
from hf_emms.inputs import SearchCollection
from tests import ROOT
from tests.helpers.rows import write
from tests.helpers.samples import codes, load_sample, refused

N = 40
FACTS = ("its roof was mended", "the ferry did not sail", "a bell rang at noon", "nobody paid the toll")


def document(number: int) -> str:
    return " ".join(f"In the year {1800 + number} of harbour {number} {fact}." for fact in FACTS)


DOCUMENTS = [document(number) for number in range(N)]


def search_of(sample: Any) -> SearchCollection:
    assert isinstance(sample.inputs, SearchCollection)
    return sample.inputs


def drawn_from(sample: Any) -> dict[str, str]:
    """Sentence → the document that it must find."""
    search = search_of(sample)
    return {search.queries[query]: search.documents[number] for query, number, grade in search.judgments if grade > 0}


def not_searched(sample: Any) -> set[tuple[str, str]]:
    search = search_of(sample)
    return {(search.queries[query], search.documents[number]) for query, number, grade in search.judgments if grade < 0}


def test_a_sentence_searches_for_its_document_without_it() -> None:
    sample = load_sample({"text": DOCUMENTS}, task="text-retrieval")
    assert (sample.task.id, sample.columns, len(sample)) == ("text-retrieval", {"document": "text"}, N)
    assert set(drawn_from(sample).values()) == set(search_of(sample).documents)
    for sentence, rest in drawn_from(sample).items():
        complete = next(text for text in DOCUMENTS if sentence in text)
        assert rest.split() == complete.replace(sentence, "").split()
    assert not_searched(sample) == set()
    again = load_sample({"text": DOCUMENTS[::-1]}, task="text-retrieval")
    assert again.fingerprint == sample.fingerprint
    assert set(drawn_from(load_sample({"text": DOCUMENTS}, task="retrieval", seed=1))) != set(drawn_from(sample))
    few = load_sample({"text": DOCUMENTS}, task="retrieval", max_samples=5, corpus_size=20)
    assert (len(few), len(search_of(few).documents)) == (5, 20)


def test_long_documents_have_several_sentences_up_to_a_third() -> None:
    rows = {"text": [" ".join(document(10 * number + part) for part in range(3)) for number in range(10)]}
    sample = load_sample(rows, task="text-retrieval")
    sentences = drawn_from(sample)
    assert len(sentences) == 40
    assert set(np.unique(sample.groups, return_counts=True)[1]) == {4}
    many = load_sample(
        {"text": [f"{text} {text.replace('harbour', 'port')}" for text in DOCUMENTS * 6]}, task="retrieval"
    )
    assert len(many) == 2 * N, "equal documents are one"
    plenty = {"text": [document(number) for number in range(500)]}
    assert len(load_sample(plenty, task="text-retrieval")) == 400


def test_near_duplicates_are_not_searched_and_boilerplate_is_not_drawn() -> None:
    footer = "All rights of this long document are reserved."
    versions = [f"{text} {footer}" for text in DOCUMENTS]
    versions += [text.replace(FACTS[0], "its roof was never mended") for text in versions[:5]]
    sample = load_sample({"text": versions}, task="text-retrieval")
    assert not any(footer in sentence for sentence in drawn_from(sample))
    assert {sentence for sentence, _ in not_searched(sample)} <= set(drawn_from(sample))
    assert 5 <= len(not_searched(sample)) <= 10
    for sentence, twin in not_searched(sample):
        assert drawn_from(sample)[sentence].split("harbour")[0] == twin.split("harbour")[0]
    assert len(set(sample.groups.tolist())) == N


def test_code_and_tables_are_split_into_lines_and_wrapped_prose_is_not() -> None:
    code = "def area(side):\n    double = side * side\n    return double\n"
    table = "| name | size |\n| one | 1. Two. |\n"
    prose = "A line of prose that an editor has wrapped at about seventy characters\ncontinues here. E.g. Dr. Smith.\n"
    parts = split_sentences(code + table + prose, "en")
    assert "".join(parts) == code + table + prose
    assert parts[:3] == code.splitlines(keepends=True)
    assert parts[-2:] == [prose[: prose.index("E.g.")], "E.g. Dr. Smith.\n"]
    german = "Das gilt z. B. für Nr. 5 und usw. für alle. Ende."
    assert split_sentences(german, "de") == ["Das gilt z. B. für Nr. 5 und usw. für alle. ", "Ende."]
    assert split_sentences("これは文です。次の文です。", "ja") == ["これは文です。", "次の文です。"]


def write_files(folder: Path) -> str:
    for number, text in enumerate(DOCUMENTS):
        write(folder / f"{number // 10}" / f"{number}.{('md', 'txt')[number % 2]}", text)
    write(folder / "notes.csv", "a,b\n1,2\n")
    return str(folder)


def write_flat(folder: Path) -> str:
    for number, text in enumerate(DOCUMENTS):
        write(folder / f"{number}.txt", text)
    return str(folder)


def write_beir(folder: Path) -> str:
    rows = [{"_id": f"d{number}", "title": "", "text": text, "metadata": {}} for number, text in enumerate(DOCUMENTS)]
    write(folder / "corpus.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(folder / "README.md", "# A corpus")
    return str(folder)


@pytest.mark.parametrize("layout", [write_flat, write_beir])
def test_folders_without_queries_are_offered_and_read(layout: Any, tmp_path: Path) -> None:
    folder = layout(tmp_path / "set")
    column = "title,text" if layout is write_beir else "text"
    error = refused(folder)
    assert 'task="text-retrieval"' in str(error.hint)
    assert f'document_column="{column}"' in str(error.hint)
    sample = load_sample(folder, task="text-retrieval")
    assert (sample.columns, len(sample)) == ({"document": column}, N)
    assert set(drawn_from(sample)) == set(drawn_from(load_sample({"text": DOCUMENTS}, task="text-retrieval")))


def test_files_in_folders_are_documents_if_they_are_many(tmp_path: Path) -> None:
    folder = Path(write_files(tmp_path / "set"))
    sample = load_sample(str(folder), task="text-retrieval")
    assert (sample.columns["document"], len(sample), codes(sample)) == ("text", N // 2, ["files-not-read"])
    for path in [*folder.rglob("*.md"), *folder.rglob("1*.txt")]:
        path.unlink()
    assert load_sample(str(folder), task="text-classification").columns["text"] == "text"
    assert len(search_of(load_sample(str(ROOT / "docs"), task="text-retrieval", max_samples=30)).queries) == 30


def test_a_column_that_may_contain_queries_is_not_left_out() -> None:
    rows = {"claim": [f"claim {number} is long" for number in range(N)], "text": DOCUMENTS}
    error = refused(rows, task="text-retrieval")
    for reading in ("text-retrieval: query = claim; document = text", "text-retrieval: document = text"):
        assert reading in str(error.hint)
    assert 'query_column="claim", document_column="text"' in str(error.hint)
    assert "text-retrieval: document" not in str(refused(rows).hint)
    named = load_sample(rows, task="text-retrieval", columns={"document": "text"})
    assert (named.columns, named.unused_columns) == ({"document": "text"}, ("claim",))
    assert load_sample(rows, task="text-retrieval", columns={"query": "claim"}).columns["query"] == "claim"
    labeled = {"chunk": DOCUMENTS, "label": ["a", "b"] * (N // 2)}
    assert load_sample(labeled, task="text-retrieval").columns == {"document": "chunk"}
    assert refused({"text": DOCUMENTS}, task="text-ranking").hint is not None


def test_corpora_of_single_sentences_are_refused() -> None:
    single = [f"A single sentence about harbour number {number}." for number in range(N)]
    assert "0 of 40 documents have 3 distinct sentences" in refused({"text": single}, task="text-retrieval").message
    mixed = single[:33] + DOCUMENTS[33:]
    assert "7 of 40 documents have 3 distinct sentences" in refused({"text": mixed}, task="text-retrieval").message
    assert len(load_sample({"text": single[:32] + DOCUMENTS[32:]}, task="text-retrieval")) == 8
    empty = {"text": [*DOCUMENTS[:30], *[""] * 10]}
    assert "10 of 40 rows cannot be read" in refused(empty, task="text-retrieval").message
