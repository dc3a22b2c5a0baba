"""The command line that makes a ranking again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from hf_emms import ranking_views as views
from hf_emms.ranking import Ranking
from hf_emms.tasks import ROLES

_ON_A_NEW_LINE = ("split", "max-samples", "encoder", "estimator", "checkpoint")
_SHA = re.compile(r"[0-9a-f]{40}")


def rank_command(ranking: Ranking, checkpoints: Sequence[str]) -> str:
    """The command that scores some checkpoints of a ranking again, at the same revisions."""
    dataset = pinned(ranking.dataset_id, ranking.dataset_revision, unpinned=ranking.dataset)
    flags = [("dataset", dataset), ("config", ranking.config), ("split", ranking.split), ("task", ranking.task)]
    for role, column in sorted(ranking.columns.items()):
        flags.append((f"{role}-column", column) if role in ROLES else ("column", f"{role}={column}"))
    flags += [("max-samples", str(ranking.max_samples or 0)), ("seed", str(ranking.seed))]
    flags += [("folds", str(ranking.folds)), ("sampling", ranking.sampling)]
    flags += [("references", None if ranking.captions == "mean" else ranking.captions), ("prompt", ranking.prompt)]
    flags += [("label-form", ranking.label_form), ("box-format", ranking.box_format)]
    # Labels that are numbers need no encoder, and have no revision.
    flags += [("encoder", pinned(encoder.id, encoder.revision)) for encoder in ranking.encoders if encoder.revision]
    flags += [("layer", layer) for layer in ranking.layers]
    flags += [("estimator", estimator) for estimator in ranking.estimators]
    flags += [("checkpoint", pinned(name, ranking.row(name).revision)) for name in checkpoints]
    command = "hf-emms rank"
    for flag, value in flags:
        if value:
            # Values stand on one line each, so that none can end the code block.
            gap = " \\\n  " if flag in _ON_A_NEW_LINE else " "
            command += f"{gap}--{flag} {shlex.quote(views.one_line(value))}"
    return command


def pinned(id: str, revision: str | None, *, unpinned: str | None = None) -> str:
    """``ORG/NAME@SHA`` where the revision is a commit; else the id (or `unpinned`) as it is."""
    if is_commit(revision):
        return f"{id.partition('@')[0]}@{revision}"
    return unpinned or id


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a commit of the Hub, and not the content hash of a folder."""
    return revision is not None and _SHA.fullmatch(revision) is not None
