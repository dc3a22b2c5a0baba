"""Run the checkpoints of a plan, and make the ranking of their rows."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import msgspec

from hf_emms.hub import HubFacts, delete_revision
from hf_emms.options.registry import versions
from hf_emms.ranking import Encoder, Ranking, Row
from hf_emms.ranking.merge import with_rows
from hf_emms.ranking.progress import noted_while
from hf_emms.run.engine import run_checkpoints
from hf_emms.run.extraction import EngineInput
from hf_emms.run.label_embeddings import label_names, label_table
from hf_emms.run.plan import RankingPlan, row_key
from hf_emms.scoring.labels import LabelTable


def execute_plan(plan: RankingPlan, until: float | None = None) -> Ranking:
    """Run the checkpoints of a plan, and return the ranking. Each row is stored before the next checkpoint starts.

    If `time.monotonic` is after `until` and a row has a score, the remaining checkpoints have no row.
    """
    options, sample, progress, cache = plan.options, plan.sample, plan.session.progress, plan.session.cache
    progress.expect(len(plan.checkpoints), "checkpoints")
    rows = []
    for checkpoint in plan.checkpoints:
        if checkpoint.row is not None:
            progress.started(checkpoint.id, 0)
            progress.finished(checkpoint.row)
            rows.append(checkpoint.row)
    with noted_while(progress, "ranking"):
        labels = label_table(plan)
        parts = options.features, options.scoring, options.running
        inputs = EngineInput(plan.to_run, sample, labels, *parts, cache, progress)
        with closing(run_checkpoints(inputs)) as finished:
            for row in finished:
                if row.error is None:
                    key = row_key(inputs.checkpoints[row.checkpoint], options, sample, plan.encoders)
                    cache.put_json(key, msgspec.to_builtins(row))
                rows.append(row)
                delete_revision(inputs.checkpoints[row.checkpoint].repo, plan.kept_revisions)
                if is_over(until, rows):
                    break
    return ranking_of(plan, rows, _encoders(plan, labels))


def is_over(until: float | None, rows: Iterable[Row]) -> bool:
    """Return whether a run that should end at a `time.monotonic` can end: a row has a score."""
    return until is not None and time.monotonic() > until and any(row.error is None for row in rows)


def _recorded_settings(plan: RankingPlan) -> dict[str, Any]:
    sample, task = plan.sample, plan.sample.task
    of_task = {
        "label_form": sample.form if task.numbers or task.items else plan.options.sample.label_form,
        "sampled": "words" if task.counts_items else None,
        "corpus_size": (plan.options.sample.corpus_size or 0) if task.input.is_collection else None,
    }
    return plan.options.recorded() | of_task


def ranking_of(plan: RankingPlan, finished: Iterable[Row], encoders: tuple[Encoder, ...]) -> Ranking:
    """Return the ranking of finished rows, which may come in any order. The encoders have no weights yet."""
    options, sample = plan.options, plan.sample
    facts = {checkpoint.id: checkpoint.repo.facts for checkpoint in plan.checkpoints if checkpoint.repo is not None}
    rows = [described(row, facts.get(row.checkpoint)) for row in finished]
    ranking = Ranking(
        dataset=sample.dataset,
        dataset_id=sample.repo.id,
        dataset_revision=sample.repo.revision,
        config=sample.config,
        split=sample.split,
        columns=dict(sample.columns),
        unused_columns=sample.unused_columns,
        reading=sample.reading,
        task=sample.task.id,
        n=len(sample.codes),
        n_inputs=sample.n_read,
        n_labels=len(sample.label_texts),
        largest_group=sample.largest_group,
        input_seconds=sample.task.input.seconds(sample.inputs),
        skipped=sample.skipped,
        available=sample.available,
        settings=_recorded_settings(plan),
        estimators=options.scoring.estimators,
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        notes=plan.notes,
        rows=tuple(rows),
        encoders=encoders,
        baselines=plan.baselines,
        parts=plan.parts,
        missing_parts=plan.missing_parts,
    )
    return with_rows(ranking, rows, encoders)


def described(row: Row, facts: HubFacts | None) -> Row:
    """Return the row with the Hub's facts about the checkpoint."""
    if facts is None:
        return row
    return msgspec.structs.replace(row, downloads=facts.downloads, library=facts.library, license=facts.license)


def _encoders(plan: RankingPlan, labels: LabelTable) -> tuple[Encoder, ...]:
    names, revisions = label_names(plan), {encoder.id: encoder.revision for encoder in plan.encoders}
    widths = labels.widths[: len(names)]
    return tuple(Encoder(name, revisions.get(name, ""), width) for name, width in zip(names, widths, strict=True))
