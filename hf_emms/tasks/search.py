"""Queries and the documents that answer them: search by embeddings, and rerankers, which read both together."""

from dataclasses import replace

from hf_emms.heads import RerankingHead, SearchHead
from hf_emms.inputs import RERANKED_SEARCH, SEARCH, TEXT
from hf_emms.tasks.task import Column, Task

_QUERY = Column("query", ("query", "anchor", "question", "queries"), ("string",), TEXT)
_DOCUMENT = Column(
    "document",
    (
        *("positive", "positives", "pos", "passage", "document", "documents", "doc"),
        *("answer", "context", "title,text", "text"),
    ),
    ("string", "strings"),
)
# Optional columns: documents that do not answer the query, and grades of relevance.
_BESIDE = (
    Column(
        "negative",
        ("negative", "negatives", "neg", "hard_negative", "hard_negatives"),
        ("string", "strings"),
    ),
    Column(
        "relevance",
        ("relevance", "label", "score", "grade"),
        ("integer", "float", "bool"),
    ),
)

_WITH_QUERIES = Task(
    id="text-retrieval",
    input=SEARCH,
    inputs=(_QUERY,),
    label=_DOCUMENT,
    beside=_BESIDE,
    signs=(
        ("anchor", "positive"),
        *(("query", name) for name in ("positive", "pos", "passage", "document", "doc")),
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

TEXT_RANKING = replace(
    _WITH_QUERIES,
    id="text-ranking",
    input=RERANKED_SEARCH,
    # The same columns are a search by embeddings, unless users say otherwise.
    signs=(),
    head=RerankingHead(),
    estimators=("reranked_ndcg", "reranked_mrr"),
    aliases=("reranking",),
    hub_tags=(),
    source_tags=(),
)
