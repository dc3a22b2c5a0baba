"""Queries and the documents that answer them: rerankers, which read a query and a document together."""

from hf_emms.heads import RerankingHead
from hf_emms.inputs import RERANKED_SEARCH
from hf_emms.tasks.task import Task
from hf_emms.tasks.text_retrieval import BESIDE, DOCUMENT, QUERY

TEXT_RANKING = Task(
    id="text-ranking",
    input=RERANKED_SEARCH,
    inputs=(QUERY,),
    label=DOCUMENT,
    beside=BESIDE,
    # The same columns are a search by embeddings, unless users say otherwise.
    signs=(),
    categorical=False,
    label_text=str.strip,
    head=RerankingHead(),
    estimators=("reranked_ndcg", "reranked_mrr"),
    aliases=("reranking",),
)
