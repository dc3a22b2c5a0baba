"""What checkpoints learn to predict for a task, one file per head.

`head.Head` is the base class. Files here import PyTorch on use, so that tasks can refer to heads without it.
"""

from hf_emms.heads.caption import CaptionHead
from hf_emms.heads.embedding import SearchHead, SimilarityHead
from hf_emms.heads.head import Head
from hf_emms.heads.metrics import Metric
from hf_emms.heads.preference import PreferenceHead
from hf_emms.heads.reranking import RerankingHead
from hf_emms.heads.response import ResponseHead
from hf_emms.heads.row import ClassHead, NumberHead, RowHead, RowOutputs
from hf_emms.heads.spans import SpansHead
from hf_emms.heads.split import ConstantBaseline, LabeledSplit
from hf_emms.heads.transcript import TranscriptHead
from hf_emms.heads.words import WordsHead

__all__ = [
    "CaptionHead",
    "ClassHead",
    "ConstantBaseline",
    "Head",
    "LabeledSplit",
    "Metric",
    "NumberHead",
    "PreferenceHead",
    "RerankingHead",
    "ResponseHead",
    "RowHead",
    "RowOutputs",
    "SearchHead",
    "SimilarityHead",
    "SpansHead",
    "TranscriptHead",
    "WordsHead",
]
