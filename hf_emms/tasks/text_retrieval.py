"""Queries and the documents that answer them: search over a corpus by embeddings."""

from dataclasses import replace

from hf_emms.heads import SearchHead
from hf_emms.inputs import SEARCH, TEXT
from hf_emms.tasks.task import Column, Task

QUERY = Column("query", ("query", "anchor", "question", "queries"), ("string",), TEXT)
DOCUMENT = Column(
    "document",
    (
        *("positive", "positives", "pos", "passage", "document", "documents", "doc"),
        *("answer", "context", "title,text", "text"),
    ),
    ("string", "strings"),
)
# Optional columns: documents that do not answer the query, and grades of relevance.
BESIDE = (
    Column(
        "negative",
        ("negative", "negatives", "neg", "hard_negative", "hard_negatives"),
        ("string", "strings"),
    ),
    Column(
        "relevance",
        ("relevance", "label", "score", "grade"),
        ("integer", "float"),
    ),
)

_WITH_QUERIES = Task(
    id="text-retrieval",
    input=SEARCH,
    inputs=(QUERY,),
    label=DOCUMENT,
    beside=BESIDE,
    signs=(
        ("anchor", "positive"),
        ("query", "positive"),
        ("query", "pos"),
        ("query", "passage"),
        ("query", "document"),
        ("query", "doc"),
    ),
    categorical=False,
    label_text=str.strip,
    head=SearchHead(),
    estimators=("zero_shot_ndcg", "adapted_ndcg", "mrr", "recall", "emms"),
    aliases=(
        *("document-retrieval", "utterance-retrieval", "entity-linking-retrieval", "fact-checking-retrieval"),
        "retrieval",
    ),
    hub_tags=("sentence-similarity", "feature-extraction"),
    source_tags=("fill-mask",),
)
# Without queries, sentences of the documents are queries. No head: fine-tuning on them is not measured.
_DOCUMENTS_ALONE = replace(
    _WITH_QUERIES, inputs=(), beside=(), signs=(), head=None, estimators=("sentence_search",), aliases=()
)
TEXT_RETRIEVAL = replace(_WITH_QUERIES, corpus=_DOCUMENTS_ALONE)
