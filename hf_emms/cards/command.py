"""The command line that makes a ranking again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from hf_emms import ranking_views as views
from hf_emms.ranking import Ranking

_SHA = re.compile(r"[0-9a-f]{40}")


def rank_command(ranking: Ranking, checkpoints: Sequence[str]) -> str:
    """The command that scores some checkpoints of a ranking again, at the same revisions."""
    dataset = pinned(ranking.dataset_id, ranking.dataset_revision, unpinned=ranking.dataset)
    words = ["hf-emms", "rank", "--dataset", dataset, "--split", ranking.split, "--task", ranking.task]
    for role, column in sorted(ranking.columns.items()):
        words += [f"--{role}-column", column]
    words += ["--config", ranking.config] if ranking.config else []
    words += ["--max-samples", str(ranking.max_samples or 0), "--seed", str(ranking.seed)]
    words += ["--folds", str(ranking.folds)]
    words += ["--sampling", ranking.sampling] if ranking.sampling else []
    words += ["--captions", ranking.captions] if ranking.captions not in (None, "all") else []
    words += ["--prompt", ranking.prompt] if ranking.prompt else []
    for encoder in ranking.encoders:
        words += ["--encoder", pinned(encoder.id, encoder.revision)]
    for estimator in ranking.estimators:
        words += ["--estimator", estimator]
    for checkpoint in checkpoints:
        words += ["--checkpoint", pinned(checkpoint, ranking.row(checkpoint).revision)]
    # On one line each, so that no value can end the code block.
    lines = " ".join(shlex.quote(views.one_line(word)) for word in words)
    return re.sub(r" (?=--(encoder|estimator|checkpoint) )", " \\\n  ", lines)


def pinned(id: str, revision: str | None, *, unpinned: str | None = None) -> str:
    """``ORG/NAME@SHA`` where the revision is a commit; else the id (or `unpinned`) as it is."""
    if is_commit(revision):
        return f"{id.partition('@')[0]}@{revision}"
    return unpinned or id


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit of the Hub, and not the content hash of a folder."""
    return revision is not None and _SHA.fullmatch(revision) is not None
