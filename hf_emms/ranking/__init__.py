"""The result as plain data: records, order, verdict, tables, sentences, files and charts."""

from hf_emms.ranking.ranking import Ranking
from hf_emms.ranking.records import (
    DIMENSIONS,
    EMMS,
    TIE_WIDTH,
    BaselineScore,
    Encoder,
    Explained,
    FineTuned,
    Part,
    Row,
    Seconds,
    TrainingRun,
    check_ranking,
    emms_score,
    explained,
    is_commit,
    plain,
    ranked,
)

__all__ = [
    "DIMENSIONS",
    "EMMS",
    "TIE_WIDTH",
    "BaselineScore",
    "Encoder",
    "Explained",
    "FineTuned",
    "Part",
    "Ranking",
    "Row",
    "Seconds",
    "TrainingRun",
    "check_ranking",
    "emms_score",
    "explained",
    "is_commit",
    "plain",
    "ranked",
]
