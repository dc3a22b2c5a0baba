"""One checkpoint after the other, in this process: features → moments → scores → row."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING

from hf_emms.engines import layers
from hf_emms.engines.engine import Work
from hf_emms.engines.extraction import extract
from hf_emms.engines.failures import failures, one_line
from hf_emms.engines.parts import memory_note, whole
from hf_emms.engines.prefetch import Prefetch, downloads_ahead
from hf_emms.engines.scores import evidence_of
from hf_emms.engines.sharing import sharing_pictures
from hf_emms.ranking import Row, Seconds
from hf_emms.scoring.label_table import LabelTable

if TYPE_CHECKING:
    from hf_emms.hub import Repo

_LOG = logging.getLogger(__name__)


class LocalEngine:
    """Runs checkpoints in order, while the weights of the next ones are downloaded."""

    def rows(self, work: Work) -> Generator[Row, None, None]:
        """See `Engine.rows`."""
        work = sharing_pictures(work)
        with downloads_ahead(work) as prefetch:
            labels = work.labels()
            for name, repo in work.checkpoints.items():
                work.progress.started(name, len(work.target.inputs))
                row = _row(name, repo, work, labels, prefetch)
                work.progress.finished(row)
                yield row


def _row(name: str, repo: Repo, work: Work, labels: LabelTable, prefetch: Prefetch) -> Row:
    try:
        prefetch.take(repo)
        return _scored(name, repo, work, labels)
    except failures() as error:
        _LOG.debug("%s failed", name, exc_info=True)
        return Row(name, repo.revision, error=one_line(error))


def _scored(name: str, repo: Repo, work: Work, labels: LabelTable) -> Row:
    started = time.perf_counter()
    told = partial(work.progress.advanced, name)
    extracted = extract(repo, work.target, labels, work.settings, work.cache, told)
    featured = time.perf_counter()
    part = whole(work.target)
    for one in extracted.layers.values():
        note = memory_note(len(part.rows), one.about.width, labels, work.settings)
        if note is not None:
            work.progress.noted(f"{name}: {note}")
    evidence = {
        layer: partial(evidence_of, one.features, one.moments, part, labels, work.settings)
        for layer, one in extracted.layers.items()
    }
    verdict = layers.verdict(evidence, extracted.refused, work.settings)
    about = {layer: one.about for layer, one in extracted.layers.items()}
    return Row(
        name,
        repo.revision,
        seconds=Seconds(round(featured - started, 3), round(time.perf_counter() - featured, 3)),
        cached="features" if all(one.cached for one in extracted.layers.values()) else "none",
        **layers.row_fields(verdict, about, work.settings),
    )
