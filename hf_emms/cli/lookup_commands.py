"""hf-emms presets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import cloup

from hf_emms.cli.output import format_option, out
from hf_emms.errors import EmmsError
from hf_emms.formatting import format_bytes, format_count

if TYPE_CHECKING:
    from hf_emms.presets import CheckpointPreset

_KINDS = ("task", "dataset", "checkpoint", "encoder", "estimator")
_HEADER = (
    *("kind", "name", "task", "what", "parameters", "bytes", "license"),
    *("verified", "released", "value", "table"),
)


@cloup.command(short_help="List tasks, datasets, checkpoint lists, label encoders and estimators.")
@cloup.option("--kind", type=click.Choice(_KINDS), help="List only entries of this kind.")
@cloup.option("--task", metavar="ID", help="List only entries of this task.")
@format_option()
def presets(kind: str | None, task: str | None) -> None:
    """List the names that --task, --dataset, --checkpoint, --encoder and --estimator accept.

    Without --checkpoint, hf-emms rank uses the checkpoints that have the task's name. docs/default-checkpoints.md
    explains their values in public tables. Entries that are not verified may differ on the Hub.
    """
    from hf_emms.tasks import get_task

    id = get_task(task).id if task is not None else None
    rows = [entry for entry in _entries() if kind in (None, entry[0]) and id in (None, entry[2])]
    if not rows:
        raise EmmsError("no-preset", f"no {kind or 'entry'} is for the task {id!r}", "leave --kind or --task out")
    if out.format == "table":
        rows = [
            (*entry[:4], size and format_count(size), bytes and format_bytes(bytes), *entry[6:])
            for entry in rows
            for size, bytes in [entry[4:6]]
        ]
    out.records(_HEADER, rows)


def _entries() -> Iterator[tuple[Any, ...]]:
    """Yield a table row for each name, with the columns of `_HEADER`."""
    from hf_emms.presets import checkpoint_presets, checkpoint_sets, dataset_presets, encoder_sets
    from hf_emms.ranking.estimators import ESTIMATORS
    from hf_emms.tasks import TASKS

    unknown = (None,) * 7
    for task in TASKS.values():
        yield "task", task.id, task.id, f"columns {', '.join(task.columns)}", *unknown
    for dataset in dataset_presets().values():
        source = dataset.id or "not on the Hub: pass a folder"
        facts = (None, dataset.bytes, dataset.license, dataset.verified, None, None, None)
        yield "dataset", dataset.name, dataset.task, source, *facts
        for id in dataset.checkpoints:
            yield "checkpoint", dataset.name, dataset.task, id, *unknown
    for task_id, checkpoints in checkpoint_presets().items():
        for checkpoint in checkpoints:
            yield "checkpoint", task_id, task_id, checkpoint.name, *_facts(checkpoint)
    for name, ids in checkpoint_sets().items():
        for id in ids:
            yield "checkpoint", name, "", id, *unknown
    for name, encoders in encoder_sets().items():
        for encoder in encoders:
            yield "encoder", name, "", encoder.name, *_facts(encoder)
    for estimator in ESTIMATORS.values():
        yield "estimator", estimator.name, "", estimator.summary, *unknown


def _facts(preset: CheckpointPreset) -> tuple[Any, ...]:
    size = preset.parameters, preset.bytes
    return *size, preset.license, preset.verified, preset.released, preset.value, preset.table
