"""hf-emms presets, datasets and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cloup

from hf_emms.cli.output import format_option, out
from hf_emms.formatting import format_bytes, format_count

_TASK = cloup.option("--task", metavar="ID", help="Those of one task only.")


@cloup.command(short_help="List tasks, datasets, checkpoint lists, label encoders and estimators.")
@format_option()
def presets() -> None:
    """List what --task, --dataset, --encoder and --estimator take, and which checkpoints are ranked by default."""
    from hf_emms.presets import checkpoint_presets, dataset_presets, encoder_presets, usable_datasets
    from hf_emms.scoring.estimators import ESTIMATORS
    from hf_emms.tasks import TASKS

    rows: list[tuple[str, str, str, str]] = []
    for task in TASKS.values():
        rows.append(("task", task.id, task.id, f"columns {', '.join(task.roles)}"))
    usable = usable_datasets()
    for preset in dataset_presets().values():
        held = preset.id or "not on the Hub: pass a folder"
        note = "" if preset.name in usable or preset.id is None else " (not supported yet)"
        rows.append(("dataset", preset.name, preset.task, held + note))
    for task_id, listed in checkpoint_presets().items():
        if task_id in TASKS:
            rows += [("checkpoint", task_id, task_id, one.name) for one in listed]
    for preset in dataset_presets().values():
        rows += [("checkpoint", preset.name, preset.task, id) for id in preset.checkpoints]
    rows += [("encoder", name, "", id) for name, ids in encoder_presets().items() for id in ids]
    rows += [("estimator", estimator.name, "", estimator.summary) for estimator in ESTIMATORS.values()]
    out.records(("kind", "name", "task", "what"), rows)


@cloup.command(short_help="List the datasets that have a short name.")
@_TASK
@format_option()
def datasets(task: str | None) -> None:
    """List the datasets that --dataset takes by a short name: task, size, licence, and whether the source is verified.

    Not verified: the repository, a split or a column is from memory. Loading the dataset reports what differs.
    """
    from hf_emms.presets import dataset_presets

    wanted = _one_of(task, {preset.task for preset in dataset_presets().values()})
    header = ("name", "task", "dataset", "rows", "bytes", "licence", "verified", "note")
    rows = [
        (
            preset.name,
            preset.task,
            preset.id,
            dict(preset.splits),
            preset.bytes,
            preset.licence,
            preset.verified,
            preset.blocked or preset.note,
        )
        for preset in dataset_presets().values()
        if wanted(preset.task)
    ]
    shown: dict[str, Callable[[Any], str]] = {"dataset": lambda id: id or "not on the Hub", "rows": _splits}
    _print(header, rows, {**shown, "bytes": _size, "licence": _known, "verified": _yes})


@cloup.command(short_help="List the checkpoints that are ranked when none is named.")
@_TASK
@format_option()
def checkpoints(task: str | None) -> None:
    """List the checkpoints that are ranked when none is named: pinned revision, size, weights, and whether verified.

    Not verified: the entry is from memory. Differences are reported in the checkpoint's row of the ranking.
    """
    from hf_emms.presets import checkpoint_presets

    wanted = _one_of(task, checkpoint_presets())
    header = ("checkpoint", "task", "revision", "parameters", "weights", "verified")
    rows = [
        (one.id, task_id, one.revision, one.parameters, one.weights, one.verified)
        for task_id, listed in checkpoint_presets().items()
        if wanted(task_id)
        for one in listed
    ]
    shown = {"revision": lambda value: value or "main", "parameters": _count, "weights": _known, "verified": _yes}
    _print(header, rows, shown)


def _one_of(task: str | None, listed: Any) -> Callable[[str], bool]:
    """Whether a task is the wanted one; one that has no preset at all is an error."""
    from hf_emms.errors import EmmsError
    from hf_emms.tasks import get_task

    if task is None:
        return lambda one: True
    wanted = task if task in listed else get_task(task).id
    if wanted not in listed:
        raise EmmsError(f"no preset is for the task {wanted!r}", f"--task takes one of: {', '.join(sorted(listed))}")
    return lambda one: one == wanted


def _print(header: tuple[str, ...], rows: list[tuple[Any, ...]], shown: Mapping[str, Callable[[Any], str]]) -> None:
    """Prints plain values as JSON, plain numbers as tsv, words in a table, which does without notes."""
    if out.format == "tsv":
        shown = {name: words for name, words in shown.items() if name not in ("bytes", "parameters")}
    if out.format != "json":
        rows = [
            tuple(shown[name](value) if name in shown else value for name, value in zip(header, row, strict=True))
            for row in rows
        ]
    if out.format == "table" and header[-1] == "note":
        header, rows = header[:-1], [row[:-1] for row in rows]
    out.records(header, rows)


def _known(value: Any) -> str:
    return str(value) if value is not None else "unknown"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _splits(splits: Mapping[str, int | None]) -> str:
    return ", ".join(f"{name} {'?' if rows is None else f'{rows:,}'}" for name, rows in splits.items())


def _size(count: int | None) -> str:
    return _known(count and format_bytes(count))


def _count(count: int | None) -> str:
    return _known(count and format_count(count))
