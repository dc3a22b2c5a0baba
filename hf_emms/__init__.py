"""Rank Hugging Face checkpoints for a dataset without fine-tuning any of them.

Public names are imported on first use, so that ``import hf_emms`` is fast.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from hf_emms.publish.metric import install_on_import

__version__ = "0.1.0"

_HOMES = {
    "EmmsError": "hf_emms.errors",
    "EmmsResult": "hf_emms.scoring",
    "JobSettings": "hf_emms.run.ranking_job",
    "LabelTable": "hf_emms.scoring.labels",
    "Moments": "hf_emms.scoring.moments",
    "Ranking": "hf_emms.ranking",
    "Recommendation": "hf_emms.run.recommend",
    "Row": "hf_emms.ranking",
    "Score": "hf_emms.scoring",
    "confirm": "hf_emms.run.confirm",
    "embed_labels": "hf_emms.run.from_arrays",
    "emms": "hf_emms.run.from_arrays",
    "expected_gap": "hf_emms.ranking.expected_gap",
    "list_tasks": "hf_emms.tasks",
    "load_finetuned": "hf_emms.finetune.load_finetuned",
    "plan": "hf_emms.run.preflight",
    "rank": "hf_emms.run.rank",
    "recommend": "hf_emms.run.recommend",
    "score": "hf_emms.run.from_arrays",
    "search": "hf_emms.run.search",
    "sweep": "hf_emms.run.sweep",
}

# Expression → the names that users try for it.
_INSTEAD = {
    "hf_emms.rank": ("rank_models", "rank_checkpoints", "Ranker", "select", "fit"),
    'hf_emms.Ranking.load("FILE.json")': ("load", "load_ranking", "read", "from_file"),
}

__all__ = [
    "EmmsError",
    "EmmsResult",
    "JobSettings",
    "LabelTable",
    "Moments",
    "Ranking",
    "Recommendation",
    "Row",
    "Score",
    "__version__",
    "confirm",
    "embed_labels",
    "emms",
    "expected_gap",
    "list_tasks",
    "load_finetuned",
    "plan",
    "rank",
    "recommend",
    "score",
    "search",
    "sweep",
]

if TYPE_CHECKING:
    from hf_emms.errors import EmmsError
    from hf_emms.finetune.load_finetuned import load_finetuned
    from hf_emms.ranking import Ranking, Row
    from hf_emms.ranking.expected_gap import expected_gap
    from hf_emms.run.confirm import confirm
    from hf_emms.run.from_arrays import embed_labels, emms, score
    from hf_emms.run.preflight import plan
    from hf_emms.run.rank import rank
    from hf_emms.run.ranking_job import JobSettings
    from hf_emms.run.recommend import Recommendation, recommend
    from hf_emms.run.search import search
    from hf_emms.run.sweep import sweep
    from hf_emms.scoring import EmmsResult, Score
    from hf_emms.scoring.labels import LabelTable
    from hf_emms.scoring.moments import Moments
    from hf_emms.tasks import list_tasks


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        from hf_emms.options.calls import unknown_attribute

        raise unknown_attribute(sys.modules[__name__], name, _INSTEAD)
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


install_on_import()
